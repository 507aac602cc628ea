"""What the pages say exists: verbs, options, make targets, settings, pictures and links."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import demur

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "training/configs").glob("*.toml")])
#: A command as a page shows it: alone on a line, or in backticks; `\` at the end of a line goes on.
COMMAND = re.compile(r"(?:^ {4}|^\$ |^\s*# \w+:\s+|`|^)demur ([a-z][^`\n]*(?:\\\n[^`\n]*)*)", re.MULTILINE)


def commands() -> list[tuple[str, str]]:
    return [
        (page.name, match[1].replace("\\\n", " ").split("#")[0].strip())
        for page in PAGES
        for match in COMMAND.finditer(page.read_text())
    ]


def resolve(words: list[str]) -> tuple[object, list[str]]:
    """Return the command that the first words name, and the words after them."""
    command: object = typer.main.get_command(demur.app)
    context = typer.Context(command)  # pyright: ignore[reportArgumentType]
    while words and hasattr(command, "get_command"):
        inner = command.get_command(context, words[0])  # pyright: ignore[reportAttributeAccessIssue]
        if inner is None:
            break
        command, words = inner, words[1:]
    return command, words


def test_pages_show_commands() -> None:
    assert len(commands()) > 10


@pytest.mark.parametrize(("page", "command"), commands())
def test_every_command_on_a_page_exists_with_its_options(page: str, command: str) -> None:
    try:
        words = shlex.split(command)
    except ValueError:
        words = command.split()
    first = words[0].split("|")[0]
    assert first in demur.VERBS, f"{page} shows demur {command}, and there is no verb {first}"
    found, rest = resolve([w.split("|")[0] for w in words])
    known = {name for parameter in found.params for name in parameter.opts}  # pyright: ignore[reportAttributeAccessIssue]
    for word in rest:
        option = re.match(r"\[?(--[a-z-]+)", word)
        if option:
            assert option[1] in known | {"--help"}, (
                f"{page} shows {option[1]} for demur {first}, which has no such option"
            )


def test_every_verb_of_the_front_door_exists() -> None:
    command = typer.main.get_command(demur.app)
    context = typer.Context(command)  # pyright: ignore[reportArgumentType]
    missing = [verb for verb in demur.VERBS if command.get_command(context, verb) is None]  # pyright: ignore[reportAttributeAccessIssue]
    assert missing == []


def test_the_page_of_settings_is_made_from_the_settings() -> None:
    made = subprocess.run(
        [sys.executable, ROOT / "docs" / "make_settings.py"], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    assert (ROOT / "docs" / "settings.md").read_text() == made, "run make docs"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_and_picture_of_a_page_is_there(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} points to {target}, which is not there"


def test_every_make_target_on_a_page_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        for target in re.findall(r"`make ([a-z-]+)", page.read_text()):
            assert target in targets, f"{page.name} shows make {target}"
