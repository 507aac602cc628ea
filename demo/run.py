"""The main job, once: open the demonstration release, serve, make films of several sites, post them, show what happened.

Everything goes through the front door (``demur serve``, ``site``, ``phantoms``, ``send``), as a hospital would do it.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
RELEASE = HERE / "release"
TRUSTED_KEYS = HERE / "trusted_keys.txt"
DEMUR = [sys.executable, "-m", "demur"]
#: Sites that the demonstration release certifies, and what each is raised to.
CERTIFIED = {"site-01": "autonomous", "site-02": "autonomous", "site-06": "prioritise"}
#: A site that nobody has certified: it stays in shadow, and everything is IDK.
UNSEEN = "site-09"
console = Console()


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A running service: where it answers, how a reader signs in, and where it keeps what it was sent."""

    url: str
    reader_token: str
    database: str
    process: subprocess.Popen[str]


def demur(*arguments: str | Path) -> str:
    """Run one verb and return what it printed; end the demonstration with the verb's own line if it fails."""
    done = subprocess.run([*DEMUR, *map(str, arguments)], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"demo: demur {arguments[0]} ended with exit code {done.returncode}; the line above says why")
    return done.stdout


def port_to_take(wanted: int) -> int:
    """Return the wanted port, or 0 (any free one) when something listens there already."""
    with socket.socket() as probe:
        return 0 if probe.connect_ex(("127.0.0.1", wanted)) == 0 else wanted


@contextmanager
def serving(folder: Path, port: int) -> Iterator[Service]:
    """Run ``demur serve`` on the demonstration release; end it on the way out."""
    database, log = f"sqlite:///{folder / 'demur.sqlite'}", folder / "service.log"
    command = [*DEMUR, "serve", "--json", "--bundle", RELEASE, "--trust", TRUSTED_KEYS]
    command += ["--database", database, "--storage", folder / "files", "--port", port_to_take(port)]
    with log.open("w") as errors:
        process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                sys.exit(f"demo: the service did not start: {log.read_text()[-2000:]}")
            told = json.loads(line)
            yield Service(url=told["url"], reader_token=told["reader_token"], database=database, process=process)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)


def add_sites(service: Service) -> dict[str, str]:
    """Add the demonstration's sites, raise the certified ones, and return each site's token."""
    tokens = {}
    for name in (*CERTIFIED, UNSEEN):
        tokens[name] = json.loads(demur("site", "add", name, "--database", service.database, "--json"))["token"]
    for name, mode in CERTIFIED.items():
        trust = ("--bundle", RELEASE, "--trust", TRUSTED_KEYS, "--database", service.database)
        console.print(demur("site", "mode", name, mode, *trust).strip(), highlight=False)
    console.print(f"The site {UNSEEN} is certified by nobody and stays in shadow.", highlight=False)
    return tokens


def post_phantoms(service: Service, tokens: dict[str, str], folder: Path, studies: int) -> None:
    """Make films with known truth and post them with ``demur send``, which shows bar and table."""
    chosen = [argument for name in tokens for argument in ("--site", name)]
    # Another seed than those of training, tuning and calibration: these patients are new.
    demur("phantoms", "--out", folder, *chosen, "--studies", str(studies), "--prevalence", "0.4", "--seed", "2026",
          "--json")  # fmt: skip
    given = [argument for name, token in tokens.items() for argument in ("--token", f"{name}={token}")]
    done = subprocess.run([*DEMUR, "send", str(folder / "studies.csv"), "--url", service.url, *given], check=False)
    if done.returncode != 0:
        sys.exit(f"demo: demur send ended with exit code {done.returncode}; the line above says why")


def post_real_files(service: Service, token: str) -> None:
    """Post real DICOM files, if there are some: none is a film that the release is certified for, so all must be IDK."""
    files = sorted(Path(os.environ.get("DEMUR_SHARED", HERE.parent.parent / "shared")).glob("dicom/*.dcm"))
    if not files:
        return
    table = Table("file", "decision", "reasons", title="Real DICOM files, as an autonomous site would send them")
    wrong = 0
    with httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {token}"}, timeout=120) as client:
        for file in files:
            body = file.read_bytes()
            answer = client.post("/v1/studies", content=body, headers={"Content-Type": "application/dicom"})
            if answer.is_error:
                sys.exit(f"demo: {file.name} was answered {answer.status_code}: {answer.text}")
            decided = answer.json()
            wrong += decided["decision"] != "IDK"
            table.add_row(file.name, decided["decision"], ", ".join(decided["reasons"]))
    console.print(table)
    if wrong:
        sys.exit(f"demo: {wrong} of {len(files)} real files were not IDK, and each must be: this is a fault of Demur")
    console.print(f"All {len(files)} real files are IDK, strange or out of scope, as they must be.\n", highlight=False)


def main() -> None:
    """Run the demonstration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--once", action="store_true", help="end after the table instead of staying up")
    parser.add_argument("--studies", type=int, default=48, help="phantom films to post (default %(default)s)")
    parser.add_argument(
        "--port", type=int, default=8480, help="port to listen on (default %(default)s, else a free one)"
    )
    options = parser.parse_args()
    console.print("The demonstration release verifies itself before it serves:", highlight=False)
    console.print(demur("verify", RELEASE, "--trust", TRUSTED_KEYS), highlight=False)
    with tempfile.TemporaryDirectory(prefix="demur-demo-") as folder, serving(Path(folder), options.port) as service:
        tokens = add_sites(service)
        post_phantoms(service, tokens, Path(folder) / "phantoms", options.studies)
        post_real_files(service, tokens["site-01"])
        console.print(f"The worklist of all that was not cleared: {service.url}/worklist", highlight=False)
        if options.once:
            return
        console.print(f"Sign in as a reader with: {service.reader_token}", highlight=False)
        console.print("The service stays up, and forgets everything when it ends: Ctrl-C ends it.", highlight=False)
        try:
            service.process.wait()
        except KeyboardInterrupt:
            console.print("Ending.")


if __name__ == "__main__":
    main()
