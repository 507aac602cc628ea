"""The tables: one schema for SQLite and PostgreSQL. ``migrations`` makes them; a test holds the two together.

Everything is keyed by site. What identifies a patient stands in ``studies`` and ``instances`` only, so that erasing it
there leaves the ledger as it was.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from service.database import Moment

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_ID = String(32)
_UID = String(64)
_SHA256 = String(64)

sites = Table(
    "sites",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    #: How far it was raised, and under which release; under any other one it is in shadow.
    Column("mode", String(16), nullable=False),
    Column("bundle", _SHA256),
    Column("audit_probability", Float, nullable=False),
    Column("service_level_s", Float, nullable=False),
    Column("created_at", Moment, nullable=False),
)

#: When and why a site went back to shadow by itself, under which release.
site_falls = Table(
    "site_falls",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("site_id", _ID, ForeignKey("sites.id"), nullable=False),
    Column("bundle", _SHA256, nullable=False),
    Column("why", String(32), nullable=False),
    Column("at", Moment, nullable=False),
    #: Of an alarm: readers have taken back so many of the errors that it would not have been raised.
    Column("withdrawn_at", Moment),
)
Index("ix_site_falls_site", site_falls.c.site_id, site_falls.c.bundle, site_falls.c.at)

#: Long-lived secrets, by digest. A site's sender has its site; a token of no site belongs to a person or a monitor.
tokens = Table(
    "tokens",
    metadata,
    Column("digest", _SHA256, primary_key=True),
    Column("name", String(64), nullable=False),
    Column("role", String(16), nullable=False),
    Column("site_id", _ID, ForeignKey("sites.id")),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment),
)

#: Sign-ins on the page, by digest of the cookie.
sessions = Table(
    "sessions",
    metadata,
    Column("digest", _SHA256, primary_key=True),
    Column("name", String(64), nullable=False),
    Column("label", String(64), nullable=False),
    Column("roles", String(64), nullable=False),
    Column("expires_at", Moment, nullable=False),
)

#: Who saw which study, and when.
access_events = Table(
    "access_events",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("at", Moment, nullable=False),
    Column("who", String(64), nullable=False),
    Column("role", String(64), nullable=False),
    Column("action", String(32), nullable=False),
    Column("site_id", _ID, nullable=False),
    Column("study_id", _ID, nullable=False),
)
Index("ix_access_events_at", access_events.c.at, access_events.c.id)
Index("ix_access_events_study", access_events.c.study_id, access_events.c.at)

#: waiting: to be decided when due. deciding: an attempt is under way. decided: has a decision. erased: is no more.
studies = Table(
    "studies",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("site_id", _ID, ForeignKey("sites.id"), nullable=False),
    Column("study_instance_uid", _UID, nullable=False),
    Column("patient_id", Text, nullable=False),
    Column("patient_name", Text, nullable=False),
    Column("patient_birth_date", Text, nullable=False),
    Column("patient_sex", Text, nullable=False),
    #: As the first instance tells it: many tell an age and no date of birth.
    Column("age_years", Float),
    Column("accession_number", Text, nullable=False),
    Column("study_date", Text, nullable=False),
    Column("study_time", Text, nullable=False),
    Column("study_description", Text, nullable=False),
    Column("received_at", Moment, nullable=False),
    Column("changed_at", Moment, nullable=False),
    Column("state", String(16), nullable=False),
    Column("due_at", Moment, nullable=False),
    #: Counts what has changed the study's images; a decision holds for one revision.
    Column("revision", Integer, nullable=False),
    #: A decision was made before instances came or went, or the patient was corrected: read by a human, whatever it says.
    Column("is_reopened", Boolean, nullable=False),
    #: Other bytes came under the UID of an instance that was stored already.
    Column("conflicts", Integer, nullable=False),
    Column("decision", String(16)),
    Column("reasons", Text),
    Column("score", Float),
    Column("threshold", Float),
    Column("placement", String(32)),
    Column("mode", String(16)),
    Column("bundle", _SHA256),
    Column("decided_at", Moment),
    Column("elapsed_ms", Float),
    #: The patient's columns are not what the stored files say.
    Column("corrected_at", Moment),
    Column("erased_at", Moment),
    #: Of an erased study that counts among its patient's: a salted digest of the identifier.
    Column("former_patient", _SHA256),
    UniqueConstraint("site_id", "study_instance_uid"),
    CheckConstraint("state IN ('waiting', 'deciding', 'decided', 'erased')", name="state"),
)
Index(
    "ix_studies_due",
    studies.c.due_at,
    postgresql_where=studies.c.state == "waiting",
    sqlite_where=studies.c.state == "waiting",
)
Index("ix_studies_received", studies.c.site_id, studies.c.received_at)
Index("ix_studies_patient", studies.c.site_id, studies.c.patient_id)
Index("ix_studies_former", studies.c.site_id, studies.c.former_patient)

instances = Table(
    "instances",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("study_id", _ID, ForeignKey("studies.id"), nullable=False),
    Column("site_id", _ID, ForeignKey("sites.id"), nullable=False),
    Column("sop_instance_uid", _UID, nullable=False),
    Column("sop_class_uid", _UID, nullable=False),
    Column("series_instance_uid", _UID, nullable=False),
    Column("transfer_syntax_uid", _UID, nullable=False),
    Column("modality", Text, nullable=False),
    Column("body_part", Text, nullable=False),
    Column("view", Text, nullable=False),
    Column("series_number", Text, nullable=False),
    Column("instance_number", Text, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("columns", Integer, nullable=False),
    Column("frames", Integer, nullable=False),
    #: SHA-256 of what is stored (the preamble made harmless) and of what was sent.
    Column("digest", _SHA256, nullable=False, index=True),
    Column("sent_digest", _SHA256, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("received_at", Moment, nullable=False),
    UniqueConstraint("site_id", "sop_instance_uid"),
)
Index("ix_instances_study", instances.c.study_id, instances.c.received_at)

#: Salts of the digests that the ledger has of a corrected study's patients; without them these say nothing.
corrections = Table(
    "corrections",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("study_id", _ID, ForeignKey("studies.id"), nullable=False, index=True),
    Column("salt", String(64), nullable=False),
    Column("at", Moment, nullable=False),
)

#: Files that a site has erased, for ever: see ``storage.erasing``. A file that nothing refers to has an empty site.
erasures = Table(
    "erasures",
    metadata,
    Column("digest", _SHA256, primary_key=True),
    Column("site_id", _ID, primary_key=True),
    Column("at", Moment, nullable=False),
    Column("swept_at", Moment),
)
Index(
    "ix_erasures_unswept",
    erasures.c.at,
    postgresql_where=erasures.c.swept_at.is_(None),
    sqlite_where=erasures.c.swept_at.is_(None),
)

#: Processes that decide. An open attempt of one that has fallen silent is lost.
workers = Table(
    "workers",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("seen_at", Moment, nullable=False),
)

attempts = Table(
    "attempts",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("study_id", _ID, ForeignKey("studies.id"), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("worker_id", _ID, nullable=False),
    Column("begun_at", Moment, nullable=False),
    Column("ended_at", Moment),
    Column("outcome", String(16)),
)
Index(
    "uq_attempts_open",
    attempts.c.study_id,
    unique=True,
    postgresql_where=attempts.c.ended_at.is_(None),
    sqlite_where=attempts.c.ended_at.is_(None),
)

workitems = Table(
    "workitems",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("uid", _UID, nullable=False, unique=True),
    Column("study_id", _ID, ForeignKey("studies.id"), nullable=False),
    Column("site_id", _ID, ForeignKey("sites.id"), nullable=False),
    Column("state", String(16), nullable=False),
    Column("priority", String(8), nullable=False),
    #: What the worklist is ordered by: when the case ought to have been read.
    Column("read_by", Moment, nullable=False),
    #: Shown to readers; the studies' own reasons stand in ``studies``.
    Column("reasons", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("changed_at", Moment, nullable=False),
    Column("transaction_uid", _UID),
    Column("reader", String(64)),
    Column("claimed_at", Moment),
    Column("lease_until", Moment),
    Column("verdict", String(16)),
    Column("note", Text),
    Column("confidence", String(8)),
    Column("read_at", Moment),
    #: A result given on the page becomes final at this time unless it is undone.
    Column("final_at", Moment),
    Column("cancel_reason", Text),
    #: What the reader is told of the last request to cancel, in DICOM JSON.
    Column("cancel_request", Text),
    Column("replaces", _ID),
    CheckConstraint("state IN ('SCHEDULED', 'IN PROGRESS', 'COMPLETED', 'CANCELED')", name="state"),
)
_OPEN = text("state IN ('SCHEDULED', 'IN PROGRESS')")
Index("uq_workitems_open", workitems.c.study_id, unique=True, postgresql_where=_OPEN, sqlite_where=_OPEN)
_SCHEDULED = text("state = 'SCHEDULED'")
Index(
    "ix_workitems_scheduled", workitems.c.read_by, workitems.c.id, postgresql_where=_SCHEDULED, sqlite_where=_SCHEDULED
)
_CLAIMED = text("state = 'IN PROGRESS'")
Index("ix_workitems_claimed", workitems.c.lease_until, postgresql_where=_CLAIMED, sqlite_where=_CLAIMED)

#: Healthy calls that were acted on, each with its audit draw; made from the ledger, as are the two tables after it.
calls = Table(
    "calls",
    metadata,
    Column("study_id", _ID, primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("site_id", _ID, ForeignKey("sites.id"), nullable=False),
    Column("bundle", _SHA256, nullable=False),
    Column("decided_at", Moment, nullable=False),
    Column("probability", Float, nullable=False),
    Column("is_drawn", Boolean, nullable=False),
    #: What readers found of a drawn one; null: not read.
    Column("error", Boolean),
    Column("is_counted", Boolean, nullable=False),
)
Index("ix_calls_site", calls.c.site_id, calls.c.bundle, calls.c.decided_at)
_WAITING = text("NOT is_counted")
Index("ix_calls_waiting", calls.c.decided_at, postgresql_where=_WAITING, sqlite_where=_WAITING)

#: What watches a site under a release: the monitor of its healthy calls, the test of its inputs.
watches = Table(
    "watches",
    metadata,
    Column("site_id", _ID, ForeignKey("sites.id"), primary_key=True),
    Column("bundle", _SHA256, primary_key=True),
    Column("monitor", Text),
    #: The last call that the monitor has counted.
    Column("through_at", Moment),
    Column("through_key", String(64)),
    Column("inputs", Text, nullable=False),
    #: What was cleared since this time and not read is being put back on the worklist.
    Column("recall_from", Moment),
)

#: How far the ledger was followed.
watch_cursor = Table(
    "watch_cursor",
    metadata,
    Column("name", String(16), primary_key=True),
    Column("sequence", BigInteger, nullable=False),
)

#: Who is told of what happens on the worklist. A subscriber's name belongs to the principal who made it.
subscriptions = Table(
    "subscriptions",
    metadata,
    Column("owner", String(64), primary_key=True),
    Column("aet", String(16), primary_key=True),
    Column("target", _UID, primary_key=True),
    Column("id", _ID, nullable=False),
    Column("is_wanted", Boolean, nullable=False),
    Column("has_lock", Boolean, nullable=False),
    Column("filter", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("suspended_at", Moment),
)

#: Append-only: triggers refuse update and delete.
ledger = Table(
    "ledger",
    metadata,
    Column("sequence", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("at", Moment, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("site_id", _ID),
    Column("study_id", _ID),
    Column("body", Text, nullable=False),
    Column("previous", _SHA256, nullable=False),
    Column("digest", _SHA256, nullable=False, unique=True),
)
Index("ix_ledger_study", ledger.c.study_id, ledger.c.sequence)
