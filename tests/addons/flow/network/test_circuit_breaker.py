"""Circuits of upstreams: closed, open after failures in a row, half open for one call."""

from __future__ import annotations

from addons.flow.network.circuit_breaker import PROBE_SECONDS, BreakerRule, CircuitBreaker

RULE = BreakerRule(failures=3, seconds=30)
API = "api.openai.com"


class World:
    """A breaker and its clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.breaker = CircuitBreaker(lambda: self.now)

    def wait(self, call: str = "c", upstream: str = API) -> float | None:
        return self.breaker.seconds_to_wait(upstream, RULE, call)

    def fail(self, times: int = 1, call: str = "c") -> None:
        for _ in range(times):
            self.breaker.note_failure(API, RULE, call)


def test_it_opens_after_so_many_failures_in_a_row() -> None:
    world = World()
    world.fail(2)
    assert world.wait() is None
    world.breaker.note_answer(API, "c")
    world.fail(2)
    assert world.wait() is None, "the row was broken"
    world.fail()
    assert world.wait() == 30
    assert world.wait(upstream="other") is None
    assert world.breaker.figures()["circuits"] == {API: {"state": "open", "seconds": 0}}


def test_failures_long_ago_do_not_count() -> None:
    world = World()
    world.fail(2)
    world.now += 31
    world.fail(2)
    assert world.wait() is None


def test_one_call_tries_it() -> None:
    world = World()
    world.fail(3)
    world.now += 12
    assert world.wait() == 18
    world.now += 18
    assert world.wait("probe") is None
    assert world.wait("other") == PROBE_SECONDS
    assert world.breaker.figures()["circuits"][API]["state"] == "half_open"
    world.breaker.note_answer(API, "an earlier one")
    assert world.wait("other") == PROBE_SECONDS
    world.breaker.note_answer(API, "probe")
    assert world.wait("other") is None
    assert world.breaker.figures() == {"circuits": {}, "circuits_open": 0, "circuit_openings": {API: 1}}


def test_a_failed_try_opens_it_again() -> None:
    world = World()
    world.fail(3)
    world.fail(3, "begun before")
    world.now += 30
    assert world.wait("probe") is None
    world.fail(call="probe")
    assert world.wait() == 30
    assert world.breaker.figures()["circuit_openings"] == {API: 2}


def test_a_try_that_says_nothing_makes_room_for_another() -> None:
    world = World()
    world.fail(3)
    world.now += 30
    assert world.wait("gone") is None
    world.breaker.forget_probe(API, "gone")
    assert world.wait("slow") is None
    world.now += PROBE_SECONDS
    assert world.wait("third") is None
