"""Sites start in shadow, are raised by their certificate alone, and every change is on the ledger."""

import json
from datetime import timedelta
from typing import Any

import pytest

from models.vocabulary import Mode
from service.errors import MissingError, SiteError
from service.sites.workflow import add_site, set_mode


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
