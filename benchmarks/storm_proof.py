"""What is left after the storm, looked at from outside: the database's rows and the stored files, beside the book."""

import hashlib
import json
from collections import defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import text

from benchmarks.storm_clients import Book
from calibration.policy import Ruling, decide
from deploy.bundle import Bundle
from deploy.runtime import Engine, Image
from models.vocabulary import Decision, Mode
from service.database import Database

#: A study that no case holds and that was not cleared; at no moment may there be one.
NOWHERE = """
SELECT count(*) FROM studies WHERE NOT (state = 'decided' AND placement = 'cleared') AND NOT EXISTS
(SELECT 1 FROM workitems WHERE workitems.study_id = studies.id AND workitems.state <> 'CANCELED')
"""
#: Cases that hold one study at a time; never more than one.
DOUBLED = """
SELECT count(*) FROM (SELECT study_id FROM workitems WHERE state IN ('SCHEDULED', 'IN PROGRESS')
GROUP BY study_id HAVING count(*) > 1) AS doubled
"""
#: Files that came after the last reader had claimed the case, of a study that is on no worklist and was not cleared.
UNSEEN = """
SELECT count(DISTINCT studies.id) FROM studies JOIN instances ON instances.study_id = studies.id
WHERE NOT (studies.state = 'decided' AND studies.placement = 'cleared')
AND NOT EXISTS (SELECT 1 FROM workitems WHERE workitems.study_id = studies.id AND (state IN ('SCHEDULED', 'IN PROGRESS')
    OR (state = 'COMPLETED' AND claimed_at >= instances.received_at)))
"""
#: Patients who were cleared by more studies than a certificate of one study a patient covers.
TWICE = """
SELECT count(*) FROM (SELECT patient_id FROM studies WHERE state = 'decided' AND placement = 'cleared'
GROUP BY site_id, patient_id HAVING count(*) > 1) AS twice
"""
CLEARED = "studies cleared, each by an engine of our own too"
#: A decision that was not left to itself.
_DISTURBED = {"attempt_lost", "reopened", "conflicting_instances", "fault", "decoder_killed"}


def undecided(database: Database) -> int:
    """Return how many studies have no decision yet."""
    with database.reading() as connection:
        return connection.execute(text("SELECT count(*) FROM studies WHERE state <> 'decided'")).scalar() or 0


def snapshot_faults(database: Database) -> list[str]:
    """Return what must never be seen, not even in the midst of the storm."""
    with database.reading() as connection:
        nowhere = connection.execute(text(NOWHERE)).scalar()
        doubled = connection.execute(text(DOUBLED)).scalar()
    faults = [f"{nowhere} studies are neither cleared nor on the worklist"] if nowhere else []
    return [*faults, *([f"{doubled} studies have two open cases"] if doubled else [])]


def final_faults(database: Database, storage: Path, book: Book, bundle: Bundle, counts: dict[str, int]) -> list[str]:
    """Return all that is wrong at the end; ``counts`` gets what was looked at."""
    faults = snapshot_faults(database)
    with database.reading() as connection:
        rows = connection.execute(
            text(
                "SELECT instances.*, studies.id AS study, studies.conflicts, sites.name AS site FROM instances "
                "JOIN studies ON studies.id = instances.study_id JOIN sites ON sites.id = instances.site_id"
            )
        )
        instances = [row._asdict() for row in rows]
        studies = {row.id: row._asdict() for row in connection.execute(text("SELECT * FROM studies"))}
        items = [row._asdict() for row in connection.execute(text("SELECT * FROM workitems"))]
        ledger = [row._asdict() for row in connection.execute(text("SELECT * FROM ledger ORDER BY sequence"))]
        unseen = connection.execute(text(UNSEEN)).scalar()
        twice = connection.execute(text(TWICE)).scalar()
    if unseen:
        faults.append(f"{unseen} studies have a film that came after their case was claimed and that nobody will read")
    if twice:
        faults.append(f"{twice} patients were cleared by more studies than the certificate covers")
    faults += _storage_faults(instances, storage, book, counts)
    faults += _ledger_faults(instances, items, ledger, book)
    faults += _reading_faults(items, book)
    faults += _decision_faults(instances, studies, items, ledger, book, bundle, counts)
    return faults


def _storage_faults(rows: list[dict[str, Any]], storage: Path, book: Book, counts: dict[str, int]) -> list[str]:
    faults = []
    by_name = {(row["site"], row["sop_instance_uid"]): row for row in rows}
    for key, digest in book.stored.items():
        row = by_name.get(key)
        if row is None:
            faults.append("an acknowledged instance is not in the database")
        elif row["sent_digest"] != digest:
            faults.append("an acknowledged instance is in the database with other bytes")
        elif _bytes_at(storage, row["digest"]) != book.sent[digest]:
            faults.append("an acknowledged instance is not stored byte for byte")
    faults += [
        "a row of the database names a file that is not there"
        for row in rows
        if hashlib.sha256(_bytes_at(storage, row["digest"]) or b"").hexdigest() != row["digest"]
    ]
    counts["instances acknowledged, each compared byte for byte"] = len(book.stored)
    counts["instances stored"] = len(rows)
    return faults


