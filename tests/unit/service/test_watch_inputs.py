"""What a site sends is tested batch by batch against what it sent at first."""

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from service.watch.inputs import BATCH, REFERENCE, Drift, Inputs, inputs_from_json, take

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def feed(inputs: Inputs, values: list[tuple[float, float]]) -> tuple[Inputs, list[Drift]]:
    found: list[Drift] = []
    for minute, (score, strangeness) in enumerate(values):
        inputs, drift = take(inputs, score, strangeness, at=NOW + timedelta(minutes=minute))
        found += [] if drift is None else [drift]
    return inputs, found


def ordinary(rng: np.random.Generator, count: int) -> list[tuple[float, float]]:
    return [(float(score), float(strangeness)) for score, strangeness in rng.normal(size=(count, 2))]


@pytest.fixture
def learnt() -> Inputs:
    return feed(Inputs(), ordinary(np.random.default_rng(1), REFERENCE))[0]


def test_nothing_is_tested_before_the_reference_and_a_batch_are_whole(learnt: Inputs) -> None:
    inputs, found = feed(learnt, [(99.0, 99.0)] * (BATCH - 1))
    assert (len(learnt.reference), inputs.batches, inputs.p_value, found) == (REFERENCE, 0, None, [])


@pytest.mark.parametrize("strange", [(9.0, 0.0), (-9.0, 0.0), (0.0, 9.0), (math.inf, 0.0), (0.0, math.nan)])
def test_a_batch_that_is_unlike_the_reference_on_either_side_is_told_with_its_beginning(
    learnt: Inputs, strange: tuple[float, float]
) -> None:
    inputs, found = feed(learnt, [*ordinary(np.random.default_rng(2), BATCH // 2), *[strange] * (BATCH // 2)])
    assert [drift.since for drift in found] == [NOW]
    assert inputs.p_value is not None
    assert inputs.p_value < 1e-6
    assert (inputs.batches, inputs.fresh, inputs.fresh_since) == (1, (), None)


def test_sites_that_do_not_change_are_seldom_taken_for_drifted() -> None:
    drifted = 0
    for seed in range(40):
        values = ordinary(np.random.default_rng(seed), REFERENCE + 5 * BATCH)
        drifted += bool(feed(Inputs(), values)[1])
    assert drifted <= 6  # 40 sites at 5 % each: more in three cases of a thousand


def test_inputs_are_kept_as_they_are(learnt: Inputs) -> None:
    inputs, _ = feed(learnt, [(math.inf, 0.1), (-1.5, 1e-300)])
    assert inputs_from_json(inputs.to_json()) == inputs
