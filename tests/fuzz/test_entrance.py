"""A few of the inputs that ``make fuzz`` tries by the hundred thousand."""

import importlib.util
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("fuzz_entrance", Path(__file__).with_name("fuzz_entrance.py"))
assert _spec is not None
assert _spec.loader is not None
fuzz_entrance = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fuzz_entrance)


def test_no_mutated_body_is_more_than_refused(tmp_path: Path) -> None:
    seen = fuzz_entrance.fuzz(400, 7, tmp_path)
    assert seen["let in"] > 50
    assert seen["looked at"] > 5
    assert seen["refused at the request"] > 20
    assert seen["refused at the identity"] > 20


def test_an_entrance_that_fails_is_noticed_and_its_input_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_view: memoryview) -> None:
        raise KeyError("a fault")

    monkeypatch.setattr(fuzz_entrance, "identify", fail)
    with pytest.raises(KeyError):
        fuzz_entrance.fuzz(20, 7, tmp_path)
    assert list(tmp_path.glob("input-*.bin"))
