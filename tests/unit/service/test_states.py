"""The state table against PS3.4 Table CC.1.1-2, cell by cell."""

import pytest

from service.worklist.states import Lock, Outcome, State, change, request_cancel

S, P, C, X = State.SCHEDULED, State.IN_PROGRESS, State.COMPLETED, State.CANCELED

#: Written from the standard, not from the table under test: (requested, present): outcome with the right Transaction UID.
STANDARD = {
    (P, S): "0000", (P, P): "C302", (P, C): "C300", (P, X): "C300",
    (S, S): "C303", (S, P): "C303", (S, C): "C303", (S, X): "C303",
    (C, S): "C310", (C, P): "0000", (C, C): "B306", (C, X): "C300",
    (X, S): "C310", (X, P): "0000", (X, C): "C300", (X, X): "B304",
}  # fmt: skip


@pytest.mark.parametrize(("requested", "present"), STANDARD, ids=lambda state: state.name)
def test_the_right_lock_gets_what_the_standard_says(requested: State, present: State) -> None:
    answer = change(present, requested, Lock.RIGHT, is_complete=True)
    assert answer.outcome == STANDARD[requested, present]
    assert answer.state == (requested if answer.outcome is Outcome.DONE else present)


@pytest.mark.parametrize("lock", [Lock.WRONG, Lock.MISSING])
@pytest.mark.parametrize(("requested", "present"), STANDARD, ids=lambda state: state.name)
def test_without_the_right_lock_nothing_changes(requested: State, present: State, lock: Lock) -> None:
    answer = change(present, requested, lock, is_complete=True)
    assert answer.outcome == ("C303" if requested is S else "C301")
    assert answer.state == present


def test_nothing_is_completed_without_a_result() -> None:
    answer = change(P, C, Lock.RIGHT, is_complete=False)
    assert (answer.outcome, answer.state) == (Outcome.UNMET, P)


def test_a_case_is_given_back_without_a_result() -> None:
    assert change(P, X, Lock.RIGHT, is_complete=False).outcome is Outcome.DONE


@pytest.mark.parametrize(
    ("present", "outcome", "after"), [(S, "0000", X), (P, Outcome.PERFORMER_ASKED, P), (C, "C311", C), (X, "B304", X)]
)
def test_a_request_to_cancel_never_overrules_who_holds_the_case(present: State, outcome: str, after: State) -> None:
    answer = request_cancel(present)
    assert (answer.outcome, answer.state) == (outcome, after)
