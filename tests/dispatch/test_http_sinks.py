"""Helicone, Lunary and OTLP against strict servers: what they are sent, and what becomes of failures."""

from __future__ import annotations

from typing import Any

import pytest

from dispatch.delivery import GaveUp, Totals
from dispatch.errors import Misconfigured, Unavailable
from dispatch.sinks import isolate
from dispatch.sinks.http import seconds_to_wait
from dispatch.sinks.otlp import OtlpSink
from tests.dispatch.backends import (
    CUT,
    CUT_AFTER,
    Backend,
    Collector,
    Helicone,
)
from tests.dispatch.conftest import usage_event
from tests.dispatch.http_sinks import WRITER, ids, send, sink_of, stored

pytestmark = pytest.mark.usefixtures("quick")


BACKENDS = ("helicone", "lunary", "collector")


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Backend:
    found: Backend = request.getfixturevalue(request.param)
    return found


def test_calls_are_sent_and_nothing_else(backend: Backend) -> None:
    events = [usage_event(n) for n in range(30)]
    assert send(sink_of(backend), *events, WRITER) == ([], 1)
    assert sorted(stored(backend)) == sorted(ids(events))
    assert backend.connections <= 3, "connections are kept"


FAULTS = [429, 500, 502, 503, (503, {"retry-after": "0"}), CUT]


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_faults_are_outlived(backend: Backend, fault: Any) -> None:
    events = [usage_event(n) for n in range(5)]
    backend.faults = [fault]
    totals = Totals()
    assert send(sink_of(backend), *events, totals=totals) == ([], 0)
    assert sorted(stored(backend)) == sorted(ids(events)), "none twice"
    assert totals.retries == 1


def test_an_answer_that_is_lost_causes_no_more_than_one_repetition(backend: Backend) -> None:
    event = usage_event(1)
    backend.faults = [CUT_AFTER]
    assert send(sink_of(backend), event) == ([], 0)
    found = stored(backend)
    assert set(found) == {event["event_id"]}
    if isinstance(backend, Collector):
        assert len({span.span_id for span in backend.spans}) == 1, "the same span twice"


@pytest.mark.parametrize("status", [400, 413, 422, 500])
def test_a_bad_event_is_put_aside_alone(backend: Backend, status: int) -> None:
    """Also one over which the server breaks down each time, while it takes others."""
    events = [usage_event(n) for n in range(9)]
    events[4]["model"] = events[4]["model_requested"] = "gpt-poison"
    backend.poison, backend.poison_status = "gpt-poison", status
    sink = sink_of(backend)
    assert send(sink, *events)[0] == [events[4]["event_id"]]
    assert set(stored(backend)) == set(ids(events)) - {events[4]["event_id"]}


def test_a_server_that_breaks_down_over_everything_is_waited_for(backend: Backend) -> None:
    """No event is to blame: none is put aside, however often it fails."""
    backend.faults = [500] * 12
    events = [usage_event(n) for n in range(2)]
    assert send(sink_of(backend), *events) == ([], 0)
    assert sorted(stored(backend)) == sorted(ids(events))


@pytest.mark.parametrize("status", [401, 403, 404, 302])
def test_what_only_a_person_can_mend(backend: Backend, status: int) -> None:
    backend.faults = [status] * 10
    with pytest.raises(GaveUp, match=f"answers {status}"):
        send(sink_of(backend), usage_event(1), patient=False)
    assert stored(backend) == []


def test_check_proves_the_key_and_writes_nothing(backend: Backend) -> None:
    sink = sink_of(backend)
    assert sink.check()
    sink.close()
    wrong = sink_of(backend, key="sk-wrong-key")
    with pytest.raises(Misconfigured, match="401") as caught:
        wrong.check()
    assert "sk-wrong-key" not in str(caught.value)
    assert stored(backend) == []
    with Backend().running() as url:
        gone = url
    with pytest.raises(Unavailable):
        OtlpSink(endpoint=gone).check()


def test_no_content_unless_asked(backend: Backend) -> None:
    bodies: list[bytes] = []
    judge = backend.judge

    def note(path: str, headers: Any, body: bytes) -> tuple[int, bytes]:
        bodies.append(body + str(headers).encode())
        return judge(path, headers, body)

    backend.judge = note  # type: ignore[method-assign]
    request = {"body": {"messages": [{"role": "user", "content": "SECRET prompt"}]}}
    assert send(sink_of(backend), usage_event(1, request=request)) == ([], 0)
    assert bodies
    assert not any(b"SECRET" in body for body in bodies)
    bodies.clear()
    assert send(sink_of(backend, content=True), usage_event(2, request=request)) == ([], 0)
    assert any(b"SECRET prompt" in body for body in bodies)


def test_strange_events_are_sent_too(backend: Backend) -> None:
    """Nothing known, half a surrogate pair, numbers out of range, a name in another script."""
    strange = [
        usage_event(
            1, usage=None, cost=None, status=None, outcome="proxy_died", duration_ms=None, error=None
        ),
        usage_event(2, model="\ud800", token_metadata={"team name": "Ünïcode ж", "x": "line\nbreak"}),
        usage_event(3, usage={"input_tokens": 2**70}, user={"id": "Жанна"}),
        usage_event(4, event_id="not-a-uuid", finish_reasons=["stop", None]),
    ]
    assert send(sink_of(backend), *strange) == ([], 0)
    assert sorted(stored(backend)) == sorted(ids(strange))


def test_an_endpoint_that_is_no_url() -> None:
    with pytest.raises(Misconfigured, match="'collector:4318/v1/traces' is no http"):
        OtlpSink(endpoint="collector:4318")


def test_a_server_that_can_not_be_asked_stops_the_others_for_minutes_only(helicone: Helicone) -> None:
    """Newer servers answer 500 to anything that is malformed, so a probe tells nothing."""
    judge = helicone.judge

    def newer(path: str, headers: Any, body: bytes) -> tuple[int, bytes]:
        status, answer = judge(path, headers, body)
        return (500, b"") if status == 400 else (status, answer)

    helicone.judge = newer  # type: ignore[method-assign]
    helicone.poison, helicone.poison_status = "gpt-poison", 500
    alone = usage_event(1, model="gpt-poison", model_requested="gpt-poison")
    totals = Totals()
    assert send(sink_of(helicone), alone, totals=totals)[0] == [alone["event_id"]]
    assert totals.retries == isolate.FAILURES_AT_MOST - 1
    assert sink_of(helicone).check().endswith("it does not say")


def test_retry_after() -> None:
    assert seconds_to_wait("2.5") == 2.5
    assert seconds_to_wait("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert seconds_to_wait("soon") is None
    assert seconds_to_wait(None) is None
