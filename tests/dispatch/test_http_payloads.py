"""What Helicone, Lunary and OpenTelemetry are sent, field by field."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dispatch.delivery import GaveUp
from dispatch.errors import Misconfigured
from dispatch.sinks.otlp import OtlpSink
from tests.dispatch.backends import (
    KEY,
    Collector,
    Helicone,
    Lunary,
    attributes,
    milliseconds,
)
from tests.dispatch.conftest import usage_event
from tests.dispatch.http_sinks import AT, ids, send, sink_of, stored

pytestmark = pytest.mark.usefixtures("quick")


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


def test_otlp_span_is_in_the_trace_of_the_client(collector: Collector) -> None:
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    send(sink_of(collector), full_event(traceparent=parent), full_event(traceparent="nonsense"))
    first, second = collector.spans
    assert (first.trace_id.hex(), first.parent_span_id.hex()) == (parent[3:35], parent[36:52])
    assert second.parent_span_id == b""


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
