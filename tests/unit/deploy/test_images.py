"""What can be said of the images without building them."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
IMAGES = {path.name.split(".")[0]: path for path in (ROOT / "deploy" / "images").glob("*.Dockerfile")}


def instructions(name: str) -> list[tuple[str, str]]:
    text = re.sub(r"\\\n", " ", IMAGES[name].read_text())
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


def last_stage(name: str) -> list[tuple[str, str]]:
    found = instructions(name)
    return found[max(place for place, (word, _) in enumerate(found) if word == "FROM") :]


def test_there_is_one_image_to_serve_and_one_to_train() -> None:
    assert sorted(IMAGES) == ["service", "training"]


@pytest.mark.parametrize("name", ["service", "training"])
def test_it_runs_as_a_user_who_is_not_root(name: str) -> None:
    users = [rest for word, rest in last_stage(name) if word == "USER"]
    assert users
    assert all(re.fullmatch(r"[1-9]\d*:[1-9]\d*", user) for user in users)


@pytest.mark.parametrize("name", ["service", "training"])
def test_it_starts_demur_itself_so_that_signals_arrive(name: str) -> None:
    (entry,) = [rest for word, rest in last_stage(name) if word == "ENTRYPOINT"]
    assert json.loads(entry) == ["demur"]


@pytest.mark.parametrize("name", ["service", "training"])
def test_everything_that_it_copies_is_in_the_repository_and_every_package_is_copied(name: str) -> None:
    copied = [source for word, rest in instructions(name) if word == "COPY" for source in rest.split()[:-1]]
    assert all((ROOT / source).exists() for source in copied)
    assert {"models", "calibration", "training", "deploy", "service", "demur.py", "pyproject.toml"} <= set(copied)


def test_the_service_has_no_extras_and_hence_no_torch() -> None:
    assert "[" not in "".join(rest for word, rest in instructions("service") if word == "RUN")
    assert "demur[train]" in "".join(rest for word, rest in instructions("training") if word == "RUN")
