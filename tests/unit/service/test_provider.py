import pytest

from models.errors import DataError
from service.access.provider import Attempt, Registration, name_of, roles_of
from service.access.workflow import Role
from service.settings import Settings

GIVEN = {
    "oidc_issuer": "https://provider.example",
    "oidc_client_id": "demur",
    "oidc_roles": "radiologists=reader",
    "public_url": "https://demur.example/",
}


def registration(**changes: object) -> Registration | None:
    return Registration.of(Settings(**(GIVEN | changes)))


def test_groups_are_given_roles() -> None:
    found = roles_of("radiologists = reader, cn=quality=auditor,it=admin,")
    assert found == {"radiologists": Role.READER, "cn=quality": Role.AUDITOR, "it": Role.ADMIN}


@pytest.mark.parametrize("text", ["", "radiologists", "=reader", "machines=sender", "it=king", "it=reader,it=admin"])
def test_a_mapping_that_is_not_clear_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="DEMUR_OIDC_ROLES"):
        roles_of(text)


@pytest.mark.parametrize(
    "changes",
    [
        {"oidc_client_id": None},
        {"public_url": None},
        {"public_url": "http://demur.example"},
        {"oidc_issuer": "http://provider.example"},
        {"oidc_issuer": "provider.example"},
        {"oidc_roles": ""},
    ],
    ids=str,
)
def test_half_a_registration_stops_the_service(changes: dict[str, object]) -> None:
    with pytest.raises(DataError, match="DEMUR_"):
        registration(**changes)


def test_without_an_issuer_there_is_no_provider() -> None:
    assert registration(oidc_issuer=None, oidc_client_id=None, oidc_client_secret=None) is None


def test_people_come_back_to_the_address_that_was_set_and_to_no_header() -> None:
    found = registration()
    assert found is not None
    assert found.callback == "https://demur.example/sign-in/callback"


def test_a_subject_stays_itself_is_marked_and_fits() -> None:
    assert name_of("rita") == "oidc:rita"
    names = {name_of(subject) for subject in ("x" * 59, "x" * 60, "y" * 255, "Ж", "a\nb")}
    assert len(names) == 5
    assert all(len(name) <= 64 and name.isascii() and name.isprintable() for name in names)


def test_an_attempt_survives_its_cookie_and_gives_nothing_of_it_away() -> None:
    attempt = Attempt.begin("/cases/1:2")
    assert Attempt.parse(attempt.cookie) == attempt
    shown = {attempt.derive("state"), attempt.derive("nonce"), attempt.derive("verifier"), attempt.challenge}
    assert len(shown) == 4
    assert not any(attempt.secret in value for value in shown)
    assert Attempt.parse("").secret != Attempt.parse("").secret


@pytest.mark.parametrize(
    "path", ["/worklist/\u0100", "/worklist?" + "x" * 600, "//elsewhere.example", "/worklist\\x", "/x"]
)
def test_only_a_plain_path_of_our_own_is_gone_to_after_signing_in(path: str) -> None:
    from service.web.entrance import _ours

    assert _ours(path) == "/worklist"
    assert _ours("/cases/0af3?demur=1") == "/cases/0af3?demur=1"
