"""The examples in the docstrings of calibration run, and every public name has a docstring."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import calibration

MODULES = sorted(module.name for module in pkgutil.iter_modules(calibration.__path__, "calibration."))
#: Where a statistician must find sources and examples.
SOURCED = ("bounds", "planning", "selective", "threshold", "monitor", "shift", "units")
STATISTICS = ("bounds", "planning", "selective", "threshold", "monitor", "labels", "shift", "direct", "units")


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_the_docstrings_run(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0


def test_there_are_examples_to_run() -> None:
    finder = doctest.DocTestFinder(exclude_empty=True)
    count = sum(
        len(test.examples) for name in MODULES for test in finder.find(importlib.import_module(name)) if test.examples
    )
    assert count >= 30


@pytest.mark.parametrize("name", [f"calibration.{name}" for name in STATISTICS])
def test_every_public_function_of_the_statistics_says_what_it_computes(name: str) -> None:
    module = importlib.import_module(name)
    for public, value in vars(module).items():
        if inspect.isfunction(value) and value.__module__ == name and not public.startswith("_"):
            assert value.__doc__, public


@pytest.mark.parametrize("name", [f"calibration.{name}" for name in SOURCED])
def test_the_statistics_name_their_sources(name: str) -> None:
    text = inspect.getsource(importlib.import_module(name)).split("References", 1)
    assert len(text) == 2
    assert "doi:" in text[1] or "arXiv:" in text[1] or "Ann. Math. Stat." in text[1]
