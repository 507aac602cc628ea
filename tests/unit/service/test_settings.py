"""Settings that contradict each other are refused, since each would silently mean less than was meant."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from service.settings import Settings


@pytest.mark.parametrize(
    "given",
    [
        {"dimse_tls_clients": Path("ca.pem")},
        {"tls_key": Path("key.pem")},
        {"oidc_client_id": "demur"},
        {"retention_days": 7},
        {"lost_after_s": 2.0, "heartbeat_s": 2.0},
    ],
    ids=str,
)
def test_settings_that_contradict_each_other_are_refused_by_name(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="DEMUR_"):
        Settings(**given)


def test_settings_that_agree_are_taken() -> None:
    Settings(
        tls_certificate=Path("c.pem"),
        tls_key=Path("k.pem"),
        dimse_tls_clients=Path("ca.pem"),
        oidc_issuer="https://provider.example",
        oidc_client_id="demur",
        retention_days=14,
    )
