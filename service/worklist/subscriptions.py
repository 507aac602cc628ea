"""Who is told of what happens on the worklist: PS3.18 sections 11.10 to 11.12, PS3.4 section CC.2.3.

Invariants:

- A subscriber's name belongs to the principal who used it. Two principals may use the same; neither learns of the other.
- What a subscription covers is limited to what its owner may see when something happens, not when it was made.
- A workitem's own subscription comes before the worklist's. Unsubscribing from the worklist ends them all.
"""

import re
from dataclasses import replace
from datetime import datetime
from uuid import uuid4

from sqlalchemy import Connection

from service.access.workflow import Principal
from service.errors import ForbiddenError, MissingError, RequestError
from service.worklist import store, workflow
from service.worklist import subscription_store as kept
from service.worklist.feed import Event
from service.worklist.schemas import search_of
from service.worklist.store import Search, Workitem
from service.worklist.subscription_store import Subscriber, Subscription

#: The well-known UIDs that stand for the worklist, and for as much of it as a filter names.
WORKLIST = "1.2.840.10008.5.1.4.34.5"
FILTERED_WORKLIST = "1.2.840.10008.5.1.4.34.5.1"
_WORKLISTS = (WORKLIST, FILTERED_WORKLIST)
_PER_OWNER = 1000
_FILTER_MAX = 2000
#: PS3.5 section 6.2: a title of an application entity has 16 characters at most, none of them a control or a backslash.
_TITLE = re.compile(r"[ -\[\]-~]{1,16}")


def subscriber_of(principal: Principal, aet: str) -> Subscriber:
    """Return a principal's subscriber of this name."""
    if not _TITLE.fullmatch(aet) or not aet.strip():
        raise RequestError("a subscriber is named by an application entity's title of 1 to 16 characters")
    return Subscriber(owner=principal.name, aet=aet.strip())


def subscribe(
    connection: Connection,
    principal: Principal,
    subscriber: Subscriber,
    target: str,
    *,
    has_lock: bool,
    matching: str,
    now: datetime,
) -> None:
    """Tell a subscriber from now on of a workitem, of the worklist, or of what in it matches."""
    if (target == FILTERED_WORKLIST) != bool(matching):
        raise RequestError(f"a filter is given for {FILTERED_WORKLIST}, and for nothing else")
    if target not in _WORKLISTS:
        workflow.find(connection, principal, uid=target)
    matched(matching, site_id=principal.site_id)
    if target not in kept.of(connection, subscriber) and kept.count(connection, subscriber.owner) >= _PER_OWNER:
        raise ForbiddenError(f"nobody has more than {_PER_OWNER} subscriptions; unsubscribe from some")
    if target in _WORKLISTS:
        kept.remove_all(connection, subscriber, is_wanted=(False,))
    kept.put(connection, subscriber, _subscription(target, has_lock=has_lock, matching=matching, now=now))


def unsubscribe(
    connection: Connection, principal: Principal, subscriber: Subscriber, target: str, *, now: datetime
) -> None:
    """Tell a subscriber no more of a workitem or of the worklist."""
    present = kept.of(connection, subscriber)
    if target in _WORKLISTS:
        if target not in present:
            raise MissingError("there is no such subscription")
        if target == WORKLIST:
            kept.remove_all(connection, subscriber)
        else:
            kept.remove(connection, subscriber, target=target)
        return
    workitem = workflow.find(connection, principal, uid=target)
    rest = {name: found for name, found in present.items() if name != target}
    own = present.get(target)
    is_covered = bool(covered(connection, principal, rest, {workitem.id: workitem}, []))
    if (own is None and not is_covered) or (own is not None and not own.is_wanted):
        raise MissingError("there is no such subscription")
    if is_covered:
        kept.put(
            connection,
            subscriber,
            replace(_subscription(target, has_lock=False, matching="", now=now), is_wanted=False),
        )
    else:
        kept.remove(connection, subscriber, target=target)


def suspend(connection: Connection, subscriber: Subscriber, target: str, *, now: datetime) -> None:
    """Cover no workitem that is made from now on; those that are there stay covered."""
    if target not in _WORKLISTS:
        raise RequestError("only a subscription to the worklist is suspended")
    present = kept.of(connection, subscriber).get(target)
    if present is None:
        raise MissingError("there is no such subscription")
    kept.put(connection, subscriber, replace(present, suspended_at=present.suspended_at or now))


def covered(
    connection: Connection,
    principal: Principal,
    present: dict[str, Subscription],
    workitems: dict[str, Workitem],
    events: list[Event],
) -> set[str]:
    """Return the ids of those of some workitems that subscriptions cover.

    A filter is tried on a workitem as it is now. Of its state, any that it went through in these events counts: who asks
    for what is scheduled is told when it no longer is.
    """
    states: dict[str, set[str]] = {}
    for event in events:
        states.setdefault(event.workitem, set()).update(filter(None, (event.was, event.state)))
    found: set[str] = set()
    for target in _WORKLISTS:
        subscription = present.get(target)
        if subscription is None:
            continue
        matching = matched(subscription.filter, site_id=principal.site_id)
        ids = tuple(workitems)
        matches = store.search(connection, replace(matching, ids=ids, states=(), limit=len(ids)))
        found.update(
            workitem.id
            for workitem in matches
            if (not matching.states or {*states.get(workitem.id, ()), workitem.state}.intersection(matching.states))
            and (subscription.suspended_at is None or workitem.created_at <= subscription.suspended_at)
        )
    for workitem in workitems.values():
        own = present.get(workitem.uid)
        if own is not None:
            (found.add if own.is_wanted else found.discard)(workitem.id)
    return found


def matched(matching: str, *, site_id: str | None) -> Search:
    """Return the search that a filter stands for: a comma-separated list of keys with values."""
    if len(matching) > _FILTER_MAX:
        raise RequestError(f"a filter has {_FILTER_MAX} characters at most")
    pairs: list[tuple[str, str]] = []
    for part in filter(None, matching.split(",")):
        key, is_pair, value = part.partition("=")
        if not is_pair and not pairs:
            raise RequestError("a filter is a list of matching keys with their values: key=value,key=value")
        # A part without a key goes on with the values of the key before it.
        pairs.append((key, value) if is_pair else (pairs[-1][0], f"{pairs.pop()[1]},{part}"))
    if any(key in ("limit", "offset") for key, _ in pairs):
        raise RequestError("a filter has matching keys only")
    return search_of(pairs, site_id=site_id)


def _subscription(target: str, *, has_lock: bool, matching: str, now: datetime) -> Subscription:
    return Subscription(
        id=uuid4().hex,
        target=target,
        is_wanted=True,
        has_lock=has_lock,
        filter=matching,
        created_at=now,
        suspended_at=None,
    )
