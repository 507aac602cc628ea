"""How much is let in at once, over HTTP and DIMSE alike, and that no site shuts out another.

Invariant: a site takes a place only while it holds fewer than are free. One site alone fills half of them, two a third each,
and the next one finds room however much these send (dynamic thresholds: Choudhury & Hahne 1998, IEEE/ACM Trans. Netw. 6:130).
"""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from service.errors import OverloadedError, RateError

_MINUTE_S = 60.0


def has_room(*, mine: int, taken: int, places: int) -> bool:
    """Say whether a site that holds so many of the places taken may have one more."""
    return mine < places - taken


@dataclass(slots=True)
class Passage:
    """One request inside; it counts here what it has sent."""

    bytes: int = 0


@dataclass(slots=True)
class _Site:
    """What a site holds, and what it did in the last minute."""

    inside: int = 0
    entered: deque[float] = field(default_factory=deque)
    sent: deque[tuple[float, int]] = field(default_factory=deque)

    def forget(self, before: float) -> None:
        while self.entered and self.entered[0] < before:
            self.entered.popleft()
        while self.sent and self.sent[0][0] < before:
            self.sent.popleft()

    @property
    def bytes(self) -> int:
        return sum(count for _, count in self.sent)


class Gate:
    """Lets in as many store requests as there is room for, and of each site as much a minute as it may send."""

    def __init__(
        self, *, at_once: int, per_minute: int, bytes_per_minute: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._at_once, self._per_minute, self._bytes_per_minute = at_once, per_minute, bytes_per_minute
        self._clock = clock
        self._lock = threading.Lock()
        self._inside = 0
        self._sites: dict[str, _Site] = {}

    @contextlib.contextmanager
    def pass_through(self, site_id: str) -> Iterator[Passage]:
        """Hold a place for one request; OverloadedError or RateError if there is none."""
        with self._lock:
            site = self._sites.setdefault(site_id, _Site())
            self._check(site)
            site.entered.append(self._clock())
            site.inside += 1
            self._inside += 1
        passage = Passage()
        try:
            yield passage
        finally:
            with self._lock:
                site.sent.append((self._clock(), passage.bytes))
                site.inside -= 1
                self._inside -= 1

    def _check(self, site: _Site) -> None:
        site.forget(self._clock() - _MINUTE_S)
        if len(site.entered) >= self._per_minute or site.bytes >= self._bytes_per_minute:
            raise RateError("this site has sent as much as it may in a minute; send again later")
        if self._inside >= self._at_once:
            raise OverloadedError("too many requests are under way; send again later")
        if not has_room(mine=site.inside, taken=self._inside, places=self._at_once):
            raise RateError("this site has too many requests under way; send again later")
