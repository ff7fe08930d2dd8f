"""Order, lanes and patience, without a backend."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pytest

from dispatch import delivery
from dispatch.delivery import Delivery, GaveUp, Totals, pause
from dispatch.errors import DeliveryError, Misconfigured, Unavailable
from dispatch.sinks import Parcel, Plan, Rejected
from store.spool import Record

RECORD = Record(b"", {}, "segment", 0)


class Backend:
    """Notes what it is sent; `answer` decides."""

    name = "test"

    def __init__(self, answer: Callable[[Parcel], list[Rejected]] = lambda _: []) -> None:
        self.answer = answer
        self.taken: list[str] = []

    def plan(self, records: object) -> Plan:
        raise NotImplementedError

    def send(self, parcel: Parcel) -> list[Rejected]:
        rejected = self.answer(parcel)
        self.taken.append(parcel.content)
        return rejected

    def close(self) -> None: ...


def parcel(content: str, lane: str = "") -> Parcel:
    return Parcel([RECORD], content, lane)


def test_a_lane_keeps_its_order_over_failures(quick: None) -> None:
    failures = {"2": 3, "4": 1}

    def answer(parcel: Parcel) -> list[Rejected]:
        if failures.get(parcel.content, 0):
            failures[parcel.content] -= 1
            raise Unavailable("later")
        return []

    backend, totals = Backend(answer), Totals()
    sender = Delivery(backend, totals, patient=True, stop=threading.Event())
    assert sender.send([parcel(str(n)) for n in range(6)]) == []
    assert backend.taken == list("012345")
    assert (totals.requests, totals.retries) == (10, 4)


def test_lanes_go_out_at_the_same_time() -> None:
    """Each of three lanes waits until the other two are there too."""
    together = threading.Barrier(3)

    def answer(parcel: Parcel) -> list[Rejected]:
        together.wait(30)
        return [Rejected(RECORD, parcel.content)]

    backend = Backend(answer)
    sender = Delivery(backend, Totals(), patient=True, stop=threading.Event())
    parcels = [parcel(f"{lane}{n}", lane) for n in range(2) for lane in "abc"]
    rejected = sender.send(parcels)
    assert rejected is not None
    assert [letter.reason for letter in rejected] == ["a0", "a1", "b0", "b1", "c0", "c1"]
    for lane in "abc":
        assert [taken for taken in backend.taken if taken[0] == lane] == [f"{lane}0", f"{lane}1"]


def test_a_lane_that_fails_lets_the_others_finish(quick: None) -> None:
    def answer(parcel: Parcel) -> list[Rejected]:
        if parcel.lane == "bad":
            raise Misconfigured("no right")
        return []

    backend = Backend(answer)
    sender = Delivery(backend, Totals(), patient=False, stop=threading.Event())
    with pytest.raises(GaveUp, match="no right"):
        sender.send([parcel("x", "bad"), parcel("1", "good"), parcel("2", "good")])
    assert backend.taken == ["1", "2"]


def test_a_stop_ends_the_waiting() -> None:
    stop = threading.Event()

    def answer(_: Parcel) -> list[Rejected]:
        stop.set()
        raise Misconfigured("never")

    assert Delivery(Backend(answer), Totals(), patient=True, stop=stop).send([parcel("1")]) is None


def test_the_impatient_give_up_and_the_patient_do_not(quick: None) -> None:
    left = [50]

    def answer(_: Parcel) -> list[Rejected]:
        left[0] -= 1
        if left[0]:
            raise Unavailable("down", retry_after=0)
        return []

    with pytest.raises(GaveUp, match="down"):
        Delivery(Backend(answer), Totals(), patient=False, stop=threading.Event()).send([parcel("1")])
    assert left == [50 - delivery.TRIES_ONCE]
    assert Delivery(Backend(answer), Totals(), patient=True, stop=threading.Event()).send([parcel("1")]) == []


def test_the_same_failure_is_told_once_a_minute(
    quick: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(delivery, "LONGEST_SECONDS", 0.001)
    left = [20]

    def answer(_: Parcel) -> list[Rejected]:
        left[0] -= 1
        if left[0]:
            raise Misconfigured("the right logs:PutLogEvents is missing")
        return []

    with caplog.at_level(logging.WARNING):
        Delivery(Backend(answer), Totals(), patient=True, stop=threading.Event()).send([parcel("1")])
    assert len(caplog.records) == 1
    monkeypatch.setattr(delivery, "REPEAT_SECONDS", 0.0)
    left = [3]
    with caplog.at_level(logging.WARNING):
        Delivery(Backend(answer), Totals(), patient=True, stop=threading.Event()).send([parcel("1")])
    assert len(caplog.records) == 3


def test_waiting_times() -> None:
    for tries in (1, 2, 5, 10, 1000):
        waits = [pause(tries, DeliveryError("x")) for _ in range(200)]
        limit = min(0.5 * 2 ** min(tries - 1, 16), 30)
        assert 0 <= min(waits) < limit / 4
        assert limit * 3 / 4 < max(waits) <= limit
    assert pause(1, Misconfigured("x")) == 30
    assert pause(1, Unavailable("x", retry_after=7)) == 7
    assert pause(1, Unavailable("x", retry_after=90)) == 90
    assert pause(1, Unavailable("x", retry_after=9000)) == 600
