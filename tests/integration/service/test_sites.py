"""Sites start in shadow, are raised by their certificate alone, and every change is on the ledger."""

import json
from datetime import timedelta
from typing import Any

import pytest

from models.vocabulary import Mode
from service.errors import MissingError, SiteError
from service.sites.store import Why
from service.sites.workflow import add_site, check_modes, fall, set_mode


@pytest.fixture
def service(start: Any) -> Any:
    """Return a service at whose sites a share of the healthy calls is audited."""
    made = start()
    with made.database.writing() as connection:
        connection.exec_driver_sql("UPDATE sites SET audit_probability = 0.1")
    return made


def change(service: Any, name: str, mode: Mode, certificate: Any = None) -> Mode:
    with service.database.writing() as connection:
        return set_mode(connection, name, mode, certificate=certificate, bundle="b", now=service.clock()).mode


def test_a_site_starts_in_shadow(service: Any) -> None:
    assert service.rows("SELECT DISTINCT mode FROM sites") == [("shadow",)]


def test_a_certified_site_is_raised_and_lowered_and_both_are_on_the_ledger(service: Any, certificate_of: Any) -> None:
    assert change(service, "north", Mode.AUTONOMOUS, certificate_of()) is Mode.AUTONOMOUS
    assert change(service, "north", Mode.SHADOW) is Mode.SHADOW
    bodies = [json.loads(row[0]) for row in service.rows("SELECT body FROM ledger WHERE kind = 'site_changed'")]
    assert [(body["from"], body["to"]) for body in bodies if body["change"] == "mode"] == [
        ("shadow", "autonomous"), ("autonomous", "shadow"),
    ]  # fmt: skip


@pytest.mark.parametrize("mode", [Mode.PRIORITISE, Mode.AUTONOMOUS])
def test_nothing_raises_a_site_without_a_bundle(service: Any, mode: Mode) -> None:
    with pytest.raises(SiteError, match="no bundle is open"):
        change(service, "north", mode)


def test_a_site_that_is_not_certified_is_told_who_is(service: Any, certificate_of: Any) -> None:
    with pytest.raises(SiteError, match="it certifies south"):
        change(service, "north", Mode.PRIORITISE, certificate_of(sites=("south",)))


@pytest.mark.parametrize("days", [-400, 400])
def test_a_certificate_out_of_date_raises_nobody(service: Any, certificate_of: Any, days: int) -> None:
    service.clock.advance(timedelta(days=days).total_seconds())
    with pytest.raises(SiteError, match="not in date"):
        change(service, "north", Mode.PRIORITISE, certificate_of())


def test_lowering_needs_nothing(service: Any, certificate_of: Any) -> None:
    change(service, "north", Mode.AUTONOMOUS, certificate_of())
    assert change(service, "north", Mode.PRIORITISE) is Mode.PRIORITISE


def test_an_unknown_site_is_told(service: Any) -> None:
    with pytest.raises(MissingError, match="no site 'east'"):
        change(service, "east", Mode.SHADOW)


@pytest.mark.parametrize("name", ["", "a b", "../x", "-x", "x" * 65, "north"])
def test_a_name_that_cannot_be_is_refused(service: Any, name: str) -> None:
    with pytest.raises(SiteError), service.database.writing() as connection:
        add_site(connection, name, audit_probability=0.1, now=service.clock())


def test_a_mode_holds_under_the_release_that_the_site_was_raised_under_alone(service: Any, certificate_of: Any) -> None:
    with service.database.writing() as connection:
        raised = set_mode(
            connection, "north", Mode.AUTONOMOUS, certificate=certificate_of(), bundle="b", now=service.clock()
        )
    assert [raised.under(bundle).mode for bundle in ("b", "c", "")] == [Mode.AUTONOMOUS, Mode.SHADOW, Mode.SHADOW]


def tick(service: Any, certificate: Any, bundle: str) -> list[tuple[str, str]]:
    """Let a process that has a bundle open look after the sites; return what falls are kept."""
    with service.database.writing() as connection:
        check_modes(connection, certificate=certificate, bundle=bundle, now=service.clock())
    return [tuple(row) for row in service.rows("SELECT bundle, why FROM site_falls ORDER BY at")]


def test_a_process_with_another_release_says_so_once_and_lowers_nobody(service: Any, certificate_of: Any) -> None:
    change(service, "north", Mode.AUTONOMOUS, certificate_of())
    for _ in range(2):
        assert tick(service, certificate_of(), "c") == [("c", "other_release")]
        assert tick(service, certificate_of(), "b") == [("c", "other_release")]
    assert service.rows("SELECT name, mode FROM sites WHERE mode <> 'shadow'") == [("north", "autonomous")]
    bodies = [json.loads(row[0]) for row in service.rows("SELECT body FROM ledger WHERE kind = 'site_changed'")]
    assert [(body["from"], body["bundle"]) for body in bodies if body["change"] == "fell"] == [("autonomous", "c")]


def test_raising_under_another_release_takes_its_certificate_and_ends_the_first(
    service: Any, certificate_of: Any
) -> None:
    change(service, "north", Mode.AUTONOMOUS, certificate_of())
    with service.database.writing() as connection:
        with pytest.raises(SiteError, match="it certifies south"):
            set_mode(
                connection,
                "north",
                Mode.AUTONOMOUS,
                certificate=certificate_of(sites=("south",)),
                bundle="c",
                now=service.clock(),
            )
        raised = set_mode(
            connection, "north", Mode.PRIORITISE, certificate=certificate_of(), bundle="c", now=service.clock()
        )
    assert [raised.under(bundle).mode for bundle in ("b", "c")] == [Mode.SHADOW, Mode.PRIORITISE]


def test_a_site_whose_certificate_expires_falls_and_is_told(service: Any, certificate_of: Any) -> None:
    change(service, "north", Mode.AUTONOMOUS, certificate_of())
    assert tick(service, certificate_of(), "b") == []
    service.clock.advance(timedelta(days=400).total_seconds())
    assert tick(service, certificate_of(), "b") == [("b", "certificate_expired")]
    assert service.rows("SELECT DISTINCT mode FROM sites") == [("shadow",)]


def test_a_site_that_the_alarm_lowered_is_not_raised_under_that_release_again(
    service: Any, certificate_of: Any
) -> None:
    change(service, "north", Mode.AUTONOMOUS, certificate_of())
    site_id = service.rows("SELECT id FROM sites WHERE name = 'north'")[0][0]
    with service.database.writing() as connection:
        assert fall(connection, site_id, bundle="c", why=Why.DRIFT, now=service.clock()) is False
        assert fall(connection, site_id, bundle="b", why=Why.ALARM, now=service.clock()) is True
    with pytest.raises(SiteError, match="raised the alarm"):
        change(service, "north", Mode.PRIORITISE, certificate_of())


def test_a_site_of_which_nothing_would_be_audited_is_not_raised(service: Any, certificate_of: Any) -> None:
    with service.database.writing() as connection:
        connection.exec_driver_sql("UPDATE sites SET audit_probability = 0")
    with pytest.raises(SiteError, match="nothing would watch it"):
        change(service, "north", Mode.AUTONOMOUS, certificate_of())
