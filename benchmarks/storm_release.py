"""A small release for the storm: a real bundle whose network costs nothing, so that the storm is about what is kept."""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pyarrow as pa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from onnx import TensorProto, helper, numpy_helper

from calibration.certificate import certify
from calibration.scores import CANDIDATE_KEY, SCOPE_KEY, score_table
from calibration.terms import Terms
from deploy.bundle import Bundle
from deploy.candidate import Candidate, write_manifest
from deploy.golden import GoldenFilm, write_golden
from deploy.release import release
from deploy.runtime import Engine, Image
from deploy.trust import public_key_of
from models.films import read_film
from models.preprocess import InputSpec, preprocess
from models.scope import CLINICAL
from models.scoring import ScoreRule

SPEC = InputSpec(rows=64, columns=64)
RULE = ScoreRule(centre=(0.0, 0.0), scale=(1.0, 1.0), disagreement_weight=0.5, strangeness_limit=1e6)
_MEMBERS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A bundle on disk, the keys that open it, and what it holds."""

    path: Path
    trust: Path
    bundle: Bundle


def make_release(folder: Path, *, sites: tuple[str, ...], films: list[bytes], at: datetime | None = None) -> Release:
    """Write a bundle that certifies these sites for a day, with its threshold amid the scores of these films."""
    candidate = _candidate(folder / "candidate", films[:2])
    with Engine(candidate) as engine:
        median = float(np.median([engine.assess([Image(data=film)]).score for film in films]))
    rows = [(site, label, n) for site in sites for label in ("healthy", "abnormal") for n in range(120)]
    names = [f"{site}-{label}-{n}" for site, label, n in rows]
    columns = pa.table(
        {
            "study": names,
            "patient": names,
            "site": [site for site, _, _ in rows],
            "stratum": ["nodule" if label == "abnormal" else "" for _, label, _ in rows],
            "label": [label for _, label, _ in rows],
            "score": [median - 1 - n if label == "healthy" else median + n * 1e-9 for _, label, n in rows],
        }
    ).replace_schema_metadata({CANDIDATE_KEY: candidate.digest, SCOPE_KEY: candidate.scope.to_json()})
    now = (at or datetime.now(UTC)).replace(microsecond=0)
    dates = {"issued": now - timedelta(days=1), "expires": now + timedelta(days=1)}
    terms = Terms(alpha=0.2, max_prevalence=0.3, min_healthy_acceptance=0.5, **dates)
    (folder / "certificate.json").write_text(certify(score_table(columns), terms).to_json())
    key = Ed25519PrivateKey.from_private_bytes(secrets.token_bytes(32))
    (folder / "trusted.txt").write_text(public_key_of(key).line + "\n")
    bundle = release(candidate, folder / "certificate.json", key, folder / "bundle", now)
    return Release(path=folder / "bundle", trust=folder / "trusted.txt", bundle=bundle)


def _candidate(folder: Path, films: list[bytes]) -> Candidate:
    folder.mkdir()
    graph = _graph()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    golden = []
    for position, data in enumerate(films):
        tensor = preprocess(read_film(data).pixels, SPEC)
        logits, strangeness = session.run(["logits", "strangeness"], {"image": tensor[np.newaxis]})
        golden.append(
            GoldenFilm(
                name=f"film_{position}.dcm",
                data=data,
                tensor=tensor,
                logits=tuple(map(float, np.asarray(logits)[0])),
                strangeness=float(np.asarray(strangeness)[0]),
            )
        )
    (folder / "ensemble.onnx").write_bytes(graph)
    (folder / "input_spec.json").write_text(SPEC.to_json())
    (folder / "rule.json").write_text(RULE.to_json())
    (folder / "scope.json").write_text(CLINICAL.to_json())
    write_golden(folder, golden)
    write_manifest(folder, about={"experiment": "storm"})
    return Candidate.open(folder)


def _graph() -> bytes:
    """Return a graph of a candidate's form: mean and power of the picture, one linear layer."""
    weights = np.array([[9.0, 5.0], [3.0, 7.0]], np.float32)
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["mean"]),
        helper.make_node("Mul", ["image", "image"], ["square"]),
        helper.make_node("GlobalAveragePool", ["square"], ["power"]),
        helper.make_node("Concat", ["mean", "power"], ["pooled"], axis=1),
        helper.make_node("Flatten", ["pooled"], ["features"]),
        helper.make_node("MatMul", ["features", "weights"], ["logits"]),
        helper.make_node("ReduceL2", ["features", "last"], ["strangeness"], keepdims=0),
    ]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "storm",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, SPEC.rows, SPEC.columns])],
            [
                helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", _MEMBERS]),
                helper.make_tensor_value_info("strangeness", TensorProto.FLOAT, ["N"]),
            ],
            [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(np.array([1], np.int64), "last")],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    onnx.checker.check_model(model)
    return model.SerializeToString()
