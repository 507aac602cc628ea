import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from calibration.policy import decide
from deploy.manifest import digest_of
from deploy.release import release
from deploy.replay import Record, replay
from deploy.runtime import Engine, Image
from models.vocabulary import Decision, Mode, Reason

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def bundle(make_candidate, make_certificate, tmp_path):
    candidate = make_candidate()
    path = tmp_path / "certificate.json"
    path.write_text(make_certificate(candidate))
    return release(candidate, path, KEY, tmp_path / "bundle", NOW)


@pytest.fixture
def engine(bundle):
    with Engine(bundle.candidate) as engine:
        yield engine


def record_of(bundle, engine, images, site: str = "A", mode: Mode = Mode.AUTONOMOUS) -> Record:
    found = engine.assess([Image(data=data) for data in images])
    ruling = decide(
        score=found.score,
        gates=found.gates,
        certificate=bundle.certificate,
        site=site,
        studies_before=0,
        mode=mode,
        now=NOW,
    )
    return Record(
        images=tuple(digest_of(data) for data in images),
        bundle=bundle.digest,
        decoders=found.decoders,
        runtime=found.runtime,
        logits=found.logits,
        strangeness=found.strangeness,
        score=found.score,
        gates=found.gates,
        threshold=ruling.threshold,
        decision=ruling.decision,
        reasons=ruling.reasons,
        site=site,
        studies_before=0,
        mode=mode,
        decided=NOW,
    )


def names(differences) -> list[str]:
    return [difference.name for difference in differences]


def test_every_kind_of_decision_replays_as_the_same(bundle, engine, film) -> None:
    studies = [[film(n)] for n in range(20)] + [[film(1), film(2)], [b"no film"], [], [film(3, Modality="CT")]]
    records = [record_of(bundle, engine, images) for images in studies]
    assert {record.decision for record in records} == set(Decision)
    for record, images in zip(records, studies, strict=True):
        assert replay(record, images, bundle, engine) == ()


def test_a_decision_of_another_site_or_day_replays_as_it_was(bundle, engine, film) -> None:
    elsewhere = record_of(bundle, engine, [film(1)], site="Z")
    assert elsewhere.reasons[0] is Reason.SITE
    assert replay(elsewhere, [film(1)], bundle, engine) == ()
    # The certificate may have expired since; what counts is the time of the decision.
    late = replace(record_of(bundle, engine, [film(1)]), decided=bundle.certificate.expires + timedelta(days=1))
    assert "reasons" in names(replay(late, [film(1)], bundle, engine))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"decoders": ("another codec",)}, ["decoders"]),
        ({"runtime": "onnxruntime 0.1"}, ["runtime"]),
        ({"logits": (0.0, 0.0, 0.0)}, ["logits"]),
        ({"logits": ()}, ["logits"]),
        ({"strangeness": 9.0}, ["strangeness"]),
        ({"score": -9.0}, ["score"]),
        ({"score": math.inf}, ["score"]),
        ({"threshold": -9.0}, ["threshold"]),
        ({"threshold": None}, ["threshold"]),
        ({"gates": (Reason.STRANGE,)}, ["gates"]),
        ({"site": "Z"}, ["reasons"]),
        ({"reasons": (Reason.VIEW,)}, ["reasons"]),
    ],
)
def test_what_was_recorded_otherwise_is_named(bundle, engine, film, change: dict, named: list[str]) -> None:
    record = next(r for n in range(50) if (r := record_of(bundle, engine, [film(n)])).decision is Decision.IDK)
    images = [next(film(n) for n in range(50) if digest_of(film(n)) == record.images[0])]
    assert names(replay(replace(record, **change), images, bundle, engine)) == named


def test_a_healthy_that_the_bundle_does_not_give_is_named(bundle, engine, film) -> None:
    record = record_of(bundle, engine, [b"no film"])
    forged = replace(record, decision=Decision.HEALTHY, reasons=(), gates=())
    assert names(replay(forged, [b"no film"], bundle, engine)) == ["gates", "reasons", "decision"]


def test_other_bytes_or_another_bundle_are_named_alone(bundle, engine, film) -> None:
    record = record_of(bundle, engine, [film(1)])
    (difference,) = replay(record, [film(2)], bundle, engine)
    assert difference.name == "images"
    assert digest_of(film(2)) in difference.replayed
    assert digest_of(film(1)) in difference.recorded
    (difference,) = replay(replace(record, bundle="0" * 64), [film(1)], bundle, engine)
    assert difference.name == "bundle"
    assert names(replay(record, [film(1)], None, None)) == ["bundle"]


def test_a_tolerance_forgives_numbers_within_it_and_no_others(bundle, engine, film) -> None:
    record = record_of(bundle, engine, [film(1)])
    off = replace(record, logits=tuple(logit + 1e-4 for logit in record.logits), score=record.score + 1e-4)
    assert names(replay(off, [film(1)], bundle, engine)) == ["logits", "score"]
    assert replay(off, [film(1)], bundle, engine, tolerance=1e-3) == ()
    assert names(replay(off, [film(1)], bundle, engine, tolerance=1e-6)) == ["logits", "score"]
    unscored = replace(record, score=math.inf)
    assert names(replay(unscored, [film(1)], bundle, engine, tolerance=1e9)) == ["score"]


def test_a_decision_without_a_bundle_replays_without_one(bundle, engine, film) -> None:
    record = replace(
        record_of(bundle, engine, [film(1)]),
        bundle=None,
        threshold=None,
        decision=Decision.IDK,
        reasons=(Reason.NO_BUNDLE,),
        gates=(),
        score=math.inf,
    )
    assert replay(record, [film(1)], None, None) == ()


def test_what_happened_to_the_service_is_taken_from_the_record(bundle, engine, film) -> None:
    lost = replace(
        record_of(bundle, engine, [film(1)]),
        decoders=(),
        logits=(),
        strangeness=math.nan,
        score=math.inf,
        gates=(Reason.ATTEMPT_LOST,),
        decision=Decision.IDK,
        reasons=(Reason.ATTEMPT_LOST,),
    )
    assert replay(lost, [film(1)], bundle, engine) == ()
    forged = replace(lost, decision=Decision.HEALTHY)
    assert names(replay(forged, [film(1)], bundle, engine)) == ["decision"]


def test_an_engine_of_another_candidate_is_a_mistake(bundle, engine, make_candidate, make_graph, film) -> None:
    record = record_of(bundle, engine, [film(1)])
    with pytest.raises(ValueError, match="of one candidate"):
        replay(record, [film(1)], bundle, None)
    other_candidate = make_candidate("other", rule=replace(bundle.candidate.rule, disagreement_weight=9.0))
    with Engine(other_candidate) as other, pytest.raises(ValueError, match="of one candidate"):
        replay(record, [film(1)], bundle, other)
