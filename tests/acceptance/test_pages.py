"""Readers at work: the pages in a real browser, on the real service in a process of its own."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from models.vocabulary import Reason
from service.access.workflow import Role, issue_token
from service.database import Database
from service.web.words import REASONS
from tests.conftest import unavailable
from tests.service_support import Process, make_dicom, uid_of, wait_until
from training.phantoms.dicom_writer import dicom_bytes
from training.phantoms.film import phantom

CSP = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "form-action 'self'",
    "frame-ancestors 'none'",
)
SECRETS = ("Mustermann", "Erika", "SECRETID42", "ACC9731")
#: The shades of a film on its canvas: mean and spread.
SHADES = """index => {
  const canvas = document.querySelectorAll("canvas")[index];
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", {willReadFrequently: true});
  copy.drawImage(canvas, 0, 0);
  const {data} = copy.getImageData(0, 0, canvas.width, canvas.height);
  let sum = 0, squares = 0, count = data.length / 4;
  for (let at = 0; at < data.length; at += 4) { sum += data[at]; squares += data[at] ** 2; }
  return {mean: sum / count, spread: Math.sqrt(squares / count - (sum / count) ** 2)};
}"""
#: Visible texts whose contrast with what is behind them is under the 4.5 of WCAG 2.2, 1.4.3.
FAINT = """() => {
  const parse = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] > 0.5) return colour;
    }
    return [255, 255, 255];
  };
  const faint = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility() || element.matches("kbd, option, .unseen, noscript, script")) continue;
    const [front, back] = [light(parse(getComputedStyle(element).color)), light(behind(element))];
    const ratio = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
    if (ratio < 4.5) faint.push(`${element.className || element.tagName} ${ratio.toFixed(2)}`);
  }
  return faint;
}"""
#: Controls that a screen reader could not name.
NAMELESS = """() => [...document.querySelectorAll("button, a, input:not([type=hidden]), select, textarea, canvas")]
  .filter((e) => !(e.innerText?.trim() || e.textContent.trim() || e.getAttribute("aria-label") || e.labels?.length))
  .map((e) => e.outerHTML)"""


@dataclass
class Reading:
    """A browser at work, with everything that it asked for and complained of."""

    process: Process
    page: Any
    scripted: bool = True
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    unprotected: list[str] = field(default_factory=list)

    def watch(self) -> "Reading":
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._hear)
        self.page.on("response", self._check)
        return self

    def _hear(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _check(self, response: Any) -> None:
        policy = response.headers.get("content-security-policy", "")
        if not all(part in [piece.strip() for piece in policy.split(";")] for part in CSP):
            self.unprotected.append(response.url)

    def sign_in(self, token: str | None = None) -> None:
        self.page.goto(f"{self.process.url}/worklist")
        self.page.fill("#token", token or self.process.reader_token)
        self.page.keyboard.press("Enter")
        self.ready(".tabs")

    def ready(self, selector: str) -> None:
        """Wait until a page that has something is there and takes keys."""
        page = "html.scripted" if self.scripted else "html"
        self.page.wait_for_selector(f"{page}:has({selector})", state="attached")

    def open_next(self) -> str:
        """Open the next case and return its id."""
        self.page.keyboard.press("n")
        self.ready(".verdicts")
        return urlsplit(self.page.url).path.split("/")[2]

    def shades(self, index: int = 0) -> dict[str, float]:
        """Return how a film looks once it is drawn."""
        self.page.wait_for_function("i => document.querySelectorAll('.film')[i].classList.contains('shown')", arg=index)
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return self.page.evaluate(SHADES, index)


@pytest.fixture(scope="module")
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


@pytest.fixture
def north(process: Process) -> str:
    """Start the service and return the token of a site."""
    process.environment = {"DEMUR_QUIET_S": "0", "DEMUR_HEARTBEAT_S": "0.2", **process.environment}
    process.start()
    return process.demur("site", "add", "north")["token"]


@pytest.fixture
def reading(process: Process, north: str, browser: Any) -> Iterator[Reading]:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    yield Reading(process=process, page=context.new_page()).watch()
    context.close()


def post(process: Process, token: str, data: bytes) -> str:
    """Send a film and return its study's id."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/dicom"}
    answer = httpx.post(f"{process.url}/v1/studies", content=data, headers=headers, timeout=60)
    assert answer.status_code in (200, 201), answer.text
    return answer.json()["id"]


