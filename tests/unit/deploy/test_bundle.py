import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from calibration.certificate import Certificate, certificate_from_json
from deploy.bundle import APART, BUNDLE_FORMAT, Bundle, check_dates, open_bundle
from deploy.candidate import Candidate, write_manifest
from deploy.manifest import Flaw, VerificationError, canonical_json, digest_of, render_manifest
from deploy.release import release
from deploy.trust import Trust, public_key_of, sign
from models.errors import DataError
from models.scope import RESEARCH

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
STRANGER = Ed25519PrivateKey.from_private_bytes(bytes(32))
TRUST = Trust.of(public_key_of(KEY, owner="ours"))
NOW = datetime(2026, 6, 1, tzinfo=UTC)


def flaw_of(call, *arguments) -> Flaw:
    with pytest.raises(VerificationError) as caught:
        call(*arguments)
    return caught.value.flaw


def seal(folder: Path, key: Ed25519PrivateKey = KEY, form: str = BUNDLE_FORMAT) -> None:
    """Sign whatever is in a folder now: what only the holder of the key can do."""
    manifest = render_manifest(folder, form=form, about={}, apart=APART)
    (folder / "manifest.json").write_bytes(manifest)
    (folder / "manifest.sig").write_bytes(sign(manifest, key))


@pytest.fixture
def candidate(make_candidate_folder, tmp_path: Path) -> Candidate:
    return Candidate.open(make_candidate_folder(tmp_path / "candidate"))


@pytest.fixture
def bundle(candidate: Candidate, make_certificate, tmp_path: Path) -> Bundle:
    (tmp_path / "certificate.json").write_text(make_certificate(candidate.digest))
    return release(candidate, tmp_path / "certificate.json", KEY, tmp_path / "bundle", NOW)


def test_a_release_opens_with_all_that_serves(bundle: Bundle, candidate: Candidate) -> None:
    opened = open_bundle(bundle.path, TRUST, NOW)
    assert opened.candidate.digest == candidate.digest == opened.certificate.candidate
    assert opened.certificate.certified_sites == ("A", "B")
    assert opened.key == public_key_of(KEY, owner="ours")
    assert opened.digest == digest_of((bundle.path / "manifest.json").read_bytes())
    assert opened.manifest.about == {
        "candidate": candidate.digest,
        "key": public_key_of(KEY).id,
        "released": NOW.isoformat(),
    }


