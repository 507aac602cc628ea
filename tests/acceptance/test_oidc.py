"""People who sign in at a real OpenID provider, in a real browser and by hand."""

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.conftest import unavailable
from tests.service_support import DEMUR, ROOT, Process, make_dicom, wait_until

HERE = Path(__file__).parent / "oidc_provider"
SECRET = "a secret: with a colon & more"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@dataclass
class Provider:
    """The provider as a process of its own, at an address that stays."""

    node: str
    folder: Path
    service_url: str
    port: int
    _process: subprocess.Popen[str] | None = None

    @property
    def issuer(self) -> str:
        # Another site than 127.0.0.1 to a browser's cookies, as a provider is.
        return f"http://localhost:{self.port}"

    def start(self) -> None:
        """Start with a key that it never had before."""
        self._process = subprocess.Popen(
            [
                self.node,
                "provider.mjs",
                str(self.port),
                f"{self.service_url}/sign-in/callback",
                f"{self.service_url}/sign-in",
            ],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline().strip() == "ready"

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None


@pytest.fixture(scope="session")
def installed(needs_command: Any) -> Path:
    """Return a folder with the provider's program and its packages, fetched once per machine and version."""
    npm = needs_command("npm")
    version = hashlib.sha256((HERE / "package.json").read_bytes()).hexdigest()[:12]
    kept = Path(tempfile.gettempdir()) / f"demur-oidc-provider-{os.getuid()}-{version}"
    if not (kept / "node_modules").is_dir():
        with tempfile.TemporaryDirectory(dir=kept.parent) as made:
            shutil.copy(HERE / "package.json", made)
            done = subprocess.run(
                [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts"],
                cwd=made,
                capture_output=True,
                check=False,
                timeout=240,
            )
            if done.returncode:
                unavailable("oidc-provider of npm")
            kept.mkdir(mode=0o700, exist_ok=True)
            if not (kept / "node_modules").is_dir():
                (Path(made) / "node_modules").rename(kept / "node_modules")
    assert kept.stat().st_uid == os.getuid()
    shutil.copy(HERE / "package.json", kept)
    shutil.copy(HERE / "provider.mjs", kept)
    return kept


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def provider(installed: Path, needs_command: Any, port: int) -> Iterator[Provider]:
    made = Provider(
        node=needs_command("node"), folder=installed, service_url=f"http://127.0.0.1:{port}", port=free_port()
    )
    made.start()
    yield made
    made.stop()


@pytest.fixture
def process(process: Process, provider: Provider, port: int) -> Process:
    """Return the service, started, where people sign in at the provider."""
    process.environment = {
        "DEMUR_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "DEMUR_OIDC_ISSUER": provider.issuer,
        "DEMUR_OIDC_CLIENT_ID": "demur",
        "DEMUR_OIDC_CLIENT_SECRET": SECRET,
        "DEMUR_OIDC_ROLES": "radiologists=reader,quality=auditor",
    }
    return process.start(port=port)


class Person:
    """Somebody with a browser, by hand."""

    def __init__(self, process: Process) -> None:
        self.url = process.url
        self.client = httpx.Client(headers={"Origin": process.url})

    def begin(self, wanted: str = "/worklist") -> str:
        """Return the address at the provider that the service sends to."""
        answer = self.client.get(f"{self.url}/sign-in/provider", params={"next": wanted})
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

    def callback(self, login: str, address: str) -> str:
        """Sign in at the provider and return the address that it sends back to, without going there."""
        while not address.startswith(self.url):
            answer = self.client.get(address)
            if answer.is_redirect:
                address = str(answer.url.join(answer.headers["location"]))
                continue
            form = dict(re.findall(r'<input[^>]*name="(\w+)"[^>]*value="([^"]*)"', answer.text))
            place = re.search(r'<form[^>]*action="([^"]+)"', answer.text)
            assert place is not None, answer.text
            data = {**form, "login": login, "password": "any"}
            answer = self.client.post(str(answer.url.join(unescape(place[1]))), data=data, headers={"Origin": "null"})
            address = str(answer.url.join(answer.headers["location"]))
        return address

    def sign_in(self, login: str) -> httpx.Response:
        return self.client.get(self.callback(login, self.begin()))

    def worklist(self) -> httpx.Response:
        return self.client.get(f"{self.url}/worklist")


@pytest.fixture
def people(process: Process) -> Iterator[Any]:
    made: list[Person] = []

    def person() -> Person:
        made.append(Person(process))
        return made[-1]

    yield person
    for each in made:
        each.client.close()


@pytest.fixture
def browser(needs_command: Any) -> Iterator[Any]:
    chromium = needs_command("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        unavailable("playwright for Python")
        raise
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield launched
        launched.close()


def test_a_reader_signs_in_at_the_provider_reads_and_signs_out_of_both(process: Process, browser: Any) -> None:
    token = process.demur("site", "add", "north")["token"]
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/dicom"}
    assert httpx.post(f"{process.url}/v1/studies", content=make_dicom(), headers=headers, timeout=60).status_code == 201
    context = browser.new_context()
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(f"{said.type} {said.location['url']} {said.text}"))
    page.goto(f"{process.url}/worklist")
    page.click("#provider")
    page.fill("input[name=login]", "rita")
    page.fill("input[name=password]", "any")
    page.click("button[type=submit]")
    page.click("button[type=submit]")  # the provider asks whether Demur may know
    page.wait_for_url(f"{process.url}/worklist")
    assert page.inner_text(".who .muted") == "Rita Reader"
    (cookie,) = [each for each in context.cookies(process.url) if each["name"] == "demur_session"]
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")
    assert [each["name"] for each in context.cookies(process.url)] == ["demur_session"], "the way in leaves nothing"

    page.wait_for_selector("html.scripted:has(.tabs)", state="attached")
    page.keyboard.press("n")
    page.wait_for_selector("html.scripted:has(.verdicts)", state="attached")
    page.click("text=Sign out")
    page.wait_for_url(re.compile(r"http://localhost:\d+/session/end.*"))
    page.click("button[type=submit] >> nth=0")
    page.wait_for_url(re.compile(re.escape(f"{process.url}/sign-in") + ".*"))
    page.goto(f"{process.url}/worklist")
    page.wait_for_selector("#provider")
    page.click("#provider")
    page.wait_for_selector("input[name=login]")
    # The provider's own pages ask for fonts that are not to be had here.
    assert [each for each in complaints if process.url in each and not each.startswith("verbose ")] == []
    old = httpx.get(f"{process.url}/worklist", cookies={"demur_session": cookie["value"]})
    assert old.status_code == 303
    context.close()


def test_what_a_person_may_do_comes_from_their_groups(process: Process, people: Any) -> None:
    rita, quinn, stan = people(), people(), people()
    assert rita.sign_in("rita").headers["location"] == "/worklist"
    assert rita.worklist().status_code == 200
    assert rita.client.get(f"{process.url}/metrics").status_code == 403
    assert quinn.sign_in("quinn").status_code == 303
    assert quinn.worklist().status_code == 403
    assert quinn.client.get(f"{process.url}/metrics").status_code == 200
    refused = stan.sign_in("stan")
    assert refused.status_code == 403
    assert "none of its groups may use Demur" in refused.text
    assert stan.worklist().status_code == 303
    assert not re.search("rita|quinn|stan|code=|state=", process.log(), re.IGNORECASE)


def test_an_answer_counts_once_and_in_the_browser_that_went_for_it(people: Any) -> None:
    rita, other = people(), people()
    back = rita.callback("rita", rita.begin())
    other.begin()
    assert other.client.get(back).status_code == 403, "the state of another browser"
    other.client.cookies.clear()
    assert other.client.get(back).status_code == 403, "of a browser that never went"
    kept = rita.client.cookies["demur_sign_in"]
    assert rita.client.get(back).status_code == 303
    assert rita.client.get(back).status_code == 403, "the way in is over"
    rita.client.cookies.set("demur_sign_in", kept, domain="127.0.0.1")
    assert rita.client.get(back).status_code == 403, "the provider takes a code once"


def test_answers_that_another_provider_or_nobody_gave_are_refused(people: Any, provider: Provider) -> None:
    for change in (lambda url: url.replace("iss=", "iss=http%3A%2F%2Felsewhere"), lambda url: url.split("&iss=")[0]):
        rita = people()
        back = rita.callback("rita", rita.begin())
        assert parse_qs(urlsplit(back).query)["iss"] == [provider.issuer]
        assert rita.client.get(change(back)).status_code == 403
    for query in ("error=access_denied", "code=made-up"):
        rita = people()
        state = parse_qs(urlsplit(rita.begin()).query)["state"][0]
        answer = rita.client.get(f"{rita.url}/sign-in/callback?state={state}&iss={provider.issuer}&{query}")
        assert answer.status_code == 403
        assert "Sign in again" in answer.text


def test_a_sign_in_leads_to_our_own_pages_only_and_changes_the_cookie(people: Any) -> None:
    rita = people()
    case = "/cases/0123456789abcdef0123456789abcdef"
    cookies = []
    for wanted, to in (("//elsewhere.example", "/worklist"), ("https://elsewhere.example", "/worklist"), (case, case)):
        before = rita.client.cookies.get("demur_session")
        answer = rita.client.get(rita.callback("rita", rita.begin(wanted)))
        assert answer.headers["location"] == to
        if before is not None:
            assert httpx.get(f"{rita.url}/worklist", cookies={"demur_session": before}).status_code == 303
        cookies.append(rita.client.cookies["demur_session"])
    assert len(set(cookies)) == len(cookies)


def test_a_provider_may_change_its_key(people: Any, provider: Provider) -> None:
    assert people().sign_in("rita").status_code == 303
    provider.stop()
    provider.start()
    # Keys are asked for again when they were last asked for a while ago.
    wait_until(lambda: people().sign_in("rita").status_code == 303)


def test_without_the_provider_the_page_says_so_and_the_rest_goes_on(
    process: Process, people: Any, provider: Provider
) -> None:
    rita, late = people(), people()
    rita.sign_in("rita")
    back = late.callback("rita", late.begin())
    provider.stop()
    answer = late.client.get(back)
    assert answer.status_code == 503
    assert "does not answer" in answer.text
    assert rita.worklist().status_code == 200, "who is signed in stays so"
    assert httpx.get(f"{process.url}/readyz").status_code == 200
    entered = late.client.post(f"{process.url}/sign-in", data={"token": process.reader_token})
    assert entered.status_code == 303, "a local token that was set is a way in"


def test_with_a_provider_no_local_token_is_made(process: Process) -> None:
    process.stop()
    environment = {name: value for name, value in os.environ.items() if name != "DEMUR_READER_TOKEN"}
    with subprocess.Popen(
        [*DEMUR, "serve", "--json", "--port", "0", "--database", process.database, "--storage", str(process.storage)],
        env={**environment, **process.environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
    ) as serving:
        assert serving.stdout is not None
        told = json.loads(serving.stdout.readline())
        serving.terminate()
        assert serving.wait(timeout=60) == 0
    assert told["reader_token"] is None
