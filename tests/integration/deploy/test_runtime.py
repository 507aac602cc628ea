import logging
import math
import resource
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from deploy.manifest import Flaw, VerificationError
from deploy.runtime import RUNTIME, Engine, Image
from models.films import read_film
from models.preprocess import preprocess
from models.scope import RESEARCH
from models.scoring import ScoreRule, score_image
from models.vocabulary import Reason


@pytest.fixture
def engine(make_candidate):
    with Engine(make_candidate()) as engine:
        yield engine


def assess(engine: Engine, *files: bytes):
    return engine.assess([Image(data=data) for data in files])


def png(size: tuple[int, int] = (64, 48)) -> bytes:
    import io

    from PIL import Image as Pillow

    pixels = np.random.default_rng(0).integers(0, 255, size, dtype=np.uint8)
    file = io.BytesIO()
    Pillow.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_a_film_gets_the_score_that_graph_and_rule_give(engine: Engine, film) -> None:
    found = assess(engine, film(5))
    logits, strangeness = engine.infer(preprocess(read_film(film(5)).pixels, engine.candidate.input_spec))
    assert found.logits == logits
    assert found.strangeness == strangeness
    assert found.score == score_image(logits, strangeness, engine.candidate.rule)
    assert math.isfinite(found.score)
    assert found.gates == ()


def test_an_assessment_names_all_that_a_ledger_needs(engine: Engine, film) -> None:
    found = assess(engine, film(5))
    assert len(found.logits) == engine.candidate.members
    assert found.runtime == RUNTIME
    assert RUNTIME.startswith("onnxruntime 1.")
    assert found.decoders[0]
    assert found.timings.decode_s > 0
    assert found.timings.infer_s > 0
    assert found.timings.wait_s >= 0


def test_a_study_scores_as_its_worst_image_whatever_their_order(engine: Engine, film) -> None:
    one, two = assess(engine, film(1)), assess(engine, film(2))
    both, reversed_ = assess(engine, film(1), film(2)), assess(engine, film(2), film(1))
    worst = max(one, two, key=lambda found: found.score)
    assert one.score != two.score
    for study in (both, reversed_):
        assert (study.score, study.logits, study.strangeness) == (worst.score, worst.logits, worst.strangeness)


def test_the_same_bytes_give_the_same_numbers_from_many_threads_at_once(engine: Engine, film) -> None:
    films = [film(seed) for seed in range(8)] * 8
    alone = [assess(engine, data) for data in films[:8]] * 8
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda data: assess(engine, data), films))
    assert [(a.score, a.logits, a.strangeness) for a in together] == [(a.score, a.logits, a.strangeness) for a in alone]


def test_a_memoryview_and_bytes_are_the_same_film(engine: Engine, film) -> None:
    assert assess(engine, memoryview(film(5))).score == assess(engine, film(5)).score


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"Modality": "CT"}, Reason.MODALITY),
        ({"BodyPartExamined": "HIP"}, Reason.BODY_PART),
        ({"ViewPosition": "LL"}, Reason.VIEW),
        ({"PatientAge": "009Y"}, Reason.AGE),
        ({"PatientAge": ""}, Reason.AGE),
        ({"PresentationIntentType": "FOR PROCESSING"}, Reason.INTENT),
        ({"NumberOfFrames": 2}, Reason.FRAMES),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, Reason.PHOTOMETRIC),
        ({"BurnedInAnnotation": "YES"}, Reason.SECONDARY),
    ],
)
def test_a_header_out_of_scope_is_a_gate_and_no_score(engine: Engine, film, elements: dict, reason: Reason) -> None:
    found = assess(engine, film(5, **elements))
    assert found.gates == (reason,)
    assert found.score == math.inf
    assert found.logits == ()
    assert math.isnan(found.strangeness)


