"""Who is let in: as many as there is room for, and no site at the cost of the others."""

from contextlib import ExitStack

import pytest

from service.errors import OverloadedError, RateError
from service.ingest.gate import Gate


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def gate(at_once: int = 8, *, per_minute: int = 1000, bytes_per_minute: int = 1000, clock: Clock | None = None) -> Gate:
    return Gate(at_once=at_once, per_minute=per_minute, bytes_per_minute=bytes_per_minute, clock=clock or Clock())


def fill(made: Gate, stack: ExitStack, site: str) -> int:
    """Take all the places that a site can get, and return how many these are."""
    for count in range(1000):
        try:
            stack.enter_context(made.pass_through(site))
        except (OverloadedError, RateError):
            return count
    raise AssertionError


@pytest.mark.parametrize(("places", "got"), [(1, [1, 0]), (2, [1, 1, 0]), (8, [4, 2, 1, 1, 0]), (64, [32, 16, 8, 4])])
def test_the_next_site_finds_room_until_there_is_none_at_all(places: int, got: list[int]) -> None:
    made = gate(places)
    with ExitStack() as stack:
        assert [fill(made, stack, f"site {number}") for number in range(len(got))] == got


def test_sites_that_compete_get_the_same() -> None:
    made, held = gate(9), {"north": 0, "south": 0}
    with ExitStack() as stack:
        for _ in range(20):
            for site in held:
                try:
                    stack.enter_context(made.pass_through(site))
                    held[site] += 1
                except RateError:
                    pass
    assert held == {"north": 3, "south": 3}


def test_who_has_its_share_and_who_finds_no_place_are_told_apart() -> None:
    made = gate(2)
    with made.pass_through("north"):
        with pytest.raises(RateError, match="this site"), made.pass_through("north"):
            pass
        with made.pass_through("south"), pytest.raises(OverloadedError), made.pass_through("west"):
            pass


def test_a_place_is_free_again_whatever_became_of_the_request() -> None:
    made = gate(1)
    with pytest.raises(ZeroDivisionError), made.pass_through("north"):
        raise ZeroDivisionError
    with made.pass_through("north"):
        pass


def test_a_site_may_send_so_many_requests_a_minute() -> None:
    clock = Clock()
    made = gate(per_minute=2, clock=clock)
    for clock.now in (0.0, 30.0):
        with made.pass_through("north"):
            pass
    clock.now = 59.0
    with pytest.raises(RateError, match="in a minute"), made.pass_through("north"):
        pass
    with made.pass_through("south"):
        pass
    clock.now = 60.5
    with made.pass_through("north"):
        pass


def test_a_site_may_send_so_many_bytes_a_minute_and_one_request_may_exceed_them() -> None:
    clock = Clock()
    made = gate(bytes_per_minute=100, clock=clock)
    with made.pass_through("north") as passage:
        passage.bytes += 99
    with made.pass_through("north") as passage:
        passage.bytes += 5000
    with pytest.raises(RateError, match="in a minute"), made.pass_through("north"):
        pass
    with made.pass_through("south"):
        pass
    clock.now = 61.0
    with made.pass_through("north"):
        pass
