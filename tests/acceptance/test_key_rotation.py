"""A release's key is replaced as an operator does it: trust the new one, restart with its bundle, stop trusting the old."""

import subprocess
from pathlib import Path

import httpx

from tests.service_support import DEMUR, ROOT, Process, make_dicom

RELEASE = ROOT / "demo" / "release"


def demur(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*DEMUR, *map(str, arguments)], capture_output=True, text=True, check=False, cwd=ROOT)


def test_a_service_changes_to_a_release_of_another_key_and_loses_nothing(process: Process, tmp_path: Path) -> None:
    made = demur("key", "new", "--out", tmp_path / "new.key")
    assert made.returncode == 0, made.stderr
    bundle, trusted = tmp_path / "bundle", tmp_path / "trusted_keys.txt"
    signed = demur(
        "release",
        RELEASE / "candidate",
        RELEASE / "certificate.json",
        "--key",
        tmp_path / "new.key",
        "--out",
        bundle,
    )
    assert signed.returncode == 0, signed.stderr
    old = (ROOT / "demo" / "trusted_keys.txt").read_text()
    trusted.write_text(old)
    assert demur("verify", bundle, "--trust", trusted).returncode == 3, "a key that is not trusted yet"

    process.environment = {"DEMUR_QUIET_S": "0", "DEMUR_DECIDE_WAIT_S": "60"}
    process.start("--bundle", str(RELEASE), "--trust", str(trusted))
    token = process.demur("site", "add", "site-01")["token"]
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/dicom"}
    before = httpx.post(f"{process.url}/v1/studies", content=make_dicom(seed=1), headers=headers, timeout=120).json()
    trusted.write_text(old + made.stdout)
    assert process.stop() == 0
    process.start("--bundle", str(bundle), "--trust", str(trusted))
    after = httpx.post(f"{process.url}/v1/studies", content=make_dicom(seed=2), headers=headers, timeout=120).json()
    assert httpx.get(f"{process.url}/v1/studies/{before['id']}", headers=headers).json()["decision"] == "IDK"
    assert after["decision"] == "IDK"
    assert process.demur("ledger", "verify")["flaw"] is None

    trusted.write_text(made.stdout)
    assert httpx.get(f"{process.url}/readyz").status_code == 200, "the list is read at the start"
    assert process.stop() == 0
    refused = demur("serve", "--port", 0, "--database", process.database, "--bundle", RELEASE, "--trust", trusted)
    assert refused.returncode != 0
    assert "key" in refused.stderr
    process.start("--bundle", str(bundle), "--trust", str(trusted))
    assert process.demur("ledger", "verify")["flaw"] is None
