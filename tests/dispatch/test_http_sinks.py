"""Helicone, Lunary and OTLP against strict servers: what they are sent, and what becomes of failures."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from dispatch import delivery
from dispatch.delivery import Delivery, GaveUp, Totals
from dispatch.errors import Misconfigured, Unavailable
from dispatch.sinks import Sink, isolate
from dispatch.sinks.helicone import HeliconeSink
from dispatch.sinks.http import seconds_to_wait
from dispatch.sinks.lunary import LunarySink
from dispatch.sinks.otlp import OtlpSink
from store.spool import Record
from tests.dispatch.backends import (
    CUT,
    CUT_AFTER,
    KEY,
    Backend,
    Collector,
    Helicone,
    Lunary,
    attributes,
    milliseconds,
)
from tests.dispatch.conftest import usage_event

AT = datetime(2026, 2, 3, 4, 5, 6, 789000, tzinfo=UTC)
WRITER = {"type": "llm_proxy_writer", "event_id": "w", "last_seq": 3, "timestamp": "2026-02-03T04:05:06.789Z"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "BASE_SECONDS", 0.001)
    monkeypatch.setattr(delivery, "LONGEST_SECONDS", 0.005)


@pytest.fixture
def helicone() -> Iterator[Helicone]:
    backend = Helicone()
    with backend.running():
        yield backend


@pytest.fixture
def lunary() -> Iterator[Lunary]:
    backend = Lunary()
    with backend.running():
        yield backend


@pytest.fixture
def collector() -> Iterator[Collector]:
    backend = Collector()
    with backend.running():
        yield backend


def sink_of(backend: Backend, *, key: str = KEY, content: bool = False) -> Sink:
    if isinstance(backend, Helicone):
        endpoint = f"{backend.url}/custom/v1/log"
        return HeliconeSink(api_key=key, endpoint=endpoint, connections=3, include_content=content)
    if isinstance(backend, Lunary):
        endpoint = f"{backend.url}/v1/runs/ingest"
        return LunarySink(api_key=key, endpoint=endpoint, include_content=content)
    return OtlpSink(endpoint=backend.url, headers=f"x-key={key}", include_content=content)


def stored(backend: Backend) -> list[str]:
    """The ids of the events that the backend has, in its order."""
    if isinstance(backend, Helicone):
        return [log["providerRequest"]["meta"]["Helicone-Property-Event-Id"] for log in backend.logs]
    if isinstance(backend, Lunary):
        assert backend.orphans == []
        return [run_id for run_id, run in backend.runs.items() if run.keys() & {"end", "error"}]
    assert isinstance(backend, Collector)
    return [attributes(span)["llmproxy.event_id"] for span in backend.spans]


BACKENDS = ("helicone", "lunary", "collector")


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Backend:
    found: Backend = request.getfixturevalue(request.param)
    return found


def records(*events: dict[str, Any]) -> list[Record]:
    return [Record(b"", event, "s", number) for number, event in enumerate(events)]


def send(
    sink: Sink, *events: dict[str, Any], totals: Totals | None = None, patient: bool = True
) -> tuple[list[str], int]:
    """Deliver as the dispatcher does. The ids that were put aside, and how many records were skipped."""
    plan = sink.plan(records(*events))
    sender = Delivery(sink, totals or Totals(), patient=patient, stop=threading.Event())
    refused = sender.send(plan.parcels)
    assert refused is not None
    sink.close()
    return [letter.record.value["event_id"] for letter in [*plan.rejected, *refused]], plan.skipped


def ids(events: list[dict[str, Any]]) -> list[str]:
    return [event["event_id"] for event in events]


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


def full_event(**fields: Any) -> dict[str, Any]:
    asked, answered = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}
    return usage_event(
        7,
        AT,
        duration_ms=2500,
        time_to_first_token_ms=400,
        host="api.openai.com",
        endpoint="chat",
        stream=True,
        model="gpt-4o-mini-2024-07-18",
        model_requested="gpt-4o-mini",
        finish_reasons=["stop"],
        response_id="chatcmpl-1",
        service_tier="default",
        request_metadata={"team": "of the request"},
        error=None,
        usage={
            "input_tokens": 20,
            "output_tokens": 7,
            "total_tokens": 27,
            "input_tokens_details": {"cached_tokens": 8},
            "output_tokens_details": {"reasoning_tokens": 3},
            "source": "api",
        },
        request={"body": {"model": "gpt-4o-mini", "temperature": 1, "messages": [asked]}},
        response={"body": {"choices": [{"message": answered, "finish_reason": "stop"}]}},
        **fields,
    )


def test_helicone_payload(helicone: Helicone) -> None:
    event = full_event()
    send(sink_of(helicone, content=True), event)
    (log,) = helicone.logs
    request, response = log["providerRequest"], log["providerResponse"]
    assert request["url"] == "/v1/chat/completions"
    assert request["json"] == event["request"]["body"]
    meta = request["meta"]
    assert meta["Helicone-User-Id"] == "u"
    assert meta["Helicone-Property-team"] == "search"
    assert meta["Helicone-Property-Request-team"] == "of the request"
    assert (meta["model"], meta["project_id"], meta["provider"]) == (event["model"], "p", "openai")
    assert response["status"] == 200
    assert response["json"]["usage"] == {
        "prompt_tokens": 20,
        "completion_tokens": 7,
        "total_tokens": 27,
        "prompt_tokens_details": {"cached_tokens": 8},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }
    begin, end = log["timing"]["startTime"], log["timing"]["endTime"]
    assert begin == {"seconds": int(AT.timestamp()), "milliseconds": 789}
    assert (end["seconds"] - begin["seconds"]) * 1000 + end["milliseconds"] - 789 == 2500
    assert log["timing"]["timeToFirstToken"] == 400
    sent = {name.lower(): value for name, value in helicone.http_headers[0].items()}
    assert sent["helicone-property-team"] == "search"
    assert sent["helicone-request-id"] == meta["Helicone-Request-Id"]


def test_helicone_status_of_calls_that_did_not_end(helicone: Helicone) -> None:
    send(sink_of(helicone), full_event(outcome="client_aborted"), full_event(outcome="timeout", status=None))
    statuses = [log["providerResponse"]["status"] for log in helicone.logs]
    assert sorted(statuses) == [-3, 500]


def test_helicone_may_answer_200_with_an_error(helicone: Helicone) -> None:
    helicone.inner_errors = 2
    events = [usage_event(n) for n in range(4)]
    assert send(sink_of(helicone), *events) == ([], 0)
    assert sorted(stored(helicone)) == sorted(ids(events))


def test_helicone_body_that_is_too_long_loses_its_content_only(helicone: Helicone) -> None:
    event = full_event()
    event["response"] = {"body": {"text": "x" * (11 * 2**20)}}
    assert send(sink_of(helicone, content=True), event) == ([], 0)
    assert helicone.logs[0]["providerResponse"]["json"]["usage"]["total_tokens"] == 27


def test_lunary_events(lunary: Lunary) -> None:
    event = full_event()
    send(sink_of(lunary, content=True), event)
    run = lunary.runs[event["event_id"]]
    start, end = run["start"], run["end"]
    assert (start["timestamp"], start["name"], start["userId"]) == (event["timestamp"], event["model"], "u")
    assert milliseconds(end["timestamp"]) - milliseconds(start["timestamp"]) == 2500
    assert start["metadata"]["team"] == "search"
    assert start["metadata"]["request_metadata.team"] == "of the request"
    assert start["metadata"]["cost_usd"] == "0.001"
    assert not any(isinstance(value, dict | list) for value in start["metadata"].values())
    assert start["params"] == {"temperature": 1}
    assert start["input"] == [{"role": "user", "content": "Hi"}]
    assert end["output"] == {"role": "assistant", "content": "Ho"}
    assert end["tokensUsage"] == {"prompt": 20, "completion": 7, "promptCached": 8}


def test_lunary_errors_and_calls_that_cost_although_they_failed(lunary: Lunary) -> None:
    refused = full_event(outcome="http_error", status=429)
    refused |= {"usage": None, "error": {"code": "rate_limit", "type": "requests", "message": "SECRET"}}
    left = full_event(outcome="client_aborted")
    embedded = full_event()
    embedded["endpoint"] = "embeddings"
    send(sink_of(lunary), refused, left, embedded)
    error = lunary.runs[refused["event_id"]]["error"]
    assert error["error"] == {"message": "http_error 429: rate_limit: requests"}
    assert lunary.runs[left["event_id"]]["end"]["tokensUsage"]["completion"] == 7
    assert lunary.runs[left["event_id"]]["start"]["metadata"]["outcome"] == "client_aborted"
    assert lunary.runs[embedded["event_id"]]["start"]["type"] == "embed"


def test_lunary_run_that_can_not_be_stored(lunary: Lunary) -> None:
    events = [usage_event(n) for n in range(5)]
    lunary.fail_runs = {events[3]["event_id"]}
    assert send(sink_of(lunary), *events)[0] == [events[3]["event_id"]]
    assert len(stored(lunary)) == 4


def test_lunary_run_that_was_delivered_before_counts_as_taken(lunary: Lunary) -> None:
    events = [usage_event(n) for n in range(3)]
    for _ in range(2):
        assert send(sink_of(lunary), *events) == ([], 0)
    assert sorted(stored(lunary)) == sorted(ids(events))


def test_otlp_span(collector: Collector) -> None:
    event = full_event()
    send(sink_of(collector), event)
    (span,) = collector.spans
    assert span.trace_id.hex() == event["event_id"].replace("-", "")
    assert len(span.span_id) == 8
    assert (span.name, span.kind) == ("chat gpt-4o-mini", 3)
    assert span.start_time_unix_nano == milliseconds(event["timestamp"]) * 10**6
    assert span.end_time_unix_nano - span.start_time_unix_nano == 2500 * 10**6
    found = attributes(span)
    for name, value in {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.response.time_to_first_chunk": 0.4,
        "gen_ai.usage.input_tokens": 20,
        "gen_ai.usage.output_tokens": 7,
        "gen_ai.usage.cache_read.input_tokens": 8,
        "gen_ai.usage.reasoning.output_tokens": 3,
        "server.address": "api.openai.com",
        "server.port": 443,
        "openai.api.type": "chat_completions",
        "user.id": "u",
        "llmproxy.cost_usd": 0.001,
        "llmproxy.token_metadata.team": "search",
        "llmproxy.request_metadata.team": "of the request",
    }.items():
        assert found[name] == value, name
    assert "error.type" not in found
    assert span.status.code == 0
    assert attributes(collector.resources[0])["service.name"] == "llmproxy"
    assert collector.logs == []


def test_otlp_errors(collector: Collector) -> None:
    send(sink_of(collector), full_event(outcome="http_error", status=429), full_event(outcome="timeout"))
    assert [attributes(span)["error.type"] for span in collector.spans] == ["429", "timeout"]
    assert {span.status.code for span in collector.spans} == {2}


def test_otlp_metrics_have_the_times_of_the_calls(collector: Collector) -> None:
    events = [full_event(), full_event(), full_event(outcome="http_error", status=500)]
    events[2]["usage"] = None
    send(sink_of(collector), *events)
    tokens, seconds = collector.metrics
    assert (tokens.name, tokens.unit) == ("gen_ai.client.token.usage", "{token}")
    assert (seconds.name, seconds.unit) == ("gen_ai.client.operation.duration", "s")
    assert tokens.histogram.aggregation_temporality == 1
    points = {attributes(point)["gen_ai.token.type"]: point for point in tokens.histogram.data_points}
    assert (points["input"].count, points["input"].sum) == (2, 40)
    assert (points["output"].count, points["output"].sum, points["output"].max) == (2, 14, 7)
    bounds, counts = list(points["input"].explicit_bounds), list(points["input"].bucket_counts)
    assert counts[bounds.index(64.0)] == 2
    assert sum(counts) == 2
    assert points["input"].start_time_unix_nano == milliseconds(events[0]["timestamp"]) * 10**6
    assert points["input"].time_unix_nano - points["input"].start_time_unix_nano == 2500 * 10**6
    durations = {attributes(point).get("error.type"): point.count for point in seconds.histogram.data_points}
    assert durations == {None: 2, "500": 1}
    names = {
        name for metric in collector.metrics for p in metric.histogram.data_points for name in attributes(p)
    }
    assert not {name for name in names if name.startswith(("user", "llmproxy"))}, "few series"


def test_otlp_content_is_an_event_of_its_span(collector: Collector) -> None:
    send(sink_of(collector, content=True), full_event())
    (log,), (span,) = collector.logs, collector.spans
    assert log.event_name == "gen_ai.client.inference.operation.details"
    assert (log.trace_id, log.span_id) == (span.trace_id, span.span_id)
    found = attributes(log)
    assert json.loads(found["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": "Hi"}]}
    ]
    assert json.loads(found["gen_ai.output.messages"]) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "Ho"}], "finish_reason": "stop"}
    ]


def test_otlp_partial_success_is_not_sent_again(collector: Collector) -> None:
    collector.reject_spans = 2
    events = [usage_event(n) for n in range(2)]
    assert send(sink_of(collector), *events)[0] == ids(events)
    assert collector.requests == 2, "spans, then metrics"


def test_otlp_backend_for_traces_only(collector: Collector) -> None:
    collector.without_metrics = True
    event = usage_event(1)
    with pytest.raises(GaveUp, match="/v1/metrics answers 404"):
        send(sink_of(collector), event, patient=False)
    sink = OtlpSink(endpoint=collector.url, headers=f"x-key={KEY}", compression="none", without_metrics=True)
    assert send(sink, event) == ([], 0)


@pytest.mark.parametrize("headers", ["novalue", "=x"])
def test_otlp_headers_that_can_not_be_read(headers: str) -> None:
    with pytest.raises(Misconfigured, match="key=value"):
        OtlpSink(headers=headers)


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