def test_a_flipped_byte_in_any_file_refuses(bundle: Bundle) -> None:
    files = [path for path in sorted(bundle.path.rglob("*")) if path.is_file()]
    assert len(files) == 12
    for path in files:
        whole = path.read_bytes()
        for position in {0, len(whole) // 2, len(whole) - 1}:
            flipped = bytearray(whole)
            flipped[position] ^= 1
            path.write_bytes(flipped)
            flaw = flaw_of(open_bundle, bundle.path, TRUST, NOW)
            at_the_top = path.parent == bundle.path and path.name in APART
            assert flaw in ({Flaw.SIGNATURE, Flaw.UNTRUSTED} if at_the_top else {Flaw.CHANGED}), path
        path.write_bytes(whole)
    open_bundle(bundle.path, TRUST, NOW)


def test_any_missing_file_refuses(bundle: Bundle) -> None:
    for path in [path for path in sorted(bundle.path.rglob("*")) if path.is_file()]:
        whole = path.read_bytes()
        path.unlink()
        at_the_top = path.parent == bundle.path and path.name in APART
        assert flaw_of(open_bundle, bundle.path, TRUST, NOW) is (Flaw.NO_MANIFEST if at_the_top else Flaw.MISSING)
        path.write_bytes(whole)


@pytest.mark.parametrize("name", ["more", "candidate/more", "candidate/golden/more.dcm"])
def test_an_extra_file_refuses(bundle: Bundle, name: str) -> None:
    (bundle.path / name).touch()
    assert flaw_of(open_bundle, bundle.path, TRUST, NOW) is Flaw.EXTRA


def test_a_linked_file_refuses(bundle: Bundle, tmp_path: Path) -> None:
    (bundle.path / "model_card.md").rename(tmp_path / "model_card.md")
    (bundle.path / "model_card.md").symlink_to(tmp_path / "model_card.md")
    assert flaw_of(open_bundle, bundle.path, TRUST, NOW) is Flaw.LINK


def test_a_key_that_is_not_trusted_refuses(bundle: Bundle) -> None:
    assert flaw_of(open_bundle, bundle.path, Trust.of(public_key_of(STRANGER)), NOW) is Flaw.UNTRUSTED


def test_a_stranger_who_seals_the_folder_anew_is_refused(bundle: Bundle) -> None:
    (bundle.path / "model_card.md").write_text("It never misses.")
    seal(bundle.path, STRANGER)
    assert flaw_of(open_bundle, bundle.path, TRUST, NOW) is Flaw.UNTRUSTED


def test_a_signature_of_other_bytes_refuses(bundle: Bundle) -> None:
    (bundle.path / "manifest.sig").write_bytes(sign(b"other bytes", KEY))
    assert flaw_of(open_bundle, bundle.path, TRUST, NOW) is Flaw.SIGNATURE


def test_a_signed_candidate_manifest_is_no_bundle(bundle: Bundle) -> None:
    seal(bundle.path, form="demur-candidate/1")
    assert flaw_of(open_bundle, bundle.path, TRUST, NOW) is Flaw.FORMAT


def test_an_unknown_version_refuses(bundle: Bundle) -> None:
    seal(bundle.path, form="demur-bundle/2")
    assert flaw_of(open_bundle, bundle.path, TRUST, NOW) is Flaw.FORMAT


def test_nothing_is_parsed_before_the_signature_holds(bundle: Bundle) -> None:
    (bundle.path / "manifest.json").write_bytes(canonical_json({"format": "demur-bundle/2"}))
    assert flaw_of(open_bundle, bundle.path, TRUST, NOW) is Flaw.SIGNATURE


def test_a_bundle_signed_without_a_certificate_or_a_candidate_refuses(bundle: Bundle) -> None:
    shutil.copytree(bundle.path, bundle.path.parent / "other")
    (bundle.path / "certificate.json").unlink()
    seal(bundle.path)
    assert flaw_of(open_bundle, bundle.path, TRUST, NOW) is Flaw.CANDIDATE
    other = bundle.path.parent / "other"
    shutil.rmtree(other / "candidate")
    seal(other)
    assert flaw_of(open_bundle, other, TRUST, NOW) is Flaw.NO_MANIFEST


def test_a_candidate_changed_before_signing_refuses_by_its_own_manifest(bundle: Bundle) -> None:
    (bundle.path / "candidate" / "ensemble.onnx").write_text("other")
    seal(bundle.path)
    assert flaw_of(open_bundle, bundle.path, TRUST, NOW) is Flaw.CHANGED


def test_another_candidate_under_the_same_certificate_refuses(bundle: Bundle) -> None:
    write_manifest(bundle.path / "candidate", about={"experiment": "another"})
    seal(bundle.path)
    assert flaw_of(open_bundle, bundle.path, TRUST, NOW) is Flaw.OTHER_CANDIDATE


@pytest.mark.parametrize(
    ("text", "flaw"),
    [("", Flaw.CERTIFICATE), ("{}", Flaw.CERTIFICATE), ("null", Flaw.CERTIFICATE), ("\udcff", Flaw.CERTIFICATE)],
)
def test_a_certificate_that_cannot_be_read_refuses(bundle: Bundle, text: str, flaw: Flaw) -> None:
    (bundle.path / "certificate.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    seal(bundle.path)
    assert flaw_of(open_bundle, bundle.path, TRUST, NOW) is flaw


def test_a_refusal_refuses(bundle: Bundle, make_certificate) -> None:
    (bundle.path / "certificate.json").write_text(make_certificate(bundle.candidate.digest, abnormal=3))
    seal(bundle.path)
    assert flaw_of(open_bundle, bundle.path, TRUST, NOW) is Flaw.REFUSAL


def test_a_certificate_without_a_candidate_refuses(bundle: Bundle, make_certificate) -> None:
    (bundle.path / "certificate.json").write_text(make_certificate(None))
    seal(bundle.path)
    assert flaw_of(open_bundle, bundle.path, TRUST, NOW) is Flaw.NO_CANDIDATE


def test_a_certificate_of_another_scope_refuses(bundle: Bundle, make_certificate) -> None:
    (bundle.path / "certificate.json").write_text(make_certificate(bundle.candidate.digest, RESEARCH.to_json()))
    seal(bundle.path)
    assert flaw_of(open_bundle, bundle.path, TRUST, NOW) is Flaw.SCOPE


def test_the_dates_hold_from_the_first_moment_until_before_the_last(bundle: Bundle) -> None:
    issued, expires = bundle.certificate.issued, bundle.certificate.expires
    moment = timedelta(microseconds=1)
    open_bundle(bundle.path, TRUST, issued)
    open_bundle(bundle.path, TRUST, expires - moment)
    assert flaw_of(open_bundle, bundle.path, TRUST, issued - moment) is Flaw.NOT_YET
    assert flaw_of(open_bundle, bundle.path, TRUST, expires) is Flaw.EXPIRED
    assert flaw_of(check_dates, bundle.certificate, expires + moment) is Flaw.EXPIRED


def test_a_clock_without_a_time_zone_is_a_mistake(bundle: Bundle) -> None:
    with pytest.raises(ValueError, match="time zone"):
        open_bundle(bundle.path, TRUST, NOW.replace(tzinfo=None))


@pytest.mark.parametrize(
    ("keywords", "flaw"),
    [
        ({"candidate": None}, Flaw.NO_CANDIDATE),
        ({"candidate": "0" * 64}, Flaw.OTHER_CANDIDATE),
        ({"abnormal": 3}, Flaw.REFUSAL),
        ({"scope": RESEARCH.to_json()}, Flaw.SCOPE),
        ({"issued": NOW + timedelta(days=1)}, Flaw.NOT_YET),
        ({"issued": NOW - timedelta(days=400)}, Flaw.EXPIRED),
    ],
)
def test_what_promises_nothing_is_not_released_and_leaves_nothing_behind(
    candidate: Candidate, make_certificate, tmp_path: Path, keywords: dict, flaw: Flaw
) -> None:
    (tmp_path / "certificate.json").write_text(make_certificate(**{"candidate": candidate.digest, **keywords}))
    before = sorted(tmp_path.iterdir())
    assert flaw_of(release, candidate, tmp_path / "certificate.json", KEY, tmp_path / "bundle", NOW) is flaw
    assert sorted(tmp_path.iterdir()) == before


def test_a_candidate_that_was_changed_since_it_was_opened_is_not_released(
    candidate: Candidate, make_certificate, tmp_path: Path
) -> None:
    (tmp_path / "certificate.json").write_text(make_certificate(candidate.digest))
    candidate.graph_path.write_text("other")
    before = sorted(tmp_path.iterdir())
    assert flaw_of(release, candidate, tmp_path / "certificate.json", KEY, tmp_path / "bundle", NOW) is Flaw.CHANGED
    assert sorted(tmp_path.iterdir()) == before


def test_a_release_is_never_overwritten_and_mistyped_paths_are_told(bundle: Bundle, tmp_path: Path) -> None:
    candidate, certificate = bundle.candidate, tmp_path / "certificate.json"
    with pytest.raises(DataError, match="never overwritten"):
        release(candidate, certificate, KEY, bundle.path, NOW)
    with pytest.raises(DataError, match="no such file"):
        release(candidate, tmp_path / "nowhere.json", KEY, tmp_path / "new", NOW)
    with pytest.raises(DataError, match="cannot be written"):
        release(candidate, certificate, KEY, tmp_path / "no" / "folder", NOW)


def test_two_releases_of_the_same_files_at_the_same_time_have_the_same_digest(bundle: Bundle, tmp_path: Path) -> None:
    again = release(bundle.candidate, tmp_path / "certificate.json", KEY, tmp_path / "again", NOW)
    assert again.digest == bundle.digest


def test_the_model_card_says_scope_promise_sites_and_limits(bundle: Bundle) -> None:
    card = (bundle.path / "model_card.md").read_text()
    certificate = certificate_from_json((bundle.path / "certificate.json").read_text())
    assert isinstance(certificate, Certificate)
    for part in (
        "CR, DX",
        "18 to any",
        "at most 2",
        "0.95",
        "0.05",
        repr(certificate.threshold),
        certificate.candidate,
    ):
        assert str(part) in card
    rows = [line for line in card.splitlines() if line.startswith(("| A |", "| B |", "| nodule |"))]
    assert len(rows) == 3
    assert rows[0].startswith(f"| A | 60 | {certificate.sites[0].misses} ({certificate.sites[0].misses_allowed}) | ")
    assert rows[0].endswith("| yes |")
    assert "Not covered: findings that the scores did not contain" in card


def test_an_opened_bundle_cannot_be_altered(bundle: Bundle) -> None:
    with pytest.raises(AttributeError):
        bundle.certificate = replace(bundle.certificate, threshold=9.0)  # pyright: ignore[reportAttributeAccessIssue]
