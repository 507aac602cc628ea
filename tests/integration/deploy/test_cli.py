"""The verbs, as a person calls them: a candidate is scored, certified, released and verified."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from calibration.certificate import certify
from calibration.scores import read_scores
from calibration.terms import Terms
from deploy.runtime import Engine, Image
from models.studies import StudyRow, write_study_table
from models.vocabulary import Label, Split


def demur(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "demur", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


def write_certificate(scores: Path, out: Path, **terms: object) -> None:
    fixed = {
        "alpha": 0.2,
        "max_prevalence": 0.3,
        "min_healthy_acceptance": 0.5,
        "issued": datetime.now(UTC) - timedelta(days=1),
        "expires": datetime.now(UTC) + timedelta(days=1),
    }
    out.write_text(certify(read_scores(scores), Terms(**{**fixed, **terms})).to_json())


def write_films(folder: Path, films: list[bytes]) -> None:
    """Write a study table; the first half of the films is healthy."""
    (folder / "films").mkdir()
    rows = []
    for number, data in enumerate(films):
        path = folder / "films" / f"{number}.dcm"
        path.write_bytes(data)
        abnormal = 2 * number >= len(films)
        rows.append(
            StudyRow(
                path=path,
                study=f"s{number}",
                patient=f"p{number}",
                site="A",
                label=Label.ABNORMAL if abnormal else Label.HEALTHY,
                stratum="nodule" if abnormal else "",
                split=Split.CALIBRATION,
            )
        )
    write_study_table(folder / "studies.csv", rows)


@pytest.fixture
def way(tmp_path: Path, make_candidate, film) -> Path:
    """Return a folder with a candidate and a study table whose healthy films score low."""
    with Engine(make_candidate()) as engine:
        films = sorted((film(n) for n in range(240)), key=lambda data: engine.assess([Image(data=data)]).score)
    write_films(tmp_path, films)
    return tmp_path


@pytest.fixture
def short_way(tmp_path: Path, make_candidate, film) -> Path:
    """Return a folder with a candidate and a study table of two films."""
    make_candidate()
    write_films(tmp_path, [film(0), film(1)])
    return tmp_path


def released(way: Path) -> Path:
    scored = demur("score", way / "candidate", "--studies", way / "studies.csv", "--split", "calibration", "--out",
                   way / "scores.parquet", "--json")  # fmt: skip
    assert scored.returncode == 0, scored.stderr
    result = json.loads(scored.stdout)
    assert (result["studies"], result["scored"], result["gates"]) == (240, 240, {})
    assert "scoring: 240 of 240" in scored.stderr
    write_certificate(way / "scores.parquet", way / "certificate.json")
    key = demur("key", "new", "--out", way / "release.key")
    assert key.returncode == 0, key.stderr
    (way / "trusted.txt").write_text(key.stdout)
    done = demur(
        "release", way / "candidate", way / "certificate.json", "--key", way / "release.key", "--out", way / "bundle"
    )
    assert done.returncode == 0, done.stderr
    assert key.stdout.strip() in done.stdout
    return way / "bundle"


def test_a_candidate_is_scored_released_and_verified_and_one_flipped_bit_is_an_honest_refusal(way: Path) -> None:
    bundle = released(way)
    shown = demur("verify", bundle, "--trust", way / "trusted.txt")
    assert shown.returncode == 0, shown.stderr
    assert [line.split()[1] for line in shown.stdout.splitlines()] == [
        "signature", "files", "bundle", "candidate", "golden", "certificate", "valid",
    ]  # fmt: skip
    assert json.loads(demur("verify", bundle, "--trust", way / "trusted.txt", "--json").stdout)["verified"] is True

    graph = bundle / "candidate" / "ensemble.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"\0")
    refused = demur("verify", bundle, "--trust", way / "trusted.txt", "--json")
    assert refused.returncode == 3
    assert json.loads(refused.stdout)["flaw"] == "file_changed"
    (line,) = refused.stderr.splitlines()
    assert line.startswith("demur: It does not verify: candidate/ensemble.onnx")
    assert demur("verify", bundle, "--trust", way / "trusted.txt").returncode == 3


def test_a_certificate_from_scores_of_no_candidate_is_not_released(way: Path) -> None:
    for suffix in ("csv", "parquet"):
        scored = demur("score", way / "candidate", "--studies", way / "studies.csv", "--out", way / f"scores.{suffix}")
        assert scored.returncode == 0, scored.stderr
    write_certificate(way / "scores.csv", way / "foreign.json")
    write_certificate(way / "scores.parquet", way / "refusal.json", alpha=0.0005)
    assert demur("key", "new", "--out", way / "release.key").returncode == 0
    for name, flaw in (("foreign", "certificate_without_candidate"), ("refusal", "certificate_refused")):
        done = demur(
            "release", way / "candidate", way / f"{name}.json", "--key", way / "release.key", "--out", way / "bundle"
        )
        assert done.returncode == 3
        assert f"[{flaw}]" in done.stderr
        assert not (way / "bundle").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("score", "candidat", "--studies", "studies.csv", "--out", "s.parquet"), "no such folder: candidat"),
        (("score", "candidate", "--studies", "studie.csv", "--out", "s.parquet"), "no such file: studie.csv"),
        (("score", "candidate", "--studies", "studies.csv", "--split", "tune", "--out", "s.parquet"), "no study in the split"),
        (("score", "candidate", "--studies", "studies.csv", "--out", "no/s.parquet"), "no such folder: no"),
        (("release", "candidate", "c.json", "--key", "k", "--out", "b"), "no such file: k"),
        (("verify", "bundl", "--trust", "keys"), "no list of trusted keys at keys"),
        (("verify", "candidate"), "give --trust"),
        (("key", "new", "--out", "studies.csv"), "never overwritten"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_in_one_line(short_way: Path, arguments: tuple[str, ...], told: str) -> None:
    done = demur(*arguments, cwd=short_way)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert told in line


@pytest.mark.parametrize("verb", [("score",), ("release",), ("verify",), ("key", "new")])
def test_every_verb_explains_itself_with_an_example(verb: tuple[str, ...]) -> None:
    done = demur(*verb, "--help")
    assert done.returncode == 0
    assert f"Example: demur {' '.join(verb)}" in done.stdout