def _ledger_faults(
    instances: list[dict[str, Any]], items: list[dict[str, Any]], ledger: list[dict[str, Any]], book: Book
) -> list[str]:
    faults = []
    stored = [json.loads(entry["body"])["sent_digest"] for entry in ledger if entry["kind"] == "instance_stored"]
    if sorted(stored) != sorted(row["sent_digest"] for row in instances):
        faults.append("the ledger's stored instances are not those of the database")
    refused = {json.loads(entry["body"])["refused_sent"] for entry in ledger if entry["kind"] == "instance_conflicted"}
    rows = {(row["site"], row["sop_instance_uid"]): row for row in instances}
    for site, instance, digest in book.refused:
        if digest not in refused or not rows[site, instance]["conflicts"]:
            faults.append("a refused conflict is not on the ledger, or not on its study")
    uids = {item["id"]: item["uid"] for item in items}
    given = {uids[json.loads(entry["body"])["workitem"]] for entry in ledger if entry["kind"] == "verdict_given"}
    if lost := set(book.results) - given:
        faults.append(f"{len(lost)} results that readers gave are not on the ledger")
    return faults


def _reading_faults(items: list[dict[str, Any]], book: Book) -> list[str]:
    by_uid = {item["uid"]: item for item in items}
    wrong = [uid for uid, finding in book.finals.items() if _state_of(by_uid[uid]) != ("COMPLETED", finding)]
    return [f"{len(wrong)} cases that a reader completed are not completed with that result"] if wrong else []


def _state_of(item: dict[str, Any]) -> tuple[str, str]:
    return item["state"], item["verdict"]


def _decision_faults(
    instances: list[dict[str, Any]],
    studies: dict[str, dict[str, Any]],
    items: list[dict[str, Any]],
    ledger: list[dict[str, Any]],
    book: Book,
    bundle: Bundle,
    counts: dict[str, int],
) -> list[str]:
    """Compare every decision with what an engine of our own says of the bytes that we sent."""
    faults: list[str] = []
    tally = dict.fromkeys(("decisions disturbed, thus IDK", CLEARED), 0)
    images: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in instances:
        images[row["study"]].append(row)
    decided, reopened = _standing(ledger, faults)
    read = {item["study_id"] for item in items if item["state"] != "CANCELED"}
    with Engine(bundle.candidate) as engine:
        for study_id, study in studies.items():
            body = decided.get(study_id)
            if body is None or reopened.get(study_id, 0) > body["sequence"] or study["state"] != "decided":
                faults.append("a study has no decision that stands")
                continue
            rows = sorted(images[study_id], key=lambda row: (row["received_at"], row["id"]))
            if {image["digest"] for image in body["images"]} != {row["digest"] for row in rows}:
                faults.append("a decision was made of other images than the study has")
            found = engine.assess([Image(data=book.sent[row["sent_digest"]]) for row in rows])
            ruling = decide(
                score=found.score,
                gates=found.gates,
                certificate=bundle.certificate,
                site=rows[0]["site"],
                studies_before=body["studies_before"],
                mode=Mode(body["mode"]),
                now=datetime.fromisoformat(body["decided_at"]),
            )
            faults += _difference(body, study, ruling)
            is_cleared = study["placement"] == "cleared" and study_id not in read
            if is_cleared and (ruling.placement != "cleared" or study["conflicts"] or study["is_reopened"]):
                faults.append("a study left the worklist that ought to be on it")
            tally["decisions disturbed, thus IDK"] += bool(_DISTURBED & set(body["reasons"]))
            tally[CLEARED] += is_cleared
    counts |= tally
    counts["studies"] = len(studies)
    return faults


def _difference(body: dict[str, Any], study: dict[str, Any], ruling: Ruling) -> list[str]:
    """Return where a decision on the ledger is not what it ought to be."""
    faults = []
    if body["decision"] != study["decision"]:
        faults.append("the ledger and the study differ in the decision")
    if body["decision"] == Decision.HEALTHY and ruling.decision != Decision.HEALTHY:
        faults.append("a study was decided healthy that the engine does not call healthy")
    if not _DISTURBED & set(body["reasons"]) and body["decision"] != ruling.decision:
        faults.append(
            f"a study was decided {body['decision']} for {body['reasons']}, the engine says {ruling.decision}"
        )
    return faults


def _standing(ledger: list[dict[str, Any]], faults: list[str]) -> tuple[dict[str, dict[str, Any]], dict[str, int]]:
    """Return each study's last decision, and where it was last withdrawn."""
    decided: dict[str, dict[str, Any]] = {}
    revisions: set[tuple[str, int]] = set()
    reopened: dict[str, int] = {}
    for entry in ledger:
        body = json.loads(entry["body"])
        if entry["kind"] == "study_reopened":
            reopened[entry["study_id"]] = entry["sequence"]
        if entry["kind"] != "study_decided":
            continue
        if (entry["study_id"], body["revision"]) in revisions:
            faults.append("a study was decided twice for the same revision")
        revisions.add((entry["study_id"], body["revision"]))
        decided[entry["study_id"]] = body | {"sequence": entry["sequence"]}
    return decided, reopened


def _bytes_at(storage: Path, digest: str) -> bytes | None:
    try:
        return (storage / digest[:2] / digest[2:]).read_bytes()
    except FileNotFoundError:
        return None
