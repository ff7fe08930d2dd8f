"""Recordings of every form give the same exchanges; damaged ones give what came before, and the position."""

from __future__ import annotations

import base64
import contextlib
import gzip
import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy import flow as mitm_flow
from mitmproxy import http
from mitmproxy.io import FlowWriter
from mitmproxy.test import tflow

from addons.importing import Damaged, Recorded, Unreadable, detect, event_id, read, to_exchange
from tests.codings import CODINGS
from tests.events import fields_of
from tests.scenarios import SCENARIOS, Scenario

BASE = "https://api.openai.com"
STARTED = datetime(2026, 6, 1, 12, 0, 0, 250_000, UTC)


def as_line(scenario: Scenario) -> bytes:
    value = {
        "method": scenario.request.method,
        "url": scenario.url,
        "status": scenario.response.status,
        "request_headers": dict(scenario.request.headers),
        "response_headers": [list(pair) for pair in scenario.response.headers],
        "request_body": scenario.request.body.decode(),
        "response_body_b64": base64.b64encode(scenario.response.body).decode(),
        "started_at": STARTED.isoformat(),
        "duration": 1.5,
    }
    return json.dumps(value).encode() + b"\n"


def as_entry(scenario: Scenario, *, coded: bool = False) -> dict[str, Any]:
    content: dict[str, Any] = {"size": len(scenario.response.body), "mimeType": "application/json"}
    if coded:
        content |= {"encoding": "base64", "text": base64.b64encode(scenario.response.body).decode()}
    else:
        content["text"] = scenario.response.body.decode()
    return {
        "startedDateTime": STARTED.isoformat(),
        "time": 1500,
        "timings": {"send": 1, "wait": 250, "receive": 1249},
        "request": {
            "method": scenario.request.method,
            "url": scenario.url,
            "headers": [{"name": name, "value": value} for name, value in scenario.request.headers],
            "postData": {"mimeType": "application/json", "text": scenario.request.body.decode()},
        },
        "response": {
            "status": scenario.response.status,
            # As browsers write it: the coding is named, the text is plain.
            "headers": [
                {"name": name, "value": value}
                for name, value in [*scenario.response.headers, ("Content-Encoding", "br")]
            ],
            "content": content,
        },
    }


def as_har(entries: list[dict[str, Any]], **options: Any) -> bytes:
    return json.dumps({"log": {"version": "1.2", "creator": {}, "entries": entries}}, **options).encode()


def as_flow(scenario: Scenario, coding: str = "identity") -> http.HTTPFlow:
    header, encode = CODINGS[coding]
    flow = tflow.tflow()
    headers = [(name.encode(), value.encode()) for name, value in scenario.request.headers]
    flow.request = http.Request.make(
        scenario.request.method, scenario.url, scenario.request.body, http.Headers(headers)
    )
    headers = [(name.encode(), value.encode()) for name, value in scenario.response.headers]
    flow.response = http.Response.make(scenario.response.status, b"", http.Headers(headers))
    if header:
        flow.response.headers["content-encoding"] = header
    flow.response.raw_content = encode(scenario.response.body)
    flow.request.timestamp_start = STARTED.timestamp()
    flow.response.timestamp_start = STARTED.timestamp() + 0.25
    flow.response.timestamp_end = STARTED.timestamp() + 1.5
    return flow


def as_flows(flows: list[mitm_flow.Flow]) -> bytes:
    file = io.BytesIO()
    writer = FlowWriter(file)
    for flow in flows:
        writer.add(flow)
    return file.getvalue()


