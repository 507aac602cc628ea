"""Builders of score tables, terms and certificates."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from calibration.certificate import Certificate, certify
from calibration.scores import ScoreTable, score_table
from calibration.terms import Terms

TERMS = Terms(
    max_prevalence=0.1,
    min_healthy_acceptance=0.5,
    issued=datetime(2026, 1, 1, tzinfo=UTC),
    expires=datetime(2027, 1, 1, tzinfo=UTC),
)


def build_columns(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Return the columns of some rows; what a row leaves open is one healthy study of a patient of its own."""
    full = [
        {
            "study": f"s{i}",
            "patient": f"p{row.get('study', i)}",
            "site": "A",
            "stratum": "mass" if row.get("label") == "abnormal" else "",
            "label": "healthy",
            "score": 0.0,
            **row,
        }
        for i, row in enumerate(rows)
    ]
    columns = {name: [row[name] for row in full] for name in full[0]}
    return pa.table({**columns, "score": pa.array(columns["score"], pa.float64())})


@pytest.fixture
def columns() -> Callable[..., pa.Table]:
    return lambda *rows: build_columns(rows)


@pytest.fixture
def table() -> Callable[..., ScoreTable]:
    return lambda *rows: score_table(build_columns(rows))


@pytest.fixture
def terms() -> Callable[..., Terms]:
    return lambda **changes: replace(TERMS, **changes)


@pytest.fixture
def two_sites() -> Callable[..., pa.Table]:
    """Return a function that builds two sites of many patients, whose healthy score less than all but a few abnormal."""

    def build(abnormal: int = 1500, healthy: int = 400, *, sites: Sequence[str] = ("A", "B")) -> pa.Table:
        rows: list[dict[str, Any]] = []
        for place, site in enumerate(sites):
            for i in range(abnormal):
                kind = ("mass", "effusion")[i % 2] if abnormal >= 3000 else "mass"
                rows.append({"site": site, "label": "abnormal", "stratum": kind, "score": 10.0 + i + place / 2})
            rows.extend({"site": site, "score": float(i % 10)} for i in range(healthy))
        return build_columns(rows)

    return build


@pytest.fixture
def certificate(two_sites: Callable[..., pa.Table]) -> Certificate:
    """Return a certificate of the sites A and B with the threshold 10; C clears none of its healthy."""
    columns = two_sites()
    third = two_sites(sites=("C",)).to_pydict()
    third["score"] = [score + 100.0 for score in third["score"]]
    third["study"] = [f"c{i}" for i in range(len(third["study"]))]
    third["patient"] = third["study"]
    result = certify(score_table(pa.concat_tables([columns, pa.table(third)])), TERMS)
    assert isinstance(result, Certificate)
    assert result.threshold == 10.0
    return result


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(20261121)
