"""One progress bar for long work: rich on a terminal, a plain line now and then otherwise. On the standard error; light."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

#: Told (what is under way, units done, units in all or None where nobody knows).
OnProgress = Callable[[str, int, int | None], None]

LINE_EVERY_S = 15.0


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
        yield plain_lines(console, time.monotonic)


@contextmanager
def counted(what: str, total: int | None = None) -> Iterator[Callable[[], None]]:
    """Give a function to call after each piece of work, of ``total`` if it is known."""
    numbers = count(1)
    with shown_progress(quiet=False) as on_progress:
        yield lambda: on_progress(what, next(numbers), total)


def plain_lines(console: Console, clock: Callable[[], float]) -> OnProgress:
    """Return what tells a line every ``LINE_EVERY_S``, and the end of what took so long; short work is silent."""
    told: dict[str, float] = {}
    spoke: set[str] = set()

    def tell(what: str, done: int, total: int | None) -> None:
        now = clock()
        last = told.setdefault(what, now)
        if now - last < LINE_EVERY_S and not (done == total and what in spoke):
            return
        told[what] = now
        spoke.add(what)
        of_all = "" if total is None else f" of {total}"
        console.print(f"{time.strftime('%H:%M:%S')} {what}: {done}{of_all}", highlight=False)

    return tell


class Tally:
    """Units of one piece of work, told as they are added."""

    def __init__(self, what: str, total: int, on_progress: OnProgress) -> None:
        self._what, self._total, self._on_progress, self._done = what, total, on_progress, 0

    def add(self, units: int) -> None:
        """Tell of so many more."""
        self._done = min(self._done + units, self._total)
        self._on_progress(self._what, self._done, self._total)

    def finish(self) -> None:
        """Tell that all is done, whatever part of it was found done before."""
        self.add(self._total)