def execute(process: Process, statement: str, *values: object) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(process.database.removeprefix("sqlite:///"), timeout=30)) as connection:
        found = connection.execute(statement, values).fetchall()
        connection.commit()
    return found


def state_of(process: Process, case_id: str) -> tuple[str, str | None]:
    return execute(process, "SELECT state, verdict FROM workitems WHERE id = ?", case_id)[0]


def second_reader(process: Process) -> str:
    """Return the token of another reader."""
    database = Database(process.database)
    with database.writing() as connection:
        token = issue_token(connection, name="rita", role=Role.READER, site_id=None, now=datetime.now(UTC))
    database.close()
    return token


def test_a_reader_signs_in_reads_undoes_and_completes_by_keyboard(process: Process, browser: Any) -> None:
    process.environment = {"DEMUR_QUIET_S": "0", "DEMUR_HEARTBEAT_S": "0.2", "DEMUR_UNDO_S": "20"}
    process.start()
    north = process.demur("site", "add", "north")["token"]
    chest = dicom_bytes(phantom(7, "site-01", 1, 256), modality="DX")
    urls, titles = [], []
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    reading = Reading(process=process, page=context.new_page()).watch()
    page = reading.page
    page.on("framenavigated", lambda frame: urls.append(frame.url))
    page.add_init_script("addEventListener('DOMContentLoaded', () => console.info(`title: ${document.title}`))")
    page.on("console", lambda message: titles.append(message.text) if message.text.startswith("title: ") else None)
    post(process, north, chest)
    second = make_dicom(seed=2)
    post(process, north, second)

    reading.sign_in()
    assert page.locator("tbody tr").count() == 2
    assert page.locator("tbody tr").nth(1).locator("td").nth(2).inner_text() == "66 y F"
    assert "Mustermann" not in page.content()

    case_id = reading.open_next()
    assert state_of(process, case_id) == ("IN PROGRESS", None)
    plain = reading.shades()
    assert plain["spread"] > 20, "the film is not blank"
    page.keyboard.press("i")
    inverted = reading.shades()
    assert inverted["mean"] != pytest.approx(plain["mean"], abs=5)
    page.keyboard.press("r")
    assert reading.shades() == pytest.approx(plain)
    page.mouse.move(400, 400)
    page.mouse.down()
    page.mouse.move(400, 520, steps=3)
    page.mouse.up()
    assert reading.shades()["mean"] < plain["mean"] - 5, "a higher level is a darker film"

    page.keyboard.press("t")
    page.keyboard.type("1 and 2 are no verdicts while a note is written")
    page.keyboard.press("Escape")
    page.keyboard.press("n")
    assert "Give a result" in page.inner_text("#notice")
    page.keyboard.press("1")
    reading.ready("time[data-then]")
    assert state_of(process, case_id) == ("IN PROGRESS", "finding")
    page.keyboard.press("u")
    reading.ready(".verdicts")
    assert "still yours" in page.inner_text("#notice")
    assert state_of(process, case_id) == ("IN PROGRESS", None)
    page.keyboard.press("2")
    reading.ready("time[data-then]")

    other_id = reading.open_next()
    assert other_id != case_id
    assert "No finding" in page.inner_text(".undo-strip"), "the last result can still be taken back"
    assert page.inner_text("h1") == "Mustermann Erika", "who signed in to read may see whom the films show"
    wait_until(lambda: state_of(process, case_id) == ("COMPLETED", "no_finding"))
    page.keyboard.press("Escape")
    page.wait_for_url("**/worklist?notice=released")
    page.goto(f"{process.url}/cases/{case_id}")
    assert page.inner_text(".given").startswith("No finding")

    allowed = urlsplit(process.url).netloc
    assert {urlsplit(url).netloc for url in reading.requests if not url.startswith("blob:")} == {allowed}
    assert reading.complaints == []
    assert reading.unprotected == []
    uids = [uid_of(data, keyword) for data in (chest, second) for keyword in ("StudyInstanceUID", "SOPInstanceUID")]
    told = " ".join([*urls, *reading.requests, *titles])
    assert len(titles) > 6
    assert [secret for secret in (*SECRETS, *uids) if secret in told] == []
    context.close()


