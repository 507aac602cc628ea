"""A progress bar on a terminal, plain lines now and then elsewhere; both on the standard error."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def bar(total: int, what: str) -> Iterator[Callable[[], None]]:
    """Give a function to call after each of ``total`` pieces of work."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield counter(console, total, what)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as shown:
        task = shown.add_task(what, total=total)
        yield lambda: shown.advance(task)


def counter(console: Console, total: int, what: str) -> Callable[[], None]:
    """Return a function that tells every tenth of the work."""
    done = 0
    tenth = max(total // 10, 1)

    def advance() -> None:
        nonlocal done
        done += 1
        if done % tenth == 0 and total >= 200:
            console.print(f"{what}: {done} of {total}", highlight=False)

    return advance
