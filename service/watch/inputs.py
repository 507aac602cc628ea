"""What a site sends under a release: is it still like what it sent at first?

The first studies that are decided under a release are the reference; then every batch of a fixed size is tested against them, its
scores and its strangeness. A study counts once: what is decided again since films came later is left out.
"""

import json
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from calibration.shift import drift_test
from service.ledger.workflow import canonical

#: Studies in the reference, and in each batch.
REFERENCE = 400
BATCH = 100
#: Share of the reference that is its tail on either side.
_TAIL = 0.05
#: Probability of ever taking a site for drifted that has not; its two tests share it.
_DELTA = 0.05

Values = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Score and strangeness of the studies of a site under a release; ``p_value`` is that of the last whole batch."""

    reference: Values = ()
    fresh: Values = ()
    fresh_since: datetime | None = None
    batches: int = 0
    p_value: float | None = None

    def to_json(self) -> str:
        """Return them as JSON."""
        return canonical({name: getattr(self, name) for name in self.__dataclass_fields__})


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """A batch that is unlike the reference, and when it began."""

    since: datetime
    p_value: float


def inputs_from_json(text: str) -> Inputs:
    """Return what ``to_json`` wrote."""
    fields = json.loads(text)
    since = fields["fresh_since"]
    return Inputs(
        reference=tuple((float(score), float(strangeness)) for score, strangeness in fields["reference"]),
        fresh=tuple((float(score), float(strangeness)) for score, strangeness in fields["fresh"]),
        fresh_since=None if since is None else datetime.fromisoformat(since),
        batches=fields["batches"],
        p_value=fields["p_value"],
    )


def take(inputs: Inputs, score: float, strangeness: float, *, at: datetime) -> tuple[Inputs, Drift | None]:
    """Return the inputs with one more study, and the drift of the batch that it completes, if there is any."""
    value = (score, strangeness)
    if len(inputs.reference) < REFERENCE:
        return replace(inputs, reference=(*inputs.reference, value)), None
    since = inputs.fresh_since or at
    inputs = replace(inputs, fresh=(*inputs.fresh, value), fresh_since=since)
    if len(inputs.fresh) < BATCH:
        return inputs, None
    number = inputs.batches + 1
    known, new = np.array(inputs.reference), np.array(inputs.fresh)
    tests = [drift_test(known[:, k], new[:, k], tail=_TAIL, delta=_DELTA / 2, batch=number) for k in (0, 1)]
    p_value = min(1.0, 2 * min(test.p_value for test in tests))
    after = replace(inputs, fresh=(), fresh_since=None, batches=number, p_value=p_value)
    return after, Drift(since=since, p_value=p_value) if any(test.drifted for test in tests) else None