@pytest.mark.parametrize("data", [b"", b"\0" * 200, b"not a film at all" * 50, b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_film_is_a_reason_and_never_an_exception(engine: Engine, data: bytes) -> None:
    found = assess(engine, data)
    assert found.gates in {(Reason.UNREADABLE,), (Reason.UNDECODABLE,)}
    assert found.score == math.inf


def test_a_film_cut_anywhere_is_a_reason_and_never_an_exception(engine: Engine, film) -> None:
    whole = film(5)
    for length in range(0, len(whole), 97):
        found = assess(engine, whole[:length])
        assert found.gates, length
        assert found.score == math.inf
    assert assess(engine, whole).gates == ()


def test_a_study_without_an_image_says_so(engine: Engine) -> None:
    assert assess(engine).gates == (Reason.NO_IMAGE,)
    assert assess(engine).score == math.inf


def test_an_unreadable_image_beside_a_good_one_is_doubt(engine: Engine, film) -> None:
    found = assess(engine, film(5), b"no film")
    assert found.gates == (Reason.UNREADABLE,)
    assert found.score == math.inf


def test_a_companion_is_set_aside_and_alone_it_is_out_of_scope(engine: Engine, film) -> None:
    lateral = film(6, ViewPosition="LL")
    frontal = assess(engine, film(5))
    assert assess(engine, lateral, film(5)).score == frontal.score
    assert assess(engine, lateral, film(5)).logits == frontal.logits
    assert assess(engine, lateral).gates == (Reason.VIEW,)


def test_more_images_than_the_scope_has_is_a_gate(engine: Engine, film) -> None:
    assert assess(engine, film(1), film(2), film(3)).gates == (Reason.IMAGES,)


def test_a_strange_film_has_no_score_but_keeps_its_numbers(make_candidate, film) -> None:
    rule = ScoreRule(centre=(0.0,) * 3, scale=(1.0,) * 3, disagreement_weight=0.0, strangeness_limit=1e-6)
    with Engine(make_candidate(rule=rule)) as engine:
        found = assess(engine, film(5))
    assert found.gates == (Reason.STRANGE,)
    assert found.score == math.inf
    assert found.strangeness > 1e-6
    assert len(found.logits) == 3


def test_a_network_that_answers_nan_has_no_score(make_candidate, make_graph, film) -> None:
    with Engine(make_candidate(graph_bytes=make_graph(faulty=True))) as engine:
        found = assess(engine, film(5))
    assert all(map(math.isnan, found.logits))
    assert found.gates == (Reason.NO_SCORE,)
    assert found.score == math.inf


def test_a_png_is_out_of_a_clinical_scope_and_in_a_research_one(make_candidate) -> None:
    with Engine(make_candidate("clinical")) as engine:
        assert Reason.MODALITY in assess(engine, png()).gates
    with Engine(make_candidate("research", scope=RESEARCH)) as engine:
        assert assess(engine, png()).gates == ()
        lateral = engine.assess([Image(data=png(), view="ll")])
        assert lateral.gates == (Reason.VIEW,)
    adults = replace(RESEARCH, age_min=18.0, admits_unknown_age=False)
    with Engine(make_candidate("adults", scope=adults)) as engine:
        assert assess(engine, png()).gates == (Reason.AGE,)
        assert engine.assess([Image(data=png(), age_years=40.0)]).gates == ()


def test_a_fault_of_our_own_is_a_reason_and_its_log_line_holds_no_patient(engine: Engine, film, caplog) -> None:
    class Broken:
        def decode(self, data, spec, header):
            raise RuntimeError("Doe^Jane")

        def close(self) -> None:
            pass

    engine._decoders.close()
    engine._decoders = Broken()
    with caplog.at_level(logging.INFO):
        found = assess(engine, film(5))
    assert found.gates == (Reason.FAULT,)
    assert found.score == math.inf
    (record,) = caplog.records
    assert record.action == "image_not_assessed"
    assert record.fault == "RuntimeError"
    assert "Doe" not in repr(record.__dict__)


def test_the_memory_of_a_film_is_used_again_for_the_next(engine: Engine, film) -> None:
    large = film(5, size=(2048, 2048))
    for _ in range(3):
        assert assess(engine, large).gates == ()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        assess(engine, large)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    # 16 MB of float32 alone are 4096 pages; an allocator that maps every block anew takes more than that for each film.
    assert faults < 5 * 2048


def test_golden_films_that_agree_pass(engine: Engine) -> None:
    engine.check_golden()


@pytest.mark.parametrize(
    "change",
    [
        lambda film: replace(film, tensor=film.tensor + np.float32(2e-5)),
        lambda film: replace(film, tensor=film.tensor[:, :-1]),
        lambda film: replace(film, tensor=np.full_like(film.tensor, np.nan)),
        lambda film: replace(film, logits=(film.logits[0] + 0.01, *film.logits[1:])),
        lambda film: replace(film, logits=film.logits[:-1]),
        lambda film: replace(film, strangeness=film.strangeness * 1.01 + 0.01),
        lambda film: replace(film, data=film.data[:-20]),
    ],
    ids=["tensor", "shape", "nan", "logit", "members", "strangeness", "file"],
)
def test_golden_films_that_differ_refuse(make_candidate, change) -> None:
    with Engine(make_candidate(change=change)) as engine, pytest.raises(VerificationError) as caught:
        engine.check_golden()
    assert caught.value.flaw is Flaw.GOLDEN


def test_a_graph_that_answers_nan_fails_its_golden_films(make_candidate, make_graph) -> None:
    with Engine(make_candidate(graph_bytes=make_graph(faulty=True))) as engine, pytest.raises(VerificationError):
        engine.check_golden()


def test_a_graph_that_is_none_or_has_another_form_refuses(make_candidate, make_graph) -> None:
    spec = replace(make_candidate("spec").input_spec, rows=16)
    wrong = {"nonsense": b"nonsense", "size": make_graph(spec=spec), "members": make_graph(members=2)}
    for name, graph_bytes in wrong.items():
        with pytest.raises(VerificationError) as caught:
            Engine(make_candidate(name, graph_bytes=graph_bytes))
        assert caught.value.flaw is Flaw.GRAPH


def test_a_graph_that_changes_after_the_candidate_was_opened_is_not_run(make_candidate, make_graph) -> None:
    candidate = make_candidate()
    candidate.graph_path.write_bytes(make_graph(faulty=True))
    with pytest.raises(VerificationError) as caught:
        Engine(candidate)
    assert caught.value.flaw is Flaw.CHANGED
