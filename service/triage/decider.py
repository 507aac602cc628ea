"""The part of a process that decides: studies that are due, attempts that were lost, claims that ran out."""

import asyncio
import contextlib
import contextvars
import logging
import os
import random
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import datetime, timedelta
from uuid import uuid4

from sqlalchemy.exc import DBAPIError

from service.database import Database
from service.settings import Settings
from service.sites.workflow import check_modes
from service.storage.workflow import Storage
from service.tracing import Tracing
from service.triage import store, workflow
from service.triage.judge import Judge
from service.triage.store import Attempt, Study
from service.watch import workflow as watch
from service.worklist import workflow as worklist

logger = logging.getLogger(__name__)

_POLL_S = 0.25


class Decider:
    """Decides studies in threads of its own; several processes on one database share the work.

    Threads outnumber the cores, so that a study that waits for a slow decoder holds up no other; the engine itself lets
    only as many into the network at once as there are cores.
    """

    def __init__(
        self,
        database: Database,
        storage: Storage,
        judge: Judge,
        settings: Settings,
        clock: Callable[[], datetime],
        tracing: Tracing,
    ) -> None:
        self.database = database
        self.storage = storage
        self.judge = judge
        self.worker_id = uuid4().hex
        self.clock = clock
        self.rng = random.SystemRandom()
        self._settings = settings
        self._tracing = tracing
        self._threads = ThreadPoolExecutor(4 * len(os.sched_getaffinity(0)), thread_name_prefix="decide")
        self._active: set[str] = set()
        self._futures: set[Future[Study | None]] = set()

    def decide(self, attempt: Attempt) -> "Future[Study | None]":
        """Pursue an attempt that has been committed."""
        self._active.add(attempt.id)
        # In the caller's context, so that its span is the parent.
        future = self._threads.submit(contextvars.copy_context().run, self._pursue, attempt)
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        return future

    def wait(self) -> None:
        """Wait until nothing is being decided."""
        wait(set(self._futures))

    def tick(self) -> None:
        """Do once what is to be done from time to time."""
        now = self.clock()
        silent_since = now - timedelta(seconds=self._settings.lost_after_s)
        with self.database.writing() as connection:
            store.beat(connection, self.worker_id, now)
            workflow.lose(
                connection,
                silent_since=silent_since,
                worker_id=self.worker_id,
                active=self._active,
                judge=self.judge,
                rng=self.rng,
                now=now,
            )
            worklist.sweep(connection, now=now)
        if self.judge.certificate is not None:
            with self.database.writing() as connection:
                check_modes(connection, certificate=self.judge.certificate, bundle=self.judge.bundle, now=now)
        grace, recall = timedelta(days=self._settings.audit_grace_days), timedelta(days=self._settings.recall_days)
        with self.database.writing() as connection:
            watch.sweep(connection, grace=grace, recall=recall, now=now)
        with self.database.writing() as connection:
            watch.put_back(connection, now=now)

    def take_due(self) -> int:
        """Begin to decide what is due, as far as there is room; return how many studies."""
        room = 4 * len(os.sched_getaffinity(0)) - len(self._active)
        now = self.clock()
        if room <= 0:
            return 0
        with self.database.reading() as connection:
            if not store.is_any_due(connection, now):
                return 0
        with self.database.writing() as connection:
            attempts = [
                workflow.begin(connection, study, worker_id=self.worker_id, now=now)
                for study in store.due(connection, now, room)
            ]
        for attempt in attempts:
            self.decide(attempt)
        return len(attempts)

    async def run(self) -> None:
        """Tick and take until cancelled; a database that is away is waited for."""
        beaten_at = 0.0
        loop = asyncio.get_running_loop()
        while True:
            try:
                if loop.time() - beaten_at >= self._settings.heartbeat_s:
                    await asyncio.to_thread(self.tick)
                    beaten_at = loop.time()
                await asyncio.to_thread(self.take_due)
            except DBAPIError as fault:
                logger.warning(
                    "database not reached", extra={"action": "database_not_reached", "fault": type(fault).__name__}
                )
                await asyncio.sleep(1)
            except Exception as fault:  # noqa: BLE001 - the process's edge: the loop must go on
                logger.error("sweep failed", extra={"action": "sweep_failed", "fault": type(fault).__name__})  # noqa: TRY400
                await asyncio.sleep(1)
            await asyncio.sleep(_POLL_S)

    def close(self) -> None:
        """Wait for what is under way and leave in good order."""
        self._threads.shutdown(wait=True)
        with contextlib.suppress(DBAPIError), self.database.writing() as connection:
            store.retire(connection, self.worker_id)

    def _pursue(self, attempt: Attempt) -> Study | None:
        try:
            with self._tracing.stage("decide", attempt.study_id):
                with self.database.reading() as connection:
                    images = store.images(connection, attempt.study_id)
                began_ns = time.time_ns()
                evidence = workflow.look(self.judge, self.storage, images)
                self._tracing.past(workflow.stages_of(evidence), attempt.study_id, since_ns=began_ns)
                now = self.clock()
                with self._tracing.stage("settle", attempt.study_id), self.database.writing() as connection:
                    return workflow.finish(connection, attempt, evidence, self.judge, rng=self.rng, now=now)
        except Exception as fault:  # the study stays on the worklist, and its attempt is found lost
            logger.error(  # noqa: TRY400
                "attempt failed",
                extra={"action": "attempt_failed", "study": attempt.study_id, "fault": type(fault).__name__},
            )
            raise
        finally:
            self._active.discard(attempt.id)
