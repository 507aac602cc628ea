"""Processes that ``torchrun`` started for one run: each trains its share of the members, the first reads films and reports.

Members are independent, so the processes share nothing but a place to wait for each other; a member's weights are the same
whichever process trained it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed

# A member may take days; a process that died is noticed by torchrun, which ends the others.
_PATIENCE = timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rank:
    """Which of how many processes this one is."""

    number: int
    count: int

    @property
    def is_first(self) -> bool:
        """Say whether this process reads films and reports."""
        return self.number == 0

    def share(self, members: range) -> range:
        """Return the members that this process trains."""
        return members[self.number :: self.count]

    def wait(self) -> None:
        """Wait until every process has come here."""
        distributed.barrier()


@contextmanager
def started_rank() -> Iterator[Rank | None]:
    """Give the rank that ``torchrun`` assigned to this process, with a graphics card of its own; None without torchrun."""
    if not distributed.is_torchelastic_launched():
        yield None
        return
    distributed.init_process_group("gloo", timeout=_PATIENCE)
    rank = Rank(number=distributed.get_rank(), count=distributed.get_world_size())
    if torch.cuda.is_available():
        torch.cuda.set_device(rank.number % torch.cuda.device_count())
    try:
        yield rank
    finally:
        distributed.destroy_process_group()