def test_all_images_of_a_study_stand_side_by_side(reading: Reading, process: Process, north: str) -> None:
    frontal = make_dicom(seed=1)
    study = uid_of(frontal, "StudyInstanceUID")
    lateral = make_dicom(seed=2, side=96, StudyInstanceUID=study, ViewPosition="LL")
    for data in (frontal, lateral):
        post(process, north, data)
    reading.sign_in()
    reading.open_next()
    assert reading.page.locator("figcaption span").all_inner_texts() == ["CR PA · 1 of 2", "CR lateral · 2 of 2"]
    assert all(reading.shades(index)["spread"] > 5 for index in (0, 1))
    boxes = [reading.page.locator(".film").nth(index).bounding_box() for index in (0, 1)]
    assert boxes[0]["y"] == boxes[1]["y"]
    assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"] + 1


def test_a_film_that_cannot_be_shown_is_told_with_what_to_do(reading: Reading, process: Process, north: str) -> None:
    post(process, north, make_dicom(PixelData=None))
    reading.sign_in()
    reading.open_next()
    reading.page.wait_for_selector(".film.failed")
    message = reading.page.inner_text(".film-message")
    assert "cannot be decoded" in message
    assert "PACS" in message
    reading.page.keyboard.press("3")
    reading.ready("time[data-then]")


def test_a_case_that_another_reader_holds_is_shown_as_such_without_films(
    reading: Reading, process: Process, north: str, browser: Any
) -> None:
    post(process, north, make_dicom(seed=1))
    reading.sign_in()
    case_id = reading.open_next()
    context = browser.new_context()
    other = Reading(process=process, page=context.new_page()).watch()
    other.sign_in(second_reader(process))
    answer = other.page.request.post(
        f"{process.url}/cases/{case_id}/claim", headers={"Origin": process.url, "Sec-Fetch-Site": "same-origin"}
    )
    assert "Another reader was quicker" in answer.text()
    other.page.goto(f"{process.url}/cases/{case_id}")
    assert "reader holds this case" in other.page.inner_text(".side")
    assert other.page.locator("canvas").count() == 0
    film = reading.page.locator("[data-film]").get_attribute("data-film")
    assert reading.page.request.get(f"{process.url}{film}").status == 200
    assert other.page.request.get(f"{process.url}{film}").status == 404
    other.ready(".side")
    other.page.keyboard.press("n")
    other.page.wait_for_url("**/worklist?notice=empty")
    assert "Nothing is waiting" in other.page.inner_text("#notice")
    context.close()


def test_a_claim_that_ran_out_is_told_and_the_note_is_not_lost(process: Process, browser: Any) -> None:
    process.environment = {"DEMUR_QUIET_S": "0", "DEMUR_HEARTBEAT_S": "0.2", "DEMUR_LEASE_S": "15"}
    process.start()
    north = process.demur("site", "add", "north")["token"]
    post(process, north, make_dicom(seed=1))
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    Reading(process=process, page=page, scripted=False).sign_in()
    page.click("text=Next case")
    page.wait_for_url("**/cases/*")
    case_id = page.url.rpartition("/")[2]
    page.fill("#note", "what took so long to write")
    wait_until(lambda: state_of(process, case_id)[0] == "CANCELED")
    page.click("text=No finding")
    page.wait_for_selector("text=no longer yours")
    assert page.input_value("#kept") == "what took so long to write"
    page.click("button:text('Claim it again')")
    page.wait_for_selector("h2:text('Your result')")
    page.click("text=No finding")
    page.wait_for_selector("time[data-then]")
    context.close()


