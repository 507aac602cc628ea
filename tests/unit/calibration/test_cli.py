"""The verbs, as a person or a script uses them."""

import csv
import json

import pytest
from typer.testing import CliRunner

from calibration.certificate import certificate_from_json
from calibration.cli import app
from calibration.scores import write_scores
from models.errors import DataError

TERMS = ["--max-prevalence", "0.1", "--min-healthy-acceptance", "0.5"]
DATES = ["--issued", "2026-01-01", "--valid-days", "100"]


@pytest.fixture
def run():
    def call(*arguments: object, code: int = 0, error: type[Exception] | None = None):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if error is not None:
            assert isinstance(result.exception, error)
            return result
        assert result.exit_code == code, result.output
        return result

    return call


@pytest.fixture
def scores(tmp_path, two_sites):
    path = tmp_path / "scores.parquet"
    write_scores(path, two_sites(), {"demur.candidate": "d1"})
    return path


@pytest.fixture
def certified(tmp_path, scores, run):
    path = tmp_path / "certificate.json"
    run("certify", "--scores", scores, *TERMS, *DATES, "--out", path)
    return path


def test_plan_says_how_many_patients_it_takes(run) -> None:
    text = run("plan", *TERMS, "--true-miss-rate", "0.0005", "--true-acceptance", "0.7").output
    for number in ("1,429", "5,990", "0.002251", "power"):
        assert number in text
    assert "power" not in run("plan", *TERMS).output
    values = json.loads(run("plan", *TERMS, "--misses", "1", "--json").output)
    assert [size["patients"] for size in values["abnormal_patients_per_group"]] == [1429, 2225]
    assert values["with_power"] == {}


