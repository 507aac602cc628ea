"""Certificates and refusals: the rules that naive code breaks, each by an exact case."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from calibration.bounds import lower_bound, upper_bound
from calibration.certificate import Certificate, Refusal, certificate_from_json, certify
from calibration.results import Lack
from calibration.scores import score_table
from calibration.terms import Unit
from models.errors import DataError


def relabel(columns: pa.Table, **changes) -> pa.Table:
    """Return the columns with some values changed: a function of the row's values for each column."""
    rows = columns.to_pylist()
    for row in rows:
        row.update({name: change(row) for name, change in changes.items()})
    return pa.Table.from_pylist(rows, schema=columns.schema)


def test_the_threshold_is_the_least_order_statistic_over_all_groups(two_sites, terms) -> None:
    result = certify(score_table(two_sites()), terms())
    assert isinstance(result, Certificate)
    assert result.threshold == 10.0
    assert [site.misses_allowed for site in result.sites] == [0, 0]
    (mass,) = result.strata
    assert (mass.abnormal_patients, mass.misses_allowed, mass.misses) == (3000, 2, 0)
    assert mass.miss_rate_upper == upper_bound(2, 3000, 0.04)
    for site in result.sites:
        assert site.certified
        assert site.miss_rate_upper == upper_bound(0, 1500, 0.04) <= result.terms.miss_rate_limit
        assert site.acceptance_lower == lower_bound(400, 400, 0.01)
    assert result.evidence.shortfalls == ()
    assert result.certified_sites == ("A", "B")


def test_ties_at_the_threshold_count_for_nobody(two_sites, terms) -> None:
    tied = relabel(two_sites(), score=lambda row: min(row["score"], 10.0))
    result = certify(score_table(tied), terms())
    assert isinstance(result, Certificate)
    assert result.threshold == 10.0
    assert [site.misses for site in result.sites] == [0, 0]


def test_the_bound_is_the_one_that_the_allowed_misses_stand_for_not_the_misses_seen(two_sites, terms) -> None:
    result = certify(score_table(two_sites()), terms())
    (mass,) = result.evidence.strata
    assert mass.misses is not None
    assert mass.misses_allowed is not None
    assert mass.misses < mass.misses_allowed
    assert mass.miss_rate_upper > upper_bound(mass.misses, mass.abnormal_patients, 0.04)


@pytest.mark.parametrize("sites", [None, ("A", "B")])
def test_a_group_that_cannot_be_tested_refuses_the_certificate_and_is_never_dropped(two_sites, terms, sites) -> None:
    whole = two_sites()
    few = relabel(
        whole, site=lambda row: "A" if row["label"] == "abnormal" and 10.5 <= row["score"] < 90 else row["site"]
    )
    result = certify(score_table(few), terms(sites=sites))
    assert isinstance(result, Refusal)
    (short_of,) = result.evidence.shortfalls
    assert (short_of.group, short_of.lack, short_of.needs) == ("B", Lack.ABNORMAL, 1429)
    assert short_of.has < 1429
    assert all(site.misses is None and not site.certified for site in result.evidence.sites)
    assert result.evidence.sites[0].misses_allowed == 0
    assert result.evidence.sites[1].misses_allowed is None
    assert result.evidence.sites[1].miss_rate_upper == 1.0


def test_a_site_that_clears_too_few_is_marked_and_the_threshold_is_not_recomputed_without_it(certificate) -> None:
    assert certificate.threshold == 10.0
    assert certificate.certified_sites == ("A", "B")
    third = certificate.sites[2]
    assert (third.name, third.certified, third.healthy_accepted, third.acceptance_lower) == ("C", False, 0, 0.0)
    (short,) = certificate.evidence.shortfalls
    assert (short.group, short.lack, short.has, short.needs) == ("C", Lack.ACCEPTANCE, 0.0, 0.5)


def test_the_site_with_the_lowest_scores_sets_the_threshold_for_all_even_if_it_is_not_certified(
    two_sites, terms
) -> None:
    low = relabel(
        two_sites(),
        score=lambda row: row["score"] - (8.0 if row["site"] == "B" and row["label"] == "abnormal" else 0.0),
    )
    result = certify(score_table(low), terms())
    assert isinstance(result, Refusal)  # at 2.5 no site clears half of its healthy: nothing is left of a promise
    lower = certify(score_table(low), terms(min_healthy_acceptance=0.2, max_prevalence=0.04))
    assert isinstance(lower, Certificate)
    assert lower.threshold == 2.5


def test_a_threshold_that_clears_nobody_certifies_no_site(two_sites, terms) -> None:
    high = relabel(two_sites(), score=lambda row: row["score"] + (0.0 if row["label"] == "abnormal" else 1e6))
    result = certify(score_table(high), terms())
    assert isinstance(result, Refusal)
    assert all(site.healthy_accepted == 0 and site.acceptance_lower == 0.0 for site in result.evidence.sites)
    assert [short.lack for short in result.evidence.shortfalls] == [Lack.ACCEPTANCE, Lack.ACCEPTANCE]


