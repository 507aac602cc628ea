"""What becomes of a site that is watched.

Invariants:

- A site falls in the transaction that finds why, and from its commit on no decision is acted on: a decision that is under way
  holds the site, and is waited for.
- After an alarm or a drift what was cleared lately and nobody has read goes back to the worklist.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from calibration.audits import look_ahead
from calibration.monitor import average_upper_bound, evidence_against
from models.vocabulary import Mode, Reason
from service import metrics
from service.sites import store as site_store
from service.sites.store import Site, Why
from service.sites.workflow import fall, withdraw_alarm
from service.watch import store
from service.watch.following import Cause, follow
from service.watch.inputs import REFERENCE
from service.watch.store import Watched
from service.worklist.store import Priority
from service.worklist.workflow import Place, ensure_open

#: Studies that are put back in one transaction.
_RECALLED_AT_ONCE = 100
#: What is put back waits behind what comes now: this many service levels.
_RECALL_SERVICE_LEVELS = 12.0
#: What ``show`` sets.
GAUGES = (metrics.WATCHED_CALLS, metrics.EVIDENCE, metrics.FALSE_OMISSION_RATE_UPPER, metrics.DRIFT_P_VALUE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is known of a site under a release."""

    site: str
    bundle: str
    mode: Mode
    made: int
    drawn: int
    read: int
    errors: int
    #: Calls that have reached their age; the bound is about them.
    counted: int
    evidence: float | None
    alarm_evidence: float | None
    false_omission_rate_upper: float | None
    reference: int
    batches: int
    drift_p_value: float | None
    is_recalling: bool


def sweep(connection: Connection, *, grace: timedelta, recall: timedelta, now: datetime) -> int:
    """Follow the ledger, let sites fall, put back what was cleared; return how many entries were followed."""
    followed, causes = follow(connection, grace=grace, now=now)
    for cause in causes:
        _act(connection, cause, recall=recall, now=now)
    return followed


def put_back(connection: Connection, *, now: datetime) -> int:
    """Put some studies back on the worklist that were cleared before their site fell; return how many."""
    count = 0
    for watched in store.every(connection, is_recalling=True):
        site = site_store.get(connection, watched.site_id)
        found = store.cleared(connection, watched, limit=_RECALLED_AT_ONCE, lock=True)
        for study_id in found:
            _recall(connection, site, study_id, now=now)
        count += len(found)
        if not found and not store.cleared(connection, watched, limit=1, lock=False):
            store.end_recall(connection, watched)
    return count


def standings(connection: Connection, *, bundle: str | None = None) -> list[Standing]:
    """Return what is known of every site, under one release if it is named."""
    sites = {site.id: site for site in site_store.every(connection)}
    found = [
        _standing(connection, watched, sites[watched.site_id]) for watched in store.every(connection, bundle=bundle)
    ]
    return sorted(found, key=lambda item: (item.site, item.bundle))


def in_words(standing: Standing) -> str:
    """Return one line about a site under a release."""
    told = [f"under {standing.bundle[:12]}: {standing.made} healthy calls"]
    if standing.evidence is not None:
        told.append(f"{standing.read} of {standing.drawn} audits read, {standing.errors} errors")
        told.append(f"evidence against the promise {standing.evidence:.2g} (alarm at {standing.alarm_evidence:g})")
        told.append(f"wrong on average at most {standing.false_omission_rate_upper:.2g}")
    if standing.drift_p_value is not None:
        told.append(f"inputs: batch {standing.batches}, p = {standing.drift_p_value:.2g}")
    else:
        told.append(f"inputs: {standing.reference} of {REFERENCE} studies of the reference")
    return "; ".join(told)


def show(standing: Standing) -> None:
    """Set a site's gauges."""
    for name in ("made", "drawn", "read", "errors"):
        metrics.WATCHED_CALLS.labels(standing.site, name).set(getattr(standing, name))
    for gauge, value in (
        (metrics.EVIDENCE, standing.evidence),
        (metrics.FALSE_OMISSION_RATE_UPPER, standing.false_omission_rate_upper),
        (metrics.DRIFT_P_VALUE, standing.drift_p_value),
    ):
        if value is not None:
            gauge.labels(standing.site).set(value)


def _standing(connection: Connection, watched: Watched, site: Site) -> Standing:
    """Return what is known of a site under a release, with the calls that were not counted yet."""
    counts = store.counts(connection, watched)
    audited = watched.audited
    waiting = [made.call(made.error) for made in store.calls_of(connection, watched, is_counted=False)]
    ahead = None if audited is None else look_ahead(audited, waiting)
    return Standing(
        site=site.name,
        bundle=watched.bundle,
        mode=site.under(watched.bundle).mode,
        made=counts.made,
        drawn=counts.drawn,
        read=counts.read,
        errors=counts.errors,
        counted=0 if audited is None else audited.monitor.calls,
        evidence=None if ahead is None else evidence_against(ahead),
        alarm_evidence=None if audited is None else 1.0 / audited.monitor.watch.delta,
        false_omission_rate_upper=None if audited is None else average_upper_bound(audited.monitor),
        reference=len(watched.inputs.reference),
        batches=watched.inputs.batches,
        drift_p_value=watched.inputs.p_value,
        is_recalling=watched.recall_from is not None,
    )


def _act(connection: Connection, cause: Cause, *, recall: timedelta, now: datetime) -> None:
    if cause.why is None:
        withdraw_alarm(connection, cause.site_id, bundle=cause.bundle, now=now)
        return
    fell = fall(connection, cause.site_id, bundle=cause.bundle, why=cause.why, now=now)
    # A drift is found when its batch is whole: by then the site may have been lowered for another reason.
    if cause.why is Why.DRIFT or (fell and cause.why is Why.ALARM):
        since = max(now - recall, cause.since or now - recall)
        store.begin_recall(connection, cause.site_id, cause.bundle, since)


def _recall(connection: Connection, site: Site, study_id: str, *, now: datetime) -> None:
    store.unclear(connection, study_id)
    place = Place(
        priority=Priority.MEDIUM,
        read_by=now + timedelta(seconds=_RECALL_SERVICE_LEVELS * site.service_level_s),
        reasons=(str(Reason.RECALLED),),
    )
    ensure_open(connection, study_id=study_id, site_id=site.id, place=place, now=now, reason=str(Reason.RECALLED))
