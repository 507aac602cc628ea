"""One progress bar for long work: rich on a terminal, a plain line now and then otherwise. On stderr."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from training.train import OnProgress

_LINE_EVERY_S = 15.0


@contextmanager
def shown_progress(*, quiet: bool) -> Iterator[OnProgress]:
    """Give a callable that shows what is under way and how far it is."""
    console = Console(stderr=True)
    if quiet:
        yield lambda _what, _done, _total: None
    elif console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("starting", total=None)
            yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total)
    else:
        yield _plain_lines(console)


def _plain_lines(console: Console) -> OnProgress:
    last: dict[str, float] = {}

    def tell(what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if done < total and now - last.get(what, 0.0) < _LINE_EVERY_S:
            return
        last[what] = now
        console.print(f"{time.strftime('%H:%M:%S')} {what}: {done} of {total}", highlight=False)

    return tell