def test_a_claim_is_renewed_while_its_reader_is_at_work_and_ends_when_not(process: Process, browser: Any) -> None:
    process.environment = {"DEMUR_QUIET_S": "0", "DEMUR_HEARTBEAT_S": "0.2", "DEMUR_LEASE_S": "12"}
    process.start()
    north = process.demur("site", "add", "north")["token"]
    post(process, north, make_dicom(seed=1))
    context = browser.new_context()
    reading = Reading(process=process, page=context.new_page()).watch()
    reading.sign_in()
    case_id = reading.open_next()
    lease = "SELECT lease_until FROM workitems WHERE id = ?"
    first = execute(process, lease, case_id)
    for step in range(140):
        reading.page.mouse.move(300 + step, 300)
        reading.page.wait_for_timeout(100)
    assert state_of(process, case_id)[0] == "IN PROGRESS", "longer than the lease"
    assert execute(process, lease, case_id) != first
    wait_until(lambda: state_of(process, case_id)[0] == "CANCELED")
    reading.page.mouse.move(500, 500)
    reading.page.wait_for_selector("#lease a")
    assert "went back to the worklist" in reading.page.inner_text("#lease")
    assert reading.page.locator("[data-key='1']").is_disabled()
    context.close()


def test_what_demur_saw_is_hidden_until_asked_and_the_note_stays(
    reading: Reading, process: Process, north: str
) -> None:
    post(process, north, make_dicom(seed=1))
    reading.sign_in()
    reading.open_next()
    assert "No verified release" not in reading.page.content()
    reading.page.fill("#note", "half a note")
    reading.page.keyboard.press("Escape")
    reading.page.keyboard.press("d")
    reading.page.wait_for_selector("text=No verified release is in use")
    assert reading.page.input_value("#note") == "half a note"


def test_the_list_brings_itself_up_to_date_and_is_filtered(reading: Reading, process: Process, north: str) -> None:
    south = process.demur("site", "add", "south")["token"]
    post(process, north, make_dicom(seed=1))
    reading.sign_in()
    assert reading.page.locator("tbody tr").count() == 1
    reading.page.keyboard.press("ArrowDown")
    focused = reading.page.evaluate("document.activeElement.dataset.row")
    post(process, south, make_dicom(seed=2))
    reading.page.wait_for_function("() => document.querySelectorAll('tbody tr').length === 2")
    assert reading.page.evaluate("document.activeElement.dataset.row") == focused
    reading.page.select_option("[name=site]", "south")
    reading.page.wait_for_url("**site=south**")
    reading.ready(".tabs")
    assert reading.page.locator("tbody tr").count() == 1
    assert reading.page.inner_text("nav [aria-current] .count") == "1"
    reading.page.select_option("[name=reason]", str(Reason.VIEW))
    reading.page.wait_for_url("**reason=out_of_scope_view**")
    assert "Nothing is waiting with this filter" in reading.page.inner_text("#rows")


def test_a_healthy_call_that_is_read_unmarked_looks_like_an_abstention(process: Process, north: str) -> None:
    headers = {"Authorization": f"Bearer {process.reader_token}", "Origin": process.url}
    pages: dict[str, list[str]] = {}
    for decision, score in (("healthy", -3.5), ("IDK", 2.5)):
        study = post(process, north, make_dicom(seed=5, PatientID="P-1"))
        execute(
            process,
            "UPDATE studies SET decision = ?, score = ?, threshold = 0, placement = 'cleared', mode = 'autonomous', "
            "reasons = ? WHERE id = ?",
            *(decision, score, "" if decision == "healthy" else Reason.SCORE, study),
        )
        execute(process, "UPDATE workitems SET reasons = ? WHERE study_id = ?", Reason.SCORE, study)
        with httpx.Client(base_url=process.url, headers=headers) as client:
            listed = client.get("/worklist")
            opened = client.post("/cases/next")
            case = opened.headers["location"]
            shown = [listed, client.get(case), client.get(f"{case}?demur=1")]
            client.post(f"{case}/verdict", data={"finding": "no_finding"})
            shown += [client.get(case), client.get(f"{case}?demur=1"), client.get("/worklist?state=IN+PROGRESS")]
        assert all(answer.status_code == 200 for answer in shown)
        changing = re.compile(r'[0-9a-f]{32}|[0-9a-f]{6}(?=[:<" ·])|data-le\w+="\d+"|\d+ s\b')
        pages[decision] = [changing.sub("", answer.text) for answer in shown]
        execute(process, "UPDATE workitems SET state = 'COMPLETED', final_at = NULL")
        execute(process, "UPDATE workitems SET changed_at = '2020-01-01 00:00:00.000000'")
    assert pages["healthy"] == pages["IDK"]