WHOLE = [scenario for scenario in SCENARIOS.values() if scenario.response.complete and scenario.is_text]
FORMS = {
    "jsonl": b"".join(as_line(scenario) for scenario in WHOLE),
    "har": as_har([as_entry(scenario) for scenario in WHOLE]),
    "har, indented": as_har([as_entry(scenario) for scenario in WHOLE], indent=2),
    "har, base64": as_har([as_entry(scenario, coded=True) for scenario in WHOLE]),
    **{f"flows, {name}": as_flows([as_flow(item, name) for item in WHOLE]) for name in CODINGS},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzip"])
def test_every_form_gives_the_same_events(form: str, zipped: bool) -> None:
    data = gzip.compress(FORMS[form]) if zipped else FORMS[form]
    events = [fields_of(to_exchange(recorded)) for recorded in read(io.BytesIO(data))]
    assert len(events) == len(WHOLE)
    plain = [fields_of(to_exchange(recorded)) for recorded in read(io.BytesIO(FORMS["jsonl"]))]
    own = {"event_id", "request_id", "client", "time_to_first_byte_ms", "request"}
    for event, expected in zip(events, plain, strict=True):
        assert {k: v for k, v in event.items() if k not in own} == {
            k: v for k, v in expected.items() if k not in own
        }
        assert event["request"]["body"] == expected["request"]["body"]
    assert events[0]["timestamp"] == "2026-06-01T12:00:00.250Z"
    assert events[0]["duration_ms"] == 1500
    if form != "jsonl":
        assert events[0]["time_to_first_byte_ms"] == 250


@pytest.mark.parametrize("form", FORMS)
def test_a_file_that_is_cut_off_gives_what_came_before(form: str) -> None:
    found: list[Recorded] = []
    with pytest.raises(Damaged) as caught:
        _collect(FORMS[form][: len(FORMS[form]) * 2 // 3], found)
    assert 5 < len(found) < len(WHOLE)
    assert any(char.isdigit() for char in str(caught.value)), "the position"


def _collect(data: bytes, found: list[Recorded]) -> None:
    for recorded in read(io.BytesIO(data)):
        found.append(recorded)


def test_a_gzip_file_that_is_cut_off() -> None:
    found: list[Recorded] = []
    data = gzip.compress(FORMS["jsonl"], mtime=0)
    with pytest.raises(Damaged):
        _collect(data[: len(data) * 2 // 3], found)
    assert found


@pytest.mark.parametrize("data", [b"", b"  \n", b"GET / HTTP/1.1\r\n", b"\x00\x01\x02", b"[1, 2]", b"<html>"])
def test_what_is_no_recording(data: bytes) -> None:
    with pytest.raises(Unreadable):
        list(read(io.BytesIO(data)))


@given(st.binary(max_size=300), st.sampled_from(sorted(FORMS)), st.integers(0, 3000))
def test_any_bytes_raise_nothing_else(junk: bytes, form: str, at: int) -> None:
    data = FORMS[form][:at] + junk + FORMS[form][at + len(junk) : 6000]
    with contextlib.suppress(Damaged, Unreadable):
        for recorded in read(io.BytesIO(data)):
            assert fields_of(to_exchange(recorded))["type"] == "llm_proxy_usage"


def test_a_url_that_cannot_be_read() -> None:
    recorded = Recorded("POST", "https://[x/v1/chat/completions", (), b"{}", 200, (), b"{}")
    assert fields_of(to_exchange(recorded))["endpoint"] == "other"


@pytest.mark.parametrize(
    ("start", "form"),
    [
        (b'{"log": {', "har"),
        (b'\xef\xbb\xbf\n{\n  "log": {\n', "har"),
        (b'{\n\t"log" : {', "har"),
        (b'{"url": "https://x", "status": 200}\n', "jsonl"),
        (b'{"url": "https://x", "response_body": "' + b"x" * 70_000, "jsonl"),
        (b"1234:9:websocket;", "flows"),
    ],
)
def test_detection(start: bytes, form: str) -> None:
    assert detect(start) == form


def test_an_exchange_keeps_its_id() -> None:
    (first, *_), (again, *_) = (list(read(io.BytesIO(FORMS["jsonl"]))) for _ in range(2))
    assert event_id(first) == event_id(again)
    assert event_id(first) != event_id(first, repeat=1)
    assert event_id(Recorded("GET", BASE, key="a")) != event_id(Recorded("GET", BASE, key="b"))


def test_credentials_of_a_recording_do_not_reach_the_event() -> None:
    key = "sk-live-0123456789abcdef"
    body = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": f"my key is {key}"}]})
    for headers in ([("Authorization", f"Bearer {key}")], [("api-key", key)]):
        recorded = Recorded("POST", f"{BASE}/v1/chat/completions", headers, body.encode(), 200, (), b"{}")
        assert key not in json.dumps(fields_of(to_exchange(recorded)))


def test_calls_without_an_answer() -> None:
    flow = as_flow(SCENARIOS["chat"])
    flow.response = None
    flow.error = mitm_flow.Error("Client disconnected.")
    entry = as_entry(SCENARIOS["chat"]) | {"_error": "net::ERR_ABORTED"}
    entry["response"] = {"status": 0, "headers": [], "content": {"size": 0}}
    for data in (as_flows([flow]), as_har([entry])):
        (event,) = [fields_of(to_exchange(recorded)) for recorded in read(io.BytesIO(data))]
        assert (event["outcome"], event["status"], event["usage"]) == ("client_aborted", None, None)
        assert event["model"] == "gpt-4o-mini"


def test_flows_that_are_not_http_are_skipped() -> None:
    data = as_flows([tflow.ttcpflow(), as_flow(SCENARIOS["chat"]), tflow.tdnsflow(), tflow.twebsocketflow()])
    assert [recorded.method for recorded in read(io.BytesIO(data))] == ["POST", "GET"]


def test_a_form_in_har_without_its_text() -> None:
    entry = as_entry(SCENARIOS["transcription"])
    entry["request"]["postData"] = {
        "mimeType": "multipart/form-data; boundary=XX",
        "params": [{"name": "model", "value": "whisper-1"}, {"name": "file", "fileName": "a.wav"}],
    }
    (recorded,) = read(io.BytesIO(as_har([entry])))
    event = fields_of(to_exchange(recorded))
    assert (event["model_requested"], event["usage"]["seconds"]) == ("whisper-1", 12)


@pytest.mark.parametrize("coding", CODINGS)
def test_har_of_a_recorder_that_kept_the_coding(coding: str) -> None:
    """The entry's headers name the coding, and here the base64 text really is in it."""
    header, encode = CODINGS[coding]
    entry = as_entry(SCENARIOS["chat"])
    entry["response"]["headers"] = [{"name": "Content-Encoding", "value": header or "identity"}]
    coded = base64.b64encode(encode(SCENARIOS["chat"].response.body)).decode()
    entry["response"]["content"] = {"size": 1, "encoding": "base64", "text": coded}
    (recorded,) = read(io.BytesIO(as_har([entry])))
    event = fields_of(to_exchange(recorded))
    assert event["usage"]["source"] == "api"
    assert event["truncated"] == []


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        ("Mon, 01 Jun 2026 12:00:00 GMT", datetime(2026, 6, 1, 12, tzinfo=UTC)),
        ("Mon, 01 Jun 2026 14:00:00 +0200", datetime(2026, 6, 1, 12, tzinfo=UTC)),
        ("Mon, 01 Jun 2026 12:00:00 -0000", datetime(2026, 6, 1, 12, tzinfo=UTC)),
        ("some day", None),
    ],
)
def test_a_recording_without_a_time_has_its_answers(date: str, expected: datetime | None) -> None:
    recorded = Recorded("POST", f"{BASE}/v1/responses", status=200, response_headers=[("Date", date)])
    began = to_exchange(recorded).started_at
    assert began.tzinfo is not None
    if expected is None:
        assert abs((began - datetime.now(UTC)).total_seconds()) < 60
    else:
        assert began == expected


def test_a_har_whose_body_is_not_base64_tells_which() -> None:
    content = {"encoding": "base64", "text": "no base64!", "mimeType": "application/json"}
    entry = {
        "startedDateTime": STARTED.isoformat(),
        "time": 1,
        "request": {"method": "GET", "url": f"{BASE}/v1/models", "headers": None},
        "response": {"status": 200, "headers": "none", "content": content},
    }
    with pytest.raises(Damaged, match="not base64"):
        list(read(io.BytesIO(json.dumps({"log": {"version": "1.2", "entries": [entry]}}).encode())))