def test_a_site_without_healthy_is_not_certified(two_sites, terms) -> None:
    moved = relabel(two_sites(), site=lambda row: "A" if row["label"] == "healthy" else row["site"])
    result = certify(score_table(moved), terms())
    assert isinstance(result, Certificate)
    assert result.certified_sites == ("A",)


def test_a_site_that_tells_the_label_is_not_certified_by_the_abnormal_of_another(two_sites, terms) -> None:
    leaking = relabel(two_sites(), site=lambda row: "B" if row["label"] == "healthy" else "A")
    result = certify(score_table(leaking), terms())
    assert isinstance(result, Refusal)
    (short,) = result.evidence.shortfalls
    assert (short.group, short.has) == ("B", 0)


def test_no_abnormal_at_all_is_a_refusal(table, terms) -> None:
    result = certify(table({}, {}), terms())
    assert isinstance(result, Refusal)
    assert result.evidence.shortfalls[0].has == 0
    assert result.evidence.strata == ()


@pytest.mark.parametrize("listed", [{"sites": ("A", "B", "Z")}, {"strata": ("mass", "hernia")}])
def test_a_listed_group_that_the_table_does_not_have_refuses_the_certificate(two_sites, terms, listed) -> None:
    result = certify(score_table(two_sites()), terms(**listed))
    assert isinstance(result, Refusal)
    (short,) = result.evidence.shortfalls
    assert short.group in {"Z", "hernia"}
    assert short.has == 0


def test_rows_of_sites_that_are_not_listed_are_set_aside_digest_included(two_sites, terms) -> None:
    result = certify(score_table(two_sites()), terms(sites=("A",)))
    alone = certify(score_table(two_sites(sites=("A",))), terms())
    assert result.evidence.studies == 1900
    assert result.to_json() == alone.to_json()


def test_only_the_calibration_split_is_used(two_sites, terms) -> None:
    columns = two_sites()
    splits = ["calibration"] * len(columns)
    labelled = columns.append_column("split", pa.array(splits))
    extra = pa.Table.from_pylist(
        [{**labelled.to_pylist()[0], "study": "t", "patient": "t", "score": -5.0, "split": "train"}],
        schema=labelled.schema,
    )
    result = certify(score_table(pa.concat_tables([labelled, extra])), terms())
    assert result.to_json() == certify(score_table(columns), terms()).to_json()
    with pytest.raises(DataError, match="no study is left"):
        certify(score_table(extra), terms())


def test_a_study_without_a_label_is_an_error_and_not_dropped(two_sites, table, terms) -> None:
    with pytest.raises(DataError, match="1 studies have no label, 's0' among them"):
        certify(table({"label": ""}, {}), terms())


def test_strata_at_sites_are_groups_where_wanted(two_sites, terms) -> None:
    columns = two_sites(abnormal=3000)
    plain, crossed = (certify(score_table(columns), terms(crossed=crossed)) for crossed in (False, True))
    assert plain.evidence.site_strata == ()
    assert isinstance(crossed, Certificate)
    assert [group.name for group in crossed.evidence.site_strata] == [
        "A × effusion",
        "A × mass",
        "B × effusion",
        "B × mass",
    ]
    assert [group.abnormal_patients for group in crossed.evidence.site_strata] == [1500] * 4
    assert isinstance(plain, Certificate)
    assert crossed.threshold <= plain.threshold


def test_films_are_no_patients(two_sites, terms) -> None:
    four_films = relabel(two_sites(), patient=lambda row: f"{row['label']} {row['site']} {int(row['score']) // 4}")
    result = certify(score_table(four_films), terms())
    assert isinstance(result, Refusal)
    assert result.evidence.sites[0].abnormal_patients < 1500 // 3


def test_a_promise_per_study_draws_one_study_of_a_patient(two_sites, terms) -> None:
    columns = two_sites(abnormal=6000, healthy=1600)
    paired = relabel(columns, patient=lambda row: f"{row['label']} {row['site']} {row['study'][:-1]}")
    per_study = certify(score_table(paired), terms(unit=Unit.STUDY, studies_max=10, salt="x"))
    assert per_study.evidence.studies_per_patient == 10
    drawn = per_study.evidence.sites[0].abnormal_patients
    assert 400 < drawn <= 602
    again = certify(score_table(paired), terms(unit=Unit.STUDY, studies_max=10, salt="x"))
    assert again.to_json() == per_study.to_json()
    with pytest.raises(DataError, match="more than the 9 fixed beforehand"):
        certify(score_table(paired), terms(unit=Unit.STUDY, studies_max=9))


def test_a_patient_may_be_held_to_a_number_of_studies_in_a_promise_per_patient_too(two_sites, terms) -> None:
    paired = relabel(two_sites(), patient=lambda row: f"{row['label']} {row['site']} {row['study'][:-1]}")
    with pytest.raises(DataError, match="a patient has 10 studies, more than the 3"):
        certify(score_table(paired), terms(studies_max=3))


