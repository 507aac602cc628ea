"""The part of a process that keeps house: retention, files to be deleted, and what never finished coming in."""

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import datetime

from sqlalchemy.exc import DBAPIError

from models.errors import DemurError
from service.database import Database
from service.records.workflow import retain
from service.storage.erasing import mark_orphans, sweep
from service.storage.workflow import Storage

logger = logging.getLogger(__name__)

_POLL_S = 30.0
_HOUR_S, _DAY_S = 3600.0, 86400.0


class Keeper:
    """Keeps house from time to time; several processes on one database may."""

    def __init__(
        self, database: Database, storage: Storage, clock: Callable[[], datetime], *, retention_days: int | None
    ) -> None:
        self._database, self._storage, self._clock = database, storage, clock
        self._retention_days = retention_days

    def tick(self) -> int:
        """Erase what has outlived its time and delete what was erased; return how many files."""
        now = self._clock()
        if self._retention_days is not None:
            count = retain(self._database, days=self._retention_days, now=now)
            if count:
                logger.info("studies outlived", extra={"action": "studies_outlived", "studies": count})
        return sweep(self._database, self._storage, now=now)

    def clean(self) -> int:
        """Delete what is a day old and never finished coming in, and let orphaned files be deleted; return how many."""
        now = self._clock()
        older_than = now.timestamp() - _DAY_S
        unfinished = self._storage.sweep(older_than)
        return unfinished + mark_orphans(self._database, self._storage, older_than=older_than, now=now)

    async def run(self) -> None:
        """Tick until cancelled, and clean after an hour and then every day; what is away is waited for."""
        clean_at = time.monotonic() + _HOUR_S
        while True:
            await asyncio.sleep(_POLL_S)
            await self._try(self.tick)
            if time.monotonic() >= clean_at:
                clean_at = time.monotonic() + _DAY_S
                await self._try(self.clean)

    async def _try(self, work: Callable[[], int]) -> None:
        try:
            await asyncio.to_thread(work)
        except (DBAPIError, DemurError, OSError) as fault:
            logger.warning("house not kept", extra={"action": "house_not_kept", "fault": type(fault).__name__})
        except Exception as fault:  # noqa: BLE001 - the process's edge: the loop must go on
            logger.error("house not kept", extra={"action": "house_not_kept", "fault": type(fault).__name__})  # noqa: TRY400
