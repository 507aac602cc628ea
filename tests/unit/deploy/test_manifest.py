import json
import os
from pathlib import Path

import pytest

from deploy.manifest import (
    Flaw,
    VerificationError,
    canonical_json,
    digest_of,
    parse_manifest,
    read_plain,
    read_verified,
    render_manifest,
    verify_files,
)

FORM = "demur-test/1"
APART = frozenset({"manifest.json"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one.bin").write_bytes(b"one")
    (tmp_path / "two.txt").write_bytes(b"two")
    (tmp_path / "manifest.json").write_bytes(render_manifest(tmp_path, form=FORM, about={"by": "test"}, apart=APART))
    return tmp_path


def manifest_of(folder: Path):
    return parse_manifest(read_plain(folder, "manifest.json"), form=FORM)


def flaw_of(call, *arguments, **keywords) -> Flaw:
    with pytest.raises(VerificationError) as caught:
        call(*arguments, **keywords)
    return caught.value.flaw


def malformed(**changes: object) -> bytes:
    return canonical_json({"format": FORM, "files": {}, "about": {}} | changes)


def test_a_sealed_folder_verifies_and_its_digest_is_that_of_the_manifest(folder: Path) -> None:
    manifest = manifest_of(folder)
    verify_files(folder, manifest, apart=APART)
    assert manifest.files == {"a/one.bin": digest_of(b"one"), "two.txt": digest_of(b"two")}
    assert manifest.about == {"by": "test"}
    assert manifest.digest == digest_of((folder / "manifest.json").read_bytes())


def test_the_manifest_does_not_depend_on_the_order_in_which_files_were_written(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "a").mkdir(parents=True)
    (other / "two.txt").write_bytes(b"two")
    (other / "a" / "one.bin").write_bytes(b"one")
    assert render_manifest(other, form=FORM, about={"by": "test"}, apart=APART) == read_plain(folder, "manifest.json")


@pytest.mark.parametrize("name", ["a/one.bin", "two.txt"])
@pytest.mark.parametrize("position", [0, -1])
def test_a_flipped_byte_is_a_changed_file(folder: Path, name: str, position: int) -> None:
    data = bytearray((folder / name).read_bytes())
    data[position] ^= 1
    (folder / name).write_bytes(data)
    assert flaw_of(verify_files, folder, manifest_of(folder), apart=APART) is Flaw.CHANGED
    assert flaw_of(read_verified, folder, manifest_of(folder), name) is Flaw.CHANGED


def test_a_file_that_is_gone_is_missing(folder: Path) -> None:
    (folder / "a" / "one.bin").unlink()
    assert flaw_of(verify_files, folder, manifest_of(folder), apart=APART) is Flaw.MISSING
    assert flaw_of(read_verified, folder, manifest_of(folder), "a/one.bin") is Flaw.MISSING


def test_a_file_that_the_manifest_does_not_name_is_extra(folder: Path) -> None:
    (folder / "a" / ".hidden").write_bytes(b"")
    assert flaw_of(verify_files, folder, manifest_of(folder), apart=APART) is Flaw.EXTRA
    assert flaw_of(read_verified, folder, manifest_of(folder), "a/.hidden") is Flaw.CANDIDATE


def test_a_link_is_refused_even_to_the_same_bytes(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "two.txt"
    (folder / "two.txt").rename(outside)
    (folder / "two.txt").symlink_to(outside)
    assert flaw_of(verify_files, folder, manifest_of(folder), apart=APART) is Flaw.LINK


def test_a_linked_folder_is_refused(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "a"
    (folder / "a").rename(outside)
    (folder / "a").symlink_to(outside, target_is_directory=True)
    assert flaw_of(verify_files, folder, manifest_of(folder), apart=APART) is Flaw.LINK


def test_a_pipe_is_refused_and_not_read(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    assert flaw_of(verify_files, folder, manifest_of(folder), apart=APART) is Flaw.LINK
    os.mkfifo(folder / "manifest.sig")
    assert flaw_of(read_plain, folder, "manifest.sig") is Flaw.LINK


def test_a_folder_without_a_manifest_says_so(tmp_path: Path) -> None:
    assert flaw_of(read_plain, tmp_path, "manifest.json") is Flaw.NO_MANIFEST
    assert flaw_of(read_plain, tmp_path / "nowhere", "manifest.json") is Flaw.NO_MANIFEST


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "/etc/passwd", "a//b", "./a", "a/", "", "a\\b", "..", ".", "a\0b"]
)
def test_a_path_that_leads_elsewhere_or_has_two_spellings_is_refused(name: str) -> None:
    assert flaw_of(parse_manifest, malformed(files={name: digest_of(b"")}), form=FORM) is Flaw.ESCAPE


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"[]",
        b"[" * 100_000,
        json.dumps({"format": FORM, "files": {}, "about": {}}).encode(),
        b'{"about":{},"files":{},"files":{},"format":"demur-test/1"}',
        malformed() + b"\n",
        malformed(files=[]),
        malformed(files={"a": 1}),
        malformed(about={"a": None}),
        malformed(more=1),
        malformed(files={"a": "0" * 63}),
        malformed(files={"a": "A" * 64}),
        canonical_json({"format": FORM, "files": {}}),
    ],
)
def test_a_manifest_of_another_shape_or_spelling_is_malformed(data: bytes) -> None:
    assert flaw_of(parse_manifest, data, form=FORM) is Flaw.MALFORMED


@pytest.mark.parametrize("form", ["demur-test/2", "demur-other/1", None, 1])
def test_an_unknown_format_or_version_is_its_own_flaw(form: object) -> None:
    assert flaw_of(parse_manifest, malformed(format=form), form=FORM) is Flaw.FORMAT


def test_the_message_says_the_flaw_and_what_to_do(folder: Path) -> None:
    (folder / "two.txt").unlink()
    with pytest.raises(VerificationError, match=r"two\.txt is missing .*; fetch the folder anew \[file_missing\]"):
        verify_files(folder, manifest_of(folder), apart=APART)
