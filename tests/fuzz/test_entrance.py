"""A few of the inputs that ``make fuzz`` tries by the hundred thousand, not guided."""

import importlib.util
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("fuzz_entrance", Path(__file__).with_name("entrance.py"))
assert _spec is not None
assert _spec.loader is not None
fuzzed = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fuzzed)


@pytest.fixture
def entrance(tmp_path: Path) -> Iterator[fuzzed.Entrance]:
    found = fuzzed.Entrance(tmp_path)
    yield found
    found.close()


def take_some(entrance: fuzzed.Entrance, count: int) -> None:
    films = fuzzed.seeds()
    for number in range(count):
        entrance.take(fuzzed.any_body(random.Random(f"7/{number}"), films))


def test_no_mutated_body_is_more_than_refused(entrance: fuzzed.Entrance) -> None:
    take_some(entrance, 400)
    seen = entrance.seen
    assert seen["let in"] > 50
    assert seen["looked at"] > 5
    assert seen["refused at the request"] > 20
    assert seen["refused at the identity"] > 20
    assert seen["answered 200 by the service"] > 5
    assert sum(count for name, count in seen.items() if name.startswith("answered 4")) > 5


def test_an_entrance_that_fails_is_noticed(entrance: fuzzed.Entrance, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_view: memoryview) -> None:
        raise KeyError("a fault")

    monkeypatch.setattr(fuzzed, "identify", fail)
    with pytest.raises(KeyError):
        take_some(entrance, 20)


def test_a_service_that_answers_500_is_noticed(entrance: fuzzed.Entrance, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_view: memoryview) -> None:
        raise KeyError("a fault")

    monkeypatch.setattr("service.ingest.workflow.identify", fail)
    with pytest.raises((KeyError, AssertionError)):
        take_some(entrance, 100)
