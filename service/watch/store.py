"""Healthy calls and what watches over them, in SQL. All of it can be made again from the ledger."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, case, exists, func, literal, select, update

from calibration.audits import Audited, Call
from calibration.monitor import monitor_from_json
from service.database import insert_or_ignore
from service.tables import calls, studies, watch_cursor, watches, workitems
from service.watch.inputs import Inputs, inputs_from_json

_CURSOR = "watch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A site under a release. ``audited`` is None until it was raised there; ``recall_from``: what was cleared since is read."""

    site_id: str
    bundle: str
    audited: Audited | None
    inputs: Inputs
    recall_from: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many healthy calls were made, how many of them drawn to be read, and what readers say of those."""

    made: int
    drawn: int
    read: int
    errors: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A healthy call that was acted on."""

    study_id: str
    revision: int
    site_id: str
    bundle: str
    decided_at: datetime
    probability: float
    is_drawn: bool
    #: What readers have found; None: not read.
    error: bool | None
    is_counted: bool

    @property
    def key(self) -> str:
        """Order calls of one moment."""
        return f"{self.study_id}:{self.revision}"

    def call(self, error: bool | None) -> Call:
        """Return the call as the monitor counts it."""
        return Call(
            key=self.key,
            accessioned=self.decided_at,
            probability=self.probability,
            audited=self.is_drawn,
            error=error,
        )


_MADE = tuple(calls.c[name] for name in Made.__dataclass_fields__)


def lock_cursor(connection: Connection) -> int | None:
    """Return how far the ledger was followed; None while another process follows it."""
    insert_or_ignore(connection, watch_cursor, {"name": _CURSOR, "sequence": 0})
    query = select(watch_cursor.c.sequence).where(watch_cursor.c.name == _CURSOR).with_for_update(skip_locked=True)
    return connection.execute(query).scalar()


def move_cursor(connection: Connection, sequence: int) -> None:
    """Remember how far the ledger was followed."""
    connection.execute(update(watch_cursor).where(watch_cursor.c.name == _CURSOR).values(sequence=sequence))


def load(connection: Connection, site_id: str, bundle: str) -> Watched:
    """Return a site's watch under a release, begun if there is none."""
    insert_or_ignore(connection, watches, {"site_id": site_id, "bundle": bundle, "inputs": Inputs().to_json()})
    query = select(watches).where(watches.c.site_id == site_id, watches.c.bundle == bundle)
    return _watched(connection.execute(query).one())


def every(connection: Connection, *, bundle: str | None = None, is_recalling: bool = False) -> list[Watched]:
    """Return watches: of a release, or of which studies are being put back, if asked."""
    query = select(watches).order_by(watches.c.site_id, watches.c.bundle)
    if bundle is not None:
        query = query.where(watches.c.bundle == bundle)
    if is_recalling:
        query = query.where(watches.c.recall_from.is_not(None))
    return [_watched(row) for row in connection.execute(query)]


def save(connection: Connection, watched: Watched) -> None:
    """Keep a watch, but for what is being put back: that is another transaction's work."""
    audited = watched.audited
    through = None if audited is None else audited.through
    connection.execute(
        update(watches)
        .where(watches.c.site_id == watched.site_id, watches.c.bundle == watched.bundle)
        .values(
            monitor=None if audited is None else audited.monitor.to_json(),
            through_at=None if through is None else through[0],
            through_key=None if through is None else through[1],
            inputs=watched.inputs.to_json(),
        )
    )


def add_call(connection: Connection, made: Made) -> None:
    """Insert a call; one of a revision that is known stays as it is."""
    insert_or_ignore(connection, calls, {name: getattr(made, name) for name in Made.__dataclass_fields__})


def drawn_calls(connection: Connection, study_id: str) -> list[Made]:
    """Return a study's calls that were drawn to be read."""
    query = select(*_MADE).where(calls.c.study_id == study_id, calls.c.is_drawn)
    return [Made(**row._asdict()) for row in connection.execute(query)]


def change_call(connection: Connection, made: Made, *, error: bool | None, is_counted: bool) -> None:
    """Keep what readers found of a call, and whether it was counted."""
    connection.execute(
        update(calls)
        .where(calls.c.study_id == made.study_id, calls.c.revision == made.revision)
        .values(error=error, is_counted=is_counted)
    )


def due(connection: Connection, until: datetime) -> Sequence[Any]:
    """Return site and release of the calls that were made until a time and are not counted."""
    query = select(calls.c.site_id, calls.c.bundle).where(~calls.c.is_counted, calls.c.decided_at <= until)
    return connection.execute(query.distinct().order_by(calls.c.site_id, calls.c.bundle)).all()


