from pathlib import Path

import pytest

from deploy.candidate import Candidate, write_manifest
from deploy.manifest import Flaw, VerificationError, canonical_json, digest_of


def flaw_of(folder: Path) -> Flaw:
    with pytest.raises(VerificationError) as caught:
        Candidate.open(folder)
    return caught.value.flaw


@pytest.fixture
def folder(make_candidate_folder, tmp_path: Path) -> Path:
    return make_candidate_folder(tmp_path / "candidate")


def test_a_sealed_candidate_opens_with_its_parts_and_its_digest(folder: Path) -> None:
    candidate = Candidate.open(folder)
    assert (candidate.input_spec.rows, candidate.input_spec.columns, candidate.members) == (16, 8, 2)
    assert candidate.scope.modalities == ("CR", "DX")
    assert candidate.manifest.about == {"experiment": "unit"}
    assert candidate.graph == candidate.graph_path.read_bytes() == b"graph"
    assert candidate.digest == digest_of((folder / "manifest.json").read_bytes())
    (film,) = candidate.golden()
    assert (film.data, film.logits, film.strangeness) == (b"film", (0.5, 1.5), 0.25)


def test_the_same_files_have_the_same_digest_wherever_they_lie(folder: Path, make_candidate_folder) -> None:
    assert Candidate.open(make_candidate_folder(folder.parent / "other")).digest == Candidate.open(folder).digest


def test_a_flipped_byte_in_any_file_refuses(folder: Path) -> None:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "manifest.json"]
    assert len(files) == 7
    for path in files:
        whole = path.read_bytes()
        path.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
        assert flaw_of(folder) is Flaw.CHANGED, path
        path.write_bytes(whole)
    Candidate.open(folder)


def test_any_missing_or_added_file_refuses(folder: Path) -> None:
    for path in [path for path in sorted(folder.rglob("*")) if path.is_file()]:
        whole = path.read_bytes()
        path.unlink()
        assert flaw_of(folder) is (Flaw.NO_MANIFEST if path.name == "manifest.json" else Flaw.MISSING)
        path.write_bytes(whole)
    (folder / "golden" / "more").touch()
    assert flaw_of(folder) is Flaw.EXTRA


@pytest.mark.parametrize("name", ["ensemble.onnx", "input_spec.json", "rule.json", "scope.json"])
def test_a_candidate_sealed_without_a_part_refuses(name: str, make_candidate_folder, tmp_path: Path) -> None:
    assert flaw_of(make_candidate_folder(tmp_path / "candidate", **{name: None})) is Flaw.CANDIDATE


@pytest.mark.parametrize("name", ["input_spec.json", "rule.json", "scope.json"])
@pytest.mark.parametrize("text", ["", "{}", "[]", "no JSON", '{"rows":0}', "\udcff"])
def test_a_candidate_sealed_with_a_part_that_cannot_be_read_refuses(
    name: str, text: str, make_candidate_folder, tmp_path: Path
) -> None:
    folder = make_candidate_folder(tmp_path / "candidate")
    (folder / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    write_manifest(folder, about={})
    assert flaw_of(folder) is Flaw.CANDIDATE


def test_a_candidate_of_another_version_refuses(folder: Path) -> None:
    (folder / "manifest.json").write_bytes(canonical_json({"format": "demur-candidate/2", "files": {}, "about": {}}))
    assert flaw_of(folder) is Flaw.FORMAT


def test_a_folder_that_is_not_there_has_no_manifest(tmp_path: Path) -> None:
    assert flaw_of(tmp_path / "nowhere") is Flaw.NO_MANIFEST


def test_bytes_that_change_after_opening_are_not_handed_out(folder: Path) -> None:
    candidate = Candidate.open(folder)
    candidate.graph_path.write_bytes(b"other")
    (folder / "golden" / "film.dcm").unlink()
    with pytest.raises(VerificationError, match="changed"):
        _ = candidate.graph
    with pytest.raises(VerificationError, match="missing"):
        candidate.golden()
