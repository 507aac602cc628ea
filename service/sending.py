"""``demur send``: the studies of a table, posted as a hospital would, with what became of them."""

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from models.errors import DataError
from models.studies import StudyRow, read_study_table
from models.vocabulary import Decision, Label

_TIMEOUT_S = 120.0
#: A service that is full or restarting is asked again so often, each time after a longer pause.
_TRIES = 5
_ROWS_SHOWN = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What became of one study."""

    study: str
    site: str
    truth: str
    stratum: str
    id: str = ""
    decision: str = ""
    reasons: tuple[str, ...] = ()
    is_cleared: bool = False
    elapsed_ms: float = 0.0
    error: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it for machines."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def tokens_of(given: Sequence[str]) -> dict[str, str]:
    """Return token by site from ``SITE=TOKEN`` words; a word without a site counts for every site."""
    tokens: dict[str, str] = {}
    for word in given:
        site, separator, token = word.rpartition("=")
        if not token or (separator and not site):
            raise DataError(f"{word!r} is no token; give TOKEN, or SITE=TOKEN once per site")
        tokens[site] = token
    if not tokens:
        raise DataError("a token is needed; demur site add NAME prints one, give it with --token")
    return tokens


def send_studies(
    path: Path, *, url: str, tokens: dict[str, str], connections: int, limit: int | None
) -> tuple[int, Iterator[Sent]]:
    """Return how many studies there are, and what becomes of each as it is answered."""
    studies: dict[str, list[StudyRow]] = {}
    for row in read_study_table(path).rows:
        studies.setdefault(row.study, []).append(row)
    chosen = list(studies.values())[:limit]
    for rows in chosen:
        if rows[0].site not in tokens and "" not in tokens:
            raise DataError(f"there is no token for the site {rows[0].site}; give --token {rows[0].site}=TOKEN")
    return len(chosen), _send(chosen, url.rstrip("/"), tokens, connections)


def with_progress(work: tuple[int, Iterator[Sent]]) -> list[Sent]:
    """Collect results behind a bar on a terminal, and without a word elsewhere."""
    total, results = work
    console = Console(stderr=True)
    columns = (TextColumn("sending"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        return list(progress.track(results, total=total))


def print_table(results: Sequence[Sent]) -> None:
    """Print a line per study, errors first and not too many, and the counts."""
    console = Console()
    table = Table("study", "site", "truth", "decision", "reasons", "ms", box=None, header_style="bold")
    ordered = sorted(results, key=lambda result: not result.error)
    for result in ordered[:_ROWS_SHOWN]:
        said = (
            "[red]error[/]"
            if result.error
            else f"[green]{result.decision}[/]"
            if result.decision == Decision.HEALTHY
            else result.decision
        )
        truth = " ".join(filter(None, (result.truth or "not known", result.stratum)))
        table.add_row(
            result.study,
            result.site,
            truth,
            said,
            result.error or ", ".join(result.reasons),
            f"{result.elapsed_ms:.0f}",
        )
    console.print(table)
    if len(results) > _ROWS_SHOWN:
        console.print(f"… and {len(results) - _ROWS_SHOWN} more; --json prints every one")
    healthy = [result for result in results if result.decision == Decision.HEALTHY]
    missed = sum(result.truth == Label.ABNORMAL for result in healthy)
    errors = sum(bool(result.error) for result in results)
    console.print(
        f"{len(results)} studies: {len(healthy)} healthy ({sum(result.is_cleared for result in healthy)} cleared, "
        f"{missed} of them truly abnormal), {len(results) - len(healthy) - errors} IDK, {errors} not taken in",
        highlight=False,
        soft_wrap=True,
    )


def _send(studies: Sequence[list[StudyRow]], url: str, tokens: dict[str, str], connections: int) -> Iterator[Sent]:
    local = threading.local()
    clients: list[httpx.Client] = []

    def post(rows: list[StudyRow]) -> Sent:
        if not hasattr(local, "client"):
            local.client = httpx.Client(base_url=url, timeout=_TIMEOUT_S)
            clients.append(local.client)
        return _post_study(local.client, rows, tokens.get(rows[0].site, tokens.get("", "")))

    try:
        with ThreadPoolExecutor(connections) as pool:
            for done in as_completed([pool.submit(post, rows) for rows in studies]):
                yield done.result()
    finally:
        for client in clients:
            client.close()


def _post_study(client: httpx.Client, rows: list[StudyRow], token: str) -> Sent:
    first = rows[0]
    told: dict[str, Any] = {
        "study": first.study,
        "site": first.site,
        "truth": str(first.label or ""),
        "stratum": first.stratum,
    }
    started = time.perf_counter()
    answer: dict[str, Any] = {}
    for position, row in enumerate(rows):
        try:
            response = _post(client, row.path.read_bytes(), token, has_more=position < len(rows) - 1)
        except OSError:
            return Sent(**told, error=f"the file {row.path.name} cannot be read")
        except httpx.HTTPError as fault:
            return Sent(**told, error=f"{client.base_url} does not answer ({type(fault).__name__})")
        if response.status_code not in (200, 201, 202):
            return Sent(**told, error=f"{response.status_code}: {_detail(response)}")
        answer = response.json()
    return Sent(
        **told,
        id=answer["id"],
        decision=answer["decision"] or "",
        reasons=tuple(answer["reasons"]) if answer["decision"] else (answer["state"],),
        is_cleared=answer["is_cleared"],
        elapsed_ms=1000 * (time.perf_counter() - started),
    )


def _post(client: httpx.Client, data: bytes, token: str, *, has_more: bool) -> httpx.Response:
    """Post one image; ask again where that can help, since the same bytes twice change nothing."""
    for attempt in range(_TRIES):
        try:
            response = client.post(
                "/v1/studies",
                content=data,
                params={"more": "true"} if has_more else {},
                headers={"Authorization": f"Bearer {token}", "Content-Type": "application/dicom"},
            )
        except httpx.TransportError:
            if attempt == _TRIES - 1:
                raise
        else:
            if response.status_code not in (429, 503) or attempt == _TRIES - 1:
                return response
        time.sleep(0.5 * 2**attempt)
    raise AssertionError("not reached")


def _detail(response: httpx.Response) -> str:
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError):
        return response.reason_phrase