def due_calls(connection: Connection, watched: Watched, until: datetime, limit: int) -> list[Made]:
    """Return calls that were made until a time and are not counted, in their order."""
    query = _of(watched).where(~calls.c.is_counted, calls.c.decided_at <= until)
    return _ordered(connection, query.limit(limit))


def calls_of(connection: Connection, watched: Watched, *, is_counted: bool) -> list[Made]:
    """Return calls that were counted, or that were not yet, in their order."""
    return _ordered(connection, _of(watched).where(calls.c.is_counted == is_counted))


def calls_since(connection: Connection, site_id: str, since: datetime | None, limit: int) -> Sequence[Any]:
    """Return a site's calls, since a time if one is given, with where their studies now are, the newest first."""
    query = (
        select(*_MADE, studies.c.placement)
        .join(studies, studies.c.id == calls.c.study_id)
        .where(calls.c.site_id == site_id)
        .order_by(calls.c.decided_at.desc(), calls.c.study_id)
    )
    if since is not None:
        query = query.where(calls.c.decided_at >= since)
    return connection.execute(query.limit(limit)).all()


def cleared(connection: Connection, watched: Watched, *, limit: int, lock: bool) -> list[str]:
    """Return studies that are to be put back: cleared since the time that the watch names, and read by nobody.

    Locked, they are those that no other transaction holds. The studies are asked, not the calls: those follow the ledger
    and may lag behind what was decided before the site fell.
    """
    is_read = exists().where(workitems.c.study_id == studies.c.id, workitems.c.state == "COMPLETED")
    query = (
        select(studies.c.id)
        .where(
            studies.c.site_id == watched.site_id,
            studies.c.bundle == watched.bundle,
            studies.c.decided_at >= watched.recall_from,
            studies.c.state == "decided",
            studies.c.placement == "cleared",
            ~is_read,
        )
        .order_by(studies.c.decided_at.desc(), studies.c.id)
        .limit(limit)
    )
    return list(connection.execute(query.with_for_update(of=studies, skip_locked=True) if lock else query).scalars())


def begin_recall(connection: Connection, site_id: str, bundle: str, since: datetime) -> None:
    """Have what was cleared since a time put back; what is being put back already goes on."""
    earlier = case(
        (watches.c.recall_from < since, watches.c.recall_from), else_=literal(since, watches.c.recall_from.type)
    )
    query = update(watches).where(watches.c.site_id == site_id, watches.c.bundle == bundle)
    connection.execute(query.values(recall_from=earlier))


def end_recall(connection: Connection, watched: Watched) -> None:
    """Say that everything was put back, unless there is more to put back by now."""
    query = update(watches).where(watches.c.site_id == watched.site_id, watches.c.bundle == watched.bundle)
    connection.execute(query.where(watches.c.recall_from == watched.recall_from).values(recall_from=None))


def unclear(connection: Connection, study_id: str) -> None:
    """Say of a study that it is to be read after all."""
    connection.execute(update(studies).where(studies.c.id == study_id).values(placement="worklist"))


def counts(connection: Connection, watched: Watched) -> Counts:
    """Return how many calls a watch has seen."""
    drawn = case((calls.c.is_drawn, 1), else_=0)
    read = case((calls.c.is_drawn & calls.c.error.is_not(None), 1), else_=0)
    errors = case((calls.c.error.is_(True), 1), else_=0)
    query = select(func.count(), func.sum(drawn), func.sum(read), func.sum(errors)).where(
        calls.c.site_id == watched.site_id, calls.c.bundle == watched.bundle
    )
    found = connection.execute(query).one()
    return Counts(made=found[0], drawn=found[1] or 0, read=found[2] or 0, errors=found[3] or 0)


def _of(watched: Watched) -> Any:
    return select(*_MADE).where(calls.c.site_id == watched.site_id, calls.c.bundle == watched.bundle)


def _ordered(connection: Connection, query: Any) -> list[Made]:
    rows = connection.execute(query.order_by(calls.c.decided_at, calls.c.study_id, calls.c.revision))
    return [Made(**row._asdict()) for row in rows]


def _watched(row: Row[Any]) -> Watched:
    through = None if row.through_at is None else (row.through_at, row.through_key)
    return Watched(
        site_id=row.site_id,
        bundle=row.bundle,
        audited=None if row.monitor is None else Audited(monitor=monitor_from_json(row.monitor), through=through),
        inputs=inputs_from_json(row.inputs),
        recall_from=row.recall_from,
    )
