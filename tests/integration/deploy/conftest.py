"""A candidate with a real graph, small enough to build in milliseconds, and films to show it."""

import io
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pyarrow as pa
import pytest
from onnx import TensorProto, helper
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from calibration.certificate import certify
from calibration.scores import CANDIDATE_KEY, SCOPE_KEY, score_table
from calibration.terms import Terms
from deploy.candidate import Candidate, write_manifest
from deploy.golden import GoldenFilm, write_golden
from deploy.runtime import Engine, Image
from models.films import read_film
from models.preprocess import InputSpec, preprocess
from models.scope import CLINICAL, Scope
from models.scoring import ScoreRule

SPEC = InputSpec(rows=32, columns=24)
RULE = ScoreRule(centre=(0.0, 0.5, -0.5), scale=(1.0, 2.0, 0.5), disagreement_weight=0.5, strangeness_limit=4.0)
MEMBERS = 3
SCOPE = replace(CLINICAL, companion_views=("LL",))


def dicom_film(seed: int = 0, *, size: tuple[int, int] = (64, 48), **elements: object) -> bytes:
    """Return a frontal chest film of an adult as far as its header goes; its pixels are smooth noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(200, 3800, (size[0] // 8, size[1] // 8))
    pixels = np.kron(coarse, np.ones((8, 8))).astype(np.uint16)
    film = Dataset()
    film.file_meta = FileMetaDataset()
    film.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    film.file_meta.MediaStorageSOPClassUID = film.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    film.file_meta.MediaStorageSOPInstanceUID = film.SOPInstanceUID = generate_uid(entropy_srcs=[f"film {seed}"])
    film.StudyInstanceUID = generate_uid(entropy_srcs=[f"study {seed}"])
    film.SeriesInstanceUID = generate_uid(entropy_srcs=[f"series {seed}"])
    film.PatientID, film.PatientName, film.PatientAge = f"P{seed}", "Doe^Jane", "050Y"
    film.Modality, film.BodyPartExamined, film.ViewPosition = "DX", "CHEST", "PA"
    film.PresentationIntentType, film.PhotometricInterpretation = "FOR PRESENTATION", "MONOCHROME2"
    film.SamplesPerPixel, film.Rows, film.Columns = 1, *pixels.shape
    film.BitsAllocated, film.BitsStored, film.HighBit, film.PixelRepresentation = 16, 12, 11, 0
    film.WindowCenter, film.WindowWidth = 2048, 4096
    film.PixelData = pixels.tobytes()
    for keyword, value in elements.items():
        setattr(film, keyword, value)
    file = io.BytesIO()
    film.save_as(file, enforce_file_format=True)
    return file.getvalue()


def graph(*, faulty: bool = False, spec: InputSpec = SPEC, members: int = MEMBERS) -> bytes:
    """Return a graph of a candidate's form: pooled features, one linear layer; faulty: its logits are NaN."""
    weights = np.random.default_rng(1).normal(size=(3, members)).astype(np.float32)
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["mean"]),
        helper.make_node("GlobalMaxPool", ["image"], ["peak"]),
        helper.make_node("Mul", ["image", "image"], ["square"]),
        helper.make_node("GlobalAveragePool", ["square"], ["power"]),
        helper.make_node("Concat", ["mean", "peak", "power"], ["pooled"], axis=1),
        helper.make_node("Flatten", ["pooled"], ["features"]),
        helper.make_node("MatMul", ["features", "weights"], ["linear"]),
        helper.make_node("ReduceL2", ["features", "last"], ["strangeness"], keepdims=0),
        helper.make_node("Neg", ["strangeness"], ["negative"]),
        helper.make_node("Sqrt", ["negative"], ["nothing"]),
        helper.make_node("Reshape", ["nothing", "column"], ["nothings"]),
        helper.make_node("Add", ["linear", "nothings"], ["logits"])
        if faulty
        else helper.make_node("Identity", ["linear"], ["logits"]),
    ]
    shape = ["N", 1, spec.rows, spec.columns]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "tiny",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
            [
                helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", members]),
                helper.make_tensor_value_info("strangeness", TensorProto.FLOAT, ["N"]),
            ],
            [
                onnx.numpy_helper.from_array(weights, "weights"),
                onnx.numpy_helper.from_array(np.array([1], np.int64), "last"),
                onnx.numpy_helper.from_array(np.array([-1, 1], np.int64), "column"),
            ],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    onnx.checker.check_model(model)
    return model.SerializeToString()


def golden(name: str, data: bytes, graph_bytes: bytes, spec: InputSpec) -> GoldenFilm:
    """Return a golden film as an export would make it: without the engine."""
    tensor = preprocess(read_film(data).pixels, spec)
    session = onnxruntime.InferenceSession(graph_bytes, providers=["CPUExecutionProvider"])
    logits, strangeness = session.run(["logits", "strangeness"], {"image": tensor[np.newaxis]})
    return GoldenFilm(
        name=name, data=data, tensor=tensor, logits=tuple(map(float, logits[0])), strangeness=float(strangeness[0])
    )


@pytest.fixture
def make_candidate(tmp_path: Path) -> Callable[..., Candidate]:
    """Return a function that makes a candidate folder and opens it."""

    def make(
        name: str = "candidate",
        *,
        graph_bytes: bytes | None = None,
        scope: Scope = SCOPE,
        rule: ScoreRule = RULE,
        change: Callable[[GoldenFilm], GoldenFilm] = lambda film: film,
    ) -> Candidate:
        folder = tmp_path / name
        folder.mkdir()
        right = graph()
        (folder / "ensemble.onnx").write_bytes(right if graph_bytes is None else graph_bytes)
        (folder / "input_spec.json").write_text(SPEC.to_json())
        (folder / "rule.json").write_text(rule.to_json())
        (folder / "scope.json").write_text(scope.to_json())
        write_golden(folder, [change(golden(f"film_{seed}.dcm", dicom_film(seed), right, SPEC)) for seed in range(2)])
        write_manifest(folder, about={"experiment": "tiny"})
        return Candidate.open(folder)

    return make


@pytest.fixture
def film() -> Callable[..., bytes]:
    """Return the function that makes films."""
    return dicom_film


@pytest.fixture
def make_graph() -> Callable[..., bytes]:
    """Return the function that makes graphs."""
    return graph


@pytest.fixture
def make_certificate() -> Callable[[Candidate], str]:
    """Return a function that gives a certificate of a candidate, for site A, with its threshold amid the films' scores."""

    def make(candidate: Candidate) -> str:
        with Engine(candidate) as engine:
            median = float(np.median([engine.assess([Image(data=dicom_film(n))]).score for n in range(20)]))
        labels = ["healthy"] * 100 + ["abnormal"] * 100
        names = [f"p{n}" for n in range(200)]
        columns = pa.table(
            {
                "study": names,
                "patient": names,
                "site": ["A"] * 200,
                "stratum": [""] * 100 + ["nodule"] * 100,
                "label": labels,
                "score": [median - 1 - n for n in range(100)] + [median + n * 1e-9 for n in range(100)],
            }
        ).replace_schema_metadata({CANDIDATE_KEY: candidate.digest, SCOPE_KEY: candidate.scope.to_json()})
        dates = {"issued": datetime(2026, 1, 1, tzinfo=UTC), "expires": datetime(2027, 1, 1, tzinfo=UTC)}
        terms = Terms(alpha=0.2, max_prevalence=0.3, min_healthy_acceptance=0.5, **dates)
        return certify(score_table(columns), terms).to_json()

    return make
