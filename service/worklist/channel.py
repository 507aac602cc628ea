"""The event channel: a WebSocket over which a subscriber is told of what happens (PS3.18 section 8.10).

Each channel follows the ledger in the database by itself, from the place that it has reached. So whichever process a
workitem changes in, whoever is connected to another one is told, in order, and nothing is held in memory for anybody.
What happens while no channel is open is not kept for it: the feed at ``/v1/workitems/changes`` has it.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Iterator

from fastapi import WebSocket, WebSocketDisconnect
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.types import Message

from service.access.routes import principal, reader
from service.access.workflow import Principal
from service.errors import ForbiddenError, OverloadedError, UnauthenticatedError
from service.runtime import Runtime
from service.worklist import feed, store, subscription_store
from service.worklist.reports import Report, reports_of, service_report, state_report
from service.worklist.subscription_store import Subscriber, Subscription
from service.worklist.subscriptions import FILTERED_WORKLIST, WORKLIST, covered, matched

logger = logging.getLogger(__name__)

_POLL_S = 0.5
#: How long a report may take to go out; whoever is slower is dropped.
_SEND_S = 10.0
_CLOSE_S, _END_S = 1.0, 5.0
_PAGE = 200
_PER_OWNER = 8
#: Close codes of RFC 6455 section 7.4.1 and of its registry.
_GOING_AWAY, _ONLY_SPEAKS, _NOT_ALLOWED, _TRY_AGAIN = 1001, 1003, 1008, 1013


class Channels:
    """The channels that a process has open."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._open: Counter[str] = Counter()
        self.is_ending = False

    @contextlib.contextmanager
    def place(self, owner: str) -> Iterator[None]:
        """Hold a place for somebody's channel."""
        if self.is_ending or self._open.total() >= self._at_once or self._open[owner] >= _PER_OWNER:
            raise OverloadedError("too many event channels are open")
        self._open[owner] += 1
        try:
            yield
        finally:
            self._open[owner] -= 1

    async def end(self) -> None:
        """Let every channel say goodbye and close."""
        self.is_ending = True
        loop = asyncio.get_running_loop()
        until = loop.time() + _END_S
        while self._open.total() and loop.time() < until:
            await asyncio.sleep(0.05)


class Follower:
    """How far a channel has come: the last place in the ledger, and the subscriptions whose first states it has told."""

    def __init__(self, connection: Connection, subscriber: Subscriber) -> None:
        self._subscriber = subscriber
        self._after = feed.head(connection)
        self._known = {found.id for found in subscription_store.of(connection, subscriber).values()}
        #: Subscriptions whose workitems' present states are still to be told, each with the last one told.
        self._first: list[tuple[Subscription, str]] = []

    def take(self, connection: Connection, asker: Principal) -> list[Report]:
        """Return the next reports, a page at most; none when there is nothing new."""
        present = subscription_store.of(connection, self._subscriber)
        for subscription in present.values():
            if subscription.id not in self._known and _tells_first_states(subscription):
                self._first.append((subscription, ""))
        self._known = {found.id for found in present.values()}
        # Changes first: so the state that is told last of a workitem is never an older one.
        if reports := self._changes(connection, asker, present):
            return reports
        while self._first:
            subscription, after = self._first.pop(0)
            if subscription.id in self._known and (reports := self._states(connection, asker, subscription, after)):
                return reports
        return []

    def _states(self, connection: Connection, asker: Principal, subscription: Subscription, after: str) -> list[Report]:
        if subscription.target in (WORKLIST, FILTERED_WORKLIST):
            wanted = matched(subscription.filter, site_id=asker.site_id)
        else:
            wanted = matched(f"SOPInstanceUID={subscription.target}", site_id=asker.site_id)
        found = store.page_after(connection, wanted, after=after, limit=_PAGE)
        if len(found) == _PAGE:
            self._first.insert(0, (subscription, found[-1].id))
        return [state_report(workitem.uid, workitem.state) for workitem in found]

    def _changes(self, connection: Connection, asker: Principal, present: dict[str, Subscription]) -> list[Report]:
        while events := feed.events_after(connection, site_id=asker.site_id, after=self._after, limit=_PAGE):
            self._after = events[-1].sequence
            ids = tuple({event.workitem for event in events}) if present else ()
            workitems = {found.id: found for found in store.of_ids(connection, ids, site_id=asker.site_id)}
            told = covered(connection, asker, present, workitems, events)
            reports = [
                report
                for event in events
                if event.workitem in told
                for report in reports_of(event, workitems[event.workitem])
            ]
            if reports:
                return reports
        return []


async def serve(socket: WebSocket, follower: Follower, runtime: Runtime, channels: Channels) -> None:
    """Tell a subscriber what happens until either side ends; a right that has ended ends the channel too."""
    heard = asyncio.create_task(socket.receive())
    try:
        code, reason = await _speak(socket, follower, runtime, channels, heard)
    except (UnauthenticatedError, ForbiddenError):
        code, reason = _NOT_ALLOWED, "the sign-in has ended"
    except (DBAPIError, PoolTimeoutError):
        code, reason = _TRY_AGAIN, "the database is away; come back"
    except TimeoutError:
        code, reason = _NOT_ALLOWED, "too slow"
    except WebSocketDisconnect:
        code, reason = _GOING_AWAY, "left"
    finally:
        heard.cancel()
    logger.info("channel closed", extra={"action": "channel_closed", "status": code, "reason": reason})
    # Nothing to be said to who has left, and no time for who does not listen.
    with contextlib.suppress(TimeoutError, WebSocketDisconnect, RuntimeError):
        await asyncio.wait_for(socket.close(code, reason), _CLOSE_S)


async def _speak(
    socket: WebSocket, follower: Follower, runtime: Runtime, channels: Channels, heard: "asyncio.Task[Message]"
) -> tuple[int, str]:
    """Tell reports until there is a reason to close, and return it."""
    count = 0

    def look() -> list[Report]:
        asker = reader(principal(socket, runtime))
        with runtime.database.reading() as connection:
            return follower.take(connection, asker)

    async def tell(report: Report) -> None:
        nonlocal count
        count += 1
        await asyncio.wait_for(socket.send_text(report.text(count)), _SEND_S)

    await tell(service_report(WORKLIST, "RESTARTED"))
    while not channels.is_ending:
        reports = await asyncio.to_thread(look)
        for report in reports:
            await tell(report)
        done, _ = await asyncio.wait({heard}, timeout=0 if reports else _POLL_S)
        if done:
            is_left = heard.result()["type"] == "websocket.disconnect"
            return (_GOING_AWAY, "left") if is_left else (_ONLY_SPEAKS, "this channel only speaks")
    await tell(service_report(WORKLIST, "GOING DOWN"))
    return _GOING_AWAY, "the service goes down"


def _tells_first_states(subscription: Subscription) -> bool:
    """Say whether subscribing is answered by present states (PS3.4 CC.2.4.3): of a workitem, or of a locked worklist."""
    return subscription.is_wanted and (
        subscription.has_lock or subscription.target not in (WORKLIST, FILTERED_WORKLIST)
    )
