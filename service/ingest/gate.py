"""How much is let in at once, over HTTP and DIMSE alike."""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Iterator

from service.errors import OverloadedError, RateError


class Gate:
    """Lets in as many store requests as there is room for, and of each site as many a minute as it may send."""

    def __init__(self, *, at_once: int, per_minute: int) -> None:
        self._at_once, self._per_minute = at_once, per_minute
        self._lock = threading.Lock()
        self._inside = 0
        self._entered: dict[str, deque[float]] = {}

    @contextlib.contextmanager
    def pass_through(self, site_id: str) -> Iterator[None]:
        """Hold a place for one request; OverloadedError or RateError if there is none."""
        now = time.monotonic()
        with self._lock:
            recent = self._entered.setdefault(site_id, deque())
            while recent and recent[0] < now - 60:
                recent.popleft()
            if len(recent) >= self._per_minute:
                raise RateError("this site has sent as much as it may in a minute; send again later")
            if self._inside >= self._at_once:
                raise OverloadedError("too many requests are under way; send again later")
            recent.append(now)
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