def test_a_form_of_another_site_is_refused_and_changes_nothing(process: Process, north: str) -> None:
    post(process, north, make_dicom(seed=1))
    with httpx.Client(base_url=process.url) as client:
        entered = client.post("/sign-in", data={"token": process.reader_token}, headers={"Origin": process.url})
        cookie = entered.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=lax" in cookie
        for headers in (
            {"Origin": "https://elsewhere.example"},
            {"Origin": "null"},
            {"Sec-Fetch-Site": "cross-site", "Origin": process.url},
            {},
        ):
            answer = client.post("/cases/next", headers=headers)
            assert answer.status_code == 403
            assert "worklist" in answer.text
        assert execute(process, "SELECT DISTINCT state FROM workitems") == [("SCHEDULED",)]
        assert client.post("/cases/next", headers={"Origin": process.url}).status_code == 303


def test_a_wrong_token_is_told_and_a_senders_token_is_no_sign_in(process: Process, north: str) -> None:
    with httpx.Client(base_url=process.url, headers={"Origin": process.url}) as client:
        for token in ("nonsense", north):
            answer = client.post("/sign-in", data={"token": token})
            assert answer.status_code == 403
            assert "ask whoever runs Demur" in answer.text
            assert "set-cookie" not in answer.headers
        away = client.get("/cases/0123456789abcdef0123456789abcdef")
        assert away.headers["location"] == "/sign-in?next=/cases/0123456789abcdef0123456789abcdef"
        for elsewhere in ("//elsewhere.example", "https://elsewhere.example", "/\\elsewhere.example", "/worklist\\@x"):
            answer = client.post("/sign-in", data={"token": process.reader_token, "wanted": elsewhere})
            assert answer.headers["location"] == "/worklist"
        missing = client.get("/cases/0123456789abcdef0123456789abcdef")
        assert missing.status_code == 404
        assert "no such case" in missing.text


def test_every_control_has_a_name_and_every_text_is_legible(reading: Reading, process: Process, north: str) -> None:
    for seed in (1, 2):
        post(process, north, make_dicom(seed=seed))
    page = reading.page
    page.goto(f"{process.url}/worklist")
    visited = []

    def look() -> None:
        visited.append(page.title())
        assert page.evaluate(NAMELESS) == []
        assert page.evaluate(FAINT) == []
        assert page.locator("h1").count() == 1

    look()
    reading.sign_in()
    look()
    reading.open_next()
    reading.shades()
    look()
    page.keyboard.press("d")
    page.wait_for_selector("text=What Demur saw")
    page.keyboard.press("?")
    page.wait_for_selector("dialog[open]")
    look()
    page.keyboard.press("Escape")
    page.keyboard.press("1")
    reading.ready("time[data-then]")
    look()
    page.goto(f"{process.url}/cases/nothing")
    look()
    assert len(visited) == 6


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_told_in_words_with_what_to_do(reason: Reason) -> None:
    words = REASONS[reason]
    assert words.sentence.endswith(".")
    assert words.advice.endswith(".")
    assert len(words.short) <= 20
    assert "_" not in words.short


def test_pages_need_nothing_from_elsewhere() -> None:
    folder = Path(__file__).resolve().parents[2] / "service" / "web"
    texts = {path: path.read_text() for kind in ("*.html", "*.js", "*.css") for path in folder.rglob(kind)}
    assert len(texts) >= 8
    for path, text in texts.items():
        assert not re.search(r"https?://|@import|url\(", text), path
        assert not re.search(r"\sstyle=|\son\w+=|<style|<script>", text), path
