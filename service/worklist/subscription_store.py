"""Subscriptions in SQL. A subscriber's name belongs to whoever made it: everything here is limited to its owner."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, select

from service.tables import subscriptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscriber:
    """Who is told: an Application Entity's title, as one principal uses it."""

    owner: str
    aet: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """What a subscriber wants to be told of."""

    #: New with every request to subscribe.
    id: str
    #: A workitem's UID, or one of the two that stand for the worklist.
    target: str
    #: False: of this one workitem nothing, although the worklist's subscription covers it.
    is_wanted: bool
    has_lock: bool
    filter: str
    created_at: datetime
    #: Workitems made after this are not covered any more.
    suspended_at: datetime | None


def of(connection: Connection, subscriber: Subscriber) -> dict[str, Subscription]:
    """Return a subscriber's subscriptions by their targets."""
    rows = connection.execute(select(subscriptions).where(_is(subscriber)))
    return {row.target: _subscription(row._mapping) for row in rows}  # noqa: SLF001 - its public name


def count(connection: Connection, owner: str) -> int:
    """Return how many subscriptions a principal has."""
    query = select(func.count()).select_from(subscriptions).where(subscriptions.c.owner == owner)
    return int(connection.execute(query).scalar_one())


def put(connection: Connection, subscriber: Subscriber, subscription: Subscription) -> None:
    """Keep a subscription in the place of the one that its target had."""
    remove(connection, subscriber, target=subscription.target)
    connection.execute(
        insert(subscriptions).values(
            owner=subscriber.owner,
            aet=subscriber.aet,
            id=subscription.id,
            target=subscription.target,
            is_wanted=subscription.is_wanted,
            has_lock=subscription.has_lock,
            filter=subscription.filter,
            created_at=subscription.created_at,
            suspended_at=subscription.suspended_at,
        )
    )


def remove(connection: Connection, subscriber: Subscriber, *, target: str) -> None:
    """Forget the subscription of a target."""
    connection.execute(delete(subscriptions).where(_is(subscriber), subscriptions.c.target == target))


def remove_all(connection: Connection, subscriber: Subscriber, *, is_wanted: Sequence[bool] = (True, False)) -> None:
    """Forget every subscription of a subscriber, or those that want something, or those that do not."""
    connection.execute(delete(subscriptions).where(_is(subscriber), subscriptions.c.is_wanted.in_(is_wanted)))


def _is(subscriber: Subscriber) -> ColumnElement[bool]:
    return and_(subscriptions.c.owner == subscriber.owner, subscriptions.c.aet == subscriber.aet)


def _subscription(row: Any) -> Subscription:
    return Subscription(**{name: value for name, value in row.items() if name not in ("owner", "aet")})