def test_tables_are_as_wide_as_the_terminal(monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    result = CliRunner().invoke(app, ["plan", *TERMS])
    assert max(len(line) for line in result.output.splitlines()[1:]) <= 60


@pytest.mark.parametrize("changes", [["--alpha", "2"], ["--delta", "0"], ["--true-miss-rate", "0.5"]])
def test_plan_tells_terms_that_cannot_be(run, changes: list[str]) -> None:
    run("plan", *TERMS, *changes, code=2)


def test_certify_writes_a_certificate_with_given_dates_and_the_same_bytes_again(
    run, scores, certified, tmp_path
) -> None:
    text = certified.read_text()
    certificate = certificate_from_json(text)
    assert certificate.terms.issued.isoformat() == "2026-01-01T00:00:00+00:00"
    assert certificate.terms.expires.isoformat() == "2026-04-11T00:00:00+00:00"
    again = run(
        *("certify", "--scores", scores, *TERMS, "--issued", "2026-01-01", "--expires", "2026-04-11"),
        *("--out", tmp_path / "again.json", "--json"),
    )
    assert again.output == text == (tmp_path / "again.json").read_text()


def test_certify_says_where_and_prints_the_groups(run, scores, tmp_path) -> None:
    out = tmp_path / "c.json"
    text = run("certify", "--scores", scores, *TERMS, "--cross", "--out", out).output
    assert "A × mass" in text
    text = run("certify", "--scores", scores, *TERMS, "--sites", "A,B", "--strata", "mass", "--out", out).output
    assert "Certified at A, B; healthy is a score below 10.0" in text
    certificate = certificate_from_json(out.read_text())
    lasts = certificate.terms.expires - certificate.terms.issued
    assert lasts.days == 365


def test_a_refusal_has_the_shape_of_a_certificate_a_table_of_what_is_short_and_exit_code_three(
    run, scores, tmp_path
) -> None:
    out = tmp_path / "refusal.json"
    arguments = ("certify", "--scores", scores, *TERMS, "--sites", "A", "--sites", "Z", "--out", out)
    result = run(*arguments, code=3)
    fields = json.loads(result.stdout)
    assert fields["certified"] is False
    assert fields["threshold"] is None
    assert [short["group"] for short in fields["shortfalls"]] == ["Z"]
    assert out.read_text() == result.stdout
    for word in ("What is short", "Z", "1,429", "Refused"):
        assert word in result.stderr
    assert json.loads(run(*arguments, "--json", code=3).stdout) == {**fields, **_dates(out)}


def _dates(path) -> dict[str, str]:
    fields = json.loads(path.read_text())
    return {name: fields[name] for name in ("issued", "expires")}


def test_a_site_that_clears_too_few_is_in_the_table_of_what_is_short(run, tmp_path, certificate) -> None:
    from calibration.tables import certificate_tables

    tables = certificate_tables(certificate)
    assert [table.title for table in tables] == ["Sites", "Strata of findings", "What is short"]
    assert tables[-1].row_count == 1


def test_certify_tells_mistakes(run, scores, tmp_path) -> None:
    out = ["--out", tmp_path / "c.json"]
    run("certify", "--scores", scores, *TERMS, *out, "--unit", "study", code=2)
    run("certify", "--scores", scores, *TERMS, *out, "--delta", "1.5", code=2)
    run("certify", "--scores", tmp_path / "none.csv", *TERMS, *out, error=DataError)
    run("certify", "--scores", scores, *TERMS, "--out", tmp_path / "none" / "c.json", error=DataError)


def test_certify_per_study(run, scores, tmp_path) -> None:
    out = tmp_path / "c.json"
    run("certify", "--scores", scores, *TERMS, "--unit", "study", "--studies-max", "1", "--salt", "x", "--out", out)
    assert json.loads(out.read_text())["unit"] == "study"


def test_evaluate_prints_every_group_and_draws_the_curves(run, scores, certified, tmp_path) -> None:
    text = run("evaluate", "--scores", scores, "--certificate", certified, "--out", tmp_path / "figures").output
    for word in ("site A", "stratum mass", "AURC", "coverage", "computed from", "drawn: "):
        assert word in text
    values = json.loads(
        run("evaluate", "--scores", scores, "--certificate", certified, "--direct-check", "800", "--json").output
    )
    assert [group["name"] for group in values["groups"]] == ["all", "A", "B", "mass"]
    assert values["groups"][0]["at_threshold"]["miss_rate"]["count"] == 0
    assert values["scores_are_those_of_the_certificate"] is True
    assert values["direct_check"]["cleared"] == 800
    assert values["direct_check"]["passed"] is False


def test_evaluate_needs_no_certificate(run, tmp_path, columns) -> None:
    path = tmp_path / "other.csv"
    write_scores(path, columns({"split": "test"}, {"split": "tune", "site": "B"}, {"split": "test", "label": ""}), {})
    text = run("evaluate", "--scores", path, "--split", "test").output
    assert "At the certified threshold" not in text
    values = json.loads(run("evaluate", "--scores", path, "--split", "test", "--unit", "study", "--json").output)
    assert [(group["name"], group["healthy"]) for group in values["groups"]] == [("all", 1), ("A", 1)]
    assert values["groups"][0]["zero_misses"] is None
    assert values["groups"][0]["at_threshold"] is None
    run("evaluate", "--scores", path, "--split", "train", error=DataError)
    run("evaluate", "--scores", path, "--delta", "2", code=2)
    run("evaluate", "--scores", path, "--direct-check", "5", code=2)


def test_evaluate_prints_the_direct_check_and_empty_rates(run, certified, tmp_path, columns) -> None:
    path = tmp_path / "other.csv"
    rows = [{"score": 1.0} for _ in range(5)] + [{"site": "B", "score": 99.0, "label": "abnormal"}]
    write_scores(path, columns(*rows), {})
    text = run("evaluate", "--scores", path, "--certificate", certified, "--direct-check", "5").output
    assert "Direct check at a prevalence of 0.1667: 0 misses among 5 cleared" in text
    assert "not passed" in text
    assert "computed from" not in text


def test_evaluate_refuses_a_refusal_and_files_that_are_not_there(run, scores, tmp_path) -> None:
    out = tmp_path / "refusal.json"
    run("certify", "--scores", scores, *TERMS, "--sites", "Z,A", "--out", out, code=3)
    run("evaluate", "--scores", scores, "--certificate", out, error=DataError)
    run("evaluate", "--scores", scores, "--certificate", tmp_path / "none.json", error=DataError)
    out.write_bytes(b"\xff\xfe")
    run("evaluate", "--scores", scores, "--certificate", out, error=DataError)


def test_review_draws_a_blind_list_once_and_tells_what_its_readings_show(run, scores, certified, tmp_path) -> None:
    out = tmp_path / "review"
    draw = ("review", "--scores", scores, "--certificate", certified, "--out", out, "--sample", "50", "--decoys", "5")
    assert "55 cases" in run(*draw).output
    again = run(*draw, error=DataError)
    assert "second chance" in str(again.exception)
    with (out / "list.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0].keys() == {"case", "site", "study", "verdict"}
    assert not any("decoy" in str(row) for row in rows)

    def fill(verdict: str) -> None:
        with (out / "list.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows({**row, "verdict": verdict} for row in rows)

    result = ("review", "--out", out, "--verdicts", out / "list.csv")
    fill("healthy ")
    assert "0 of 50" in run(*result).output
    bounds = json.loads(run(*result, "--json").output)
    assert bounds["cleared"] == 800
    assert 0.0 < bounds["share_upper"] < bounds["false_omission_upper"] < 0.1
    fill("no idea")
    run(*result, error=DataError)
    run(*result, "--delta", "0", code=2)
    run("review", "--out", out, code=2)
    run("review", "--out", tmp_path, "--verdicts", out / "list.csv", error=DataError)


def test_a_case_is_abnormal_if_any_of_its_studies_is_read_so(tmp_path) -> None:
    from calibration.cli import _read_verdicts
    from calibration.labels import Verdict

    path = tmp_path / "list.csv"
    path.write_text("case,study,verdict\n1,a,abnormal\n1,b,healthy\n2,c,healthy\n2,d,abnormal\n3,e,healthy\n")
    assert _read_verdicts(path) == {1: Verdict.ABNORMAL, 2: Verdict.ABNORMAL, 3: Verdict.HEALTHY}
    path.write_text("study\na\n")
    with pytest.raises(DataError, match="row 2 needs a case number and a verdict"):
        _read_verdicts(path)


def test_review_as_json_names_its_files(run, scores, certified, tmp_path) -> None:
    arguments = ("--scores", scores, "--certificate", certified, "--out", tmp_path / "r", "--sample", "3", "--json")
    values = json.loads(run("review", *arguments).output)
    assert values["cases"] == 3 + 100