def test_scores_without_a_number_abstain_and_the_threshold_stays_finite(two_sites, terms) -> None:
    blind = relabel(two_sites(), score=lambda row: np.nan if row["label"] == "abnormal" else row["score"])
    result = certify(score_table(blind), terms())
    assert isinstance(result, Certificate)
    assert result.threshold == np.finfo(np.float64).max
    assert certificate_from_json(result.to_json()) == result


def test_computing_it_again_from_the_table_in_any_order_gives_the_same_bytes(two_sites, terms, generator) -> None:
    columns = two_sites()
    shuffled = columns.take(generator.permutation(len(columns)))
    doubled = pa.concat_tables([shuffled, columns.slice(0, 100)])
    texts = {certify(score_table(rows), terms()).to_json() for rows in (columns, shuffled, doubled)}
    assert len(texts) == 1


@pytest.mark.parametrize("transform", [lambda x: 3 * x - 7, lambda x: np.exp(x / 400), lambda x: x**3])
def test_a_strictly_increasing_transform_of_the_scores_changes_no_decision(two_sites, terms, transform) -> None:
    columns = two_sites()
    moved = relabel(columns, score=lambda row: float(transform(row["score"])))
    one, other = (certify(score_table(rows), terms()) for rows in (columns, moved))
    assert isinstance(one, Certificate)
    assert isinstance(other, Certificate)
    assert one.sites == other.sites
    decided = [
        [row["score"] < result.threshold for row in rows.to_pylist()]
        for rows, result in ((columns, one), (moved, other))
    ]
    assert decided[0] == decided[1]


def test_candidate_and_scope_travel_from_the_table_to_the_certificate(two_sites, terms) -> None:
    described = two_sites().replace_schema_metadata({"demur.candidate": "d1", "demur.scope": '{"views":["PA"]}'})
    result = certify(score_table(described), terms())
    assert isinstance(result, Certificate)
    assert (result.candidate, result.scope) == ("d1", {"views": ["PA"]})
    assert certificate_from_json(result.to_json()) == result
    assert result.scores == score_table(described).digest()
    assert (result.alpha, result.delta, result.max_prevalence, result.min_healthy_acceptance) == (
        0.0005,
        0.05,
        0.1,
        0.5,
    )
    assert (result.issued, result.expires) == (terms().issued, terms().expires)


def test_certificate_and_refusal_come_back_from_their_json(certificate, table, terms) -> None:
    refusal = certify(table({}, {"label": "abnormal"}), terms())
    for result in (certificate, refusal):
        text = result.to_json()
        assert certificate_from_json(text) == result
        assert certificate_from_json(text).to_json() == text
        fields = json.loads(text)
        assert text == json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert json.loads(certificate.to_json()).keys() == json.loads(refusal.to_json()).keys()
    assert json.loads(refusal.to_json())["threshold"] is None
    assert json.loads(refusal.to_json())["certified"] is False


@pytest.mark.parametrize(
    "change",
    [
        {"format": "demur-certificate/2"},
        {"not_covered": "nothing"},
        {"threshold": None},
        {"certified": False},
        {"delta": 0.01},
        {"miss_rate_limit": 0.1},
        {"alpha": 0.001},
        {"max_prevalence": 0.2},
        {"issued": "2028-01-01T00:00:00Z"},
        {"unit": "study"},
        {"more": 1},
        {"sites": []},
    ],
)
def test_a_certificate_that_contradicts_itself_cannot_be_read(certificate, change: dict) -> None:
    fields = {**json.loads(certificate.to_json()), **change}
    with pytest.raises(DataError):
        certificate_from_json(json.dumps(fields))


@pytest.mark.parametrize(
    ("place", "change"),
    [
        (0, {"misses": 1}),
        (0, {"misses": None}),
        (0, {"misses_allowed": None}),
        (0, {"miss_rate_upper": 0.01}),
        (0, {"acceptance_lower": 0.3}),
        (2, {"certified": True}),
        (0, {"certified": False}),
        (0, {"extra": 0}),
    ],
)
def test_a_site_certified_against_its_numbers_cannot_be_read(certificate, place: int, change: dict) -> None:
    fields = json.loads(certificate.to_json())
    fields["sites"][place].update(change)
    with pytest.raises(DataError):
        certificate_from_json(json.dumps(fields))


def test_a_certificate_that_certifies_no_site_cannot_be_read(certificate) -> None:
    fields = json.loads(certificate.to_json())
    for site in fields["sites"]:
        site.update({"certified": False, "acceptance_lower": 0.0})
    with pytest.raises(DataError, match="no site is certified"):
        certificate_from_json(json.dumps(fields))


def test_a_certificate_without_a_finite_threshold_does_not_exist(certificate) -> None:
    for threshold in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="threshold"):
            replace(certificate, threshold=threshold)
