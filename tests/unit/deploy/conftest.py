"""A candidate folder as far as files go: its graph is a few bytes that nobody runs."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from calibration.certificate import certify
from calibration.scores import score_table
from calibration.terms import Terms
from deploy.candidate import write_manifest
from deploy.golden import GoldenFilm, write_golden
from models.preprocess import InputSpec
from models.scope import CLINICAL
from models.scoring import ScoreRule

ISSUED = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def make_candidate_folder() -> Callable[..., Path]:
    """Return a function that fills and seals a candidate folder."""

    def make(folder: Path, **changes: str | None) -> Path:
        folder.mkdir(parents=True)
        rule = ScoreRule(centre=(0.0, 1.0), scale=(1.0, 1.0), disagreement_weight=0.5, strangeness_limit=3.0)
        parts: dict[str, str | None] = {
            "ensemble.onnx": "graph",
            "input_spec.json": InputSpec(rows=16, columns=8).to_json(),
            "rule.json": rule.to_json(),
            "scope.json": CLINICAL.to_json(),
        }
        for name, text in {**parts, **changes}.items():
            if text is not None:
                (folder / name).write_text(text)
        tensor = np.zeros((1, 16, 8), np.float32)
        write_golden(
            folder, [GoldenFilm(name="film.dcm", data=b"film", tensor=tensor, logits=(0.5, 1.5), strangeness=0.25)]
        )
        write_manifest(folder, about={"experiment": "unit"})
        return folder

    return make


@pytest.fixture
def make_certificate() -> Callable[..., str]:
    """Return a function that gives the JSON of a certificate (or a refusal) from scores of two sites."""

    def make(candidate: str | None, scope: str | None = None, *, issued: datetime = ISSUED, abnormal: int = 60) -> str:
        rows = [
            (site, label, n)
            for site in ("A", "B")
            for label, count in (("abnormal", abnormal), ("healthy", 200))
            for n in range(count)
        ]
        columns = pa.table(
            {
                "study": [f"{site}-{label}-{n}" for site, label, n in rows],
                "patient": [f"{site}-{label}-{n}" for site, label, n in rows],
                "site": [site for site, _, _ in rows],
                "stratum": ["nodule" if label == "abnormal" else "" for _, label, _ in rows],
                "label": [label for _, label, _ in rows],
                "score": [float(n) + (1000 if label == "abnormal" else 0) for _, label, n in rows],
            }
        )
        metadata = {"demur.candidate": candidate, "demur.scope": scope or CLINICAL.to_json()}
        columns = columns.replace_schema_metadata({key: value for key, value in metadata.items() if value is not None})
        terms = Terms(
            alpha=0.05,
            max_prevalence=0.3,
            min_healthy_acceptance=0.5,
            issued=issued,
            expires=issued + timedelta(days=365),
        )
        return certify(score_table(columns), terms).to_json()

    return make
