"""How many images an import has come through: a bar on a terminal, a line now and then elsewhere; on the standard error."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

LINE_EVERY = 20_000


@contextmanager
def counted(what: str) -> Iterator[Callable[[], None]]:
    """Give a function to call after each image; how many there will be is not known beforehand."""
    console = Console(stderr=True)
    if not console.is_terminal:
        numbers = count(1)

        def tell() -> None:
            if (done := next(numbers)) % LINE_EVERY == 0:
                console.print(f"{what}: {done}", highlight=False)

        yield tell
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}"), TimeElapsedColumn())
    with Progress(*columns, console=console) as shown:
        task = shown.add_task(what, total=None)
        yield lambda: shown.advance(task)
