"""One event that a backend does not take stops no other; settings that are wrong put nothing aside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from dispatch.errors import Misconfigured
from dispatch.sinks import MANY, Rejected
from dispatch.sinks.http import Failed, Refused
from dispatch.sinks.isolate import FAILURES_ALIVE, FAILURES_AT_MOST, Item, Work, isolate

BAD = 5


def work(count: int = 8) -> Work:
    return Work([Item(number, number) for number in range(count)])  # type: ignore[arg-type]


class Backend:
    """Answers with `error` for a request that holds the bad item."""

    def __init__(self, error: Exception, *, probe: Exception | None = None) -> None:
        self.error, self.probe_error = error, probe
        self.taken: list[Any] = []
        self.probes = 0

    def post(self, items: Sequence[Item]) -> list[Rejected]:
        if any(item.content == BAD for item in items):
            raise self.error
        self.taken += [item.content for item in items]
        return []

    def probe(self) -> None:
        self.probes += 1
        if self.probe_error is not None:
            raise self.probe_error


def test_what_is_refused_is_found_and_the_others_are_sent() -> None:
    backend = Backend(Refused("400: no such field"))
    rejected = isolate(work(), backend.post, backend.probe)
    assert [(one.record, one.reason) for one in rejected] == [(BAD, "400: no such field")]
    assert sorted(backend.taken) == [0, 1, 2, 3, 4, 6, 7]
    assert backend.probes == 1, "whether the settings are right is asked once"


def test_a_backend_that_refuses_what_is_harmless_is_set_up_wrongly() -> None:
    backend = Backend(Refused("400: no such field"), probe=Refused("401: no such key"))
    with pytest.raises(Misconfigured, match="no such key"):
        isolate(work(), backend.post, backend.probe)
    assert backend.taken == []


@pytest.mark.parametrize(
    ("probe", "tries"),
    [(None, FAILURES_ALIVE), (Failed("503"), FAILURES_AT_MOST)],
    ids=["alive", "cannot-be-asked"],
)
def test_a_breakdown_is_tried_again_before_an_event_is_blamed(probe: Exception | None, tries: int) -> None:
    backend, waiting = Backend(Failed("500: oops"), probe=probe), work()
    again: Callable[[], list[Rejected]] = lambda: isolate(waiting, backend.post, backend.probe)  # noqa: E731
    for _ in range(tries - 1):
        with pytest.raises(Failed, match="500"):
            again()
    assert backend.taken == []
    rejected = again()
    assert [one.record for one in rejected] == [BAD]
    assert sorted(backend.taken) == [0, 1, 2, 3, 4, 6, 7]


def test_all_of_a_request_refused_alike_is_the_settings_fault() -> None:
    def post(items: Sequence[Item]) -> list[Rejected]:
        raise Refused("403: read only")

    with pytest.raises(Misconfigured, match="read only"):
        isolate(work(MANY), post, lambda: None)
    few = isolate(work(MANY - 1), post, lambda: None)
    assert len(few) == MANY - 1, "of a few it may be the events themselves"
