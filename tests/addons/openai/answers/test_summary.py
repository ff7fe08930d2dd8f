"""Every scenario, in every coding, cut anywhere; and the recorded traffic where it is present."""

from __future__ import annotations

import dataclasses
import json
import random
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from addons.openai import Request, Response, Summary, summarize, tokens
from addons.openai.http.encoding import codings_of
from addons.openai.http.window import Window
from tests import corpus
from tests.codings import CODINGS
from tests.scenarios import SCENARIOS, Scenario, contains

ENDPOINTS = ("chat", "completions", "responses", "embeddings")

WHOLE = [scenario for scenario in SCENARIOS.values() if scenario.response.complete]
WHOLE_STREAMS = [scenario for scenario in WHOLE if scenario.is_stream]


def test_there_is_something_to_check() -> None:
    """The tests below go through these lists; an empty one would pass them all."""
    assert len(WHOLE_STREAMS) > 30
    assert len(WHOLE) > len(WHOLE_STREAMS)
    assert all(scenario.expected or scenario.event for scenario in SCENARIOS.values())


def shown(summary: Summary) -> dict[str, Any]:
    found = {field.name: getattr(summary, field.name) for field in dataclasses.fields(summary)}
    found["usage"] = summary.usage.as_dict() if summary.usage else None
    found["error"] = dataclasses.asdict(summary.error) if summary.error else None
    return found


def differences(scenario: Scenario, summary: Summary) -> list[str]:
    """What of the expected is not found, and what is there instead."""
    found = shown(summary)
    return [
        f"{scenario.name}: {key} is {found[key]!r}, not {value!r}"
        for key, value in scenario.expected.items()
        # What is assembled must be right as a whole: nothing too much either.
        if not (found[key] == value if key == "output" else contains(found[key], value))
    ]


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(name: str) -> None:
    scenario = SCENARIOS[name]
    assert differences(scenario, summarize(scenario.request, scenario.response)) == []


@pytest.mark.parametrize("coding", CODINGS)
def test_codings(coding: str) -> None:
    """Both bodies coded. A stream that is cut off is left to the test below."""
    header, encode = CODINGS[coding]
    extra = [("Content-Encoding", header)] if header else []
    for scenario in WHOLE:
        request = dataclasses.replace(
            scenario.request,
            headers=[*scenario.request.headers, *extra],
            body=encode(scenario.request.body),
        )
        response = dataclasses.replace(
            scenario.response,
            headers=[*scenario.response.headers, *extra],
            body=encode(scenario.response.body),
        )
        assert differences(scenario, summarize(request, response)) == []


@pytest.mark.parametrize("line_end", ["\r\n", "\r"], ids=["CRLF", "CR"])
def test_line_ends(line_end: str) -> None:
    for scenario in WHOLE_STREAMS:
        body = scenario.response.body.replace(b"\r\n", b"\n").replace(b"\n", line_end.encode())
        response = dataclasses.replace(scenario.response, body=b"\xef\xbb\xbf" + body)
        assert differences(scenario, summarize(scenario.request, response)) == []


def test_streams_without_a_final_blank_line() -> None:
    for scenario in WHOLE_STREAMS:
        response = dataclasses.replace(scenario.response, body=scenario.response.body.rstrip())
        assert response.body != scenario.response.body, scenario.name
        assert differences(scenario, summarize(scenario.request, response)) == []


@given(st.sampled_from(sorted(SCENARIOS)), st.sampled_from(sorted(CODINGS)), st.floats(0, 1))
def test_a_body_that_is_cut_anywhere_is_understood_as_far_as_it_goes(
    name: str, coding: str, where: float
) -> None:
    scenario = SCENARIOS[name]
    header, encode = CODINGS[coding]
    body = encode(scenario.response.body)
    cut = body[: int(where * len(body))]
    headers = [*scenario.response.headers, ("content-encoding", header)]
    summary = summarize(scenario.request, Response(scenario.response.status, headers, cut, complete=False))
    assert summary.endpoint == scenario.expected.get("endpoint", summary.endpoint)
    assert ("response: it broke off" in summary.truncated) is not summary.complete
    whole = summarize(scenario.request, scenario.response)
    if summary.usage is not None:
        # Servers that report in every chunk report partial sums.
        assert whole.usage is not None
        assert (summary.usage.total_tokens or 0) <= (whole.usage.total_tokens or 0)


def test_usage_at_the_end_of_a_stream_whose_middle_was_not_kept() -> None:
    compared = 0
    for scenario in WHOLE_STREAMS:
        if not scenario.expected.get("usage") or scenario.request.url == "/v1/images/generations":
            continue  # images are billed one by one: what is lost is lost, and said to be missing
        body = scenario.response.body
        for kept in (120, 400):
            middle = len(body) - 700 - kept
            if middle <= 0:
                continue
            response = dataclasses.replace(
                scenario.response, body=body[:kept], skipped=middle, tail=body[kept + middle :]
            )
            summary = summarize(scenario.request, response)
            assert contains(shown(summary)["usage"], scenario.expected["usage"]), scenario.name
            compared += 1
    assert compared > 10


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_long_bodies_are_read_as_they_pass(coding: str, size: int) -> None:
    """Of what is longer than a capture keeps, the texts alone are cut."""
    _, encode = CODINGS[coding]
    header = CODINGS[coding][0]
    for name in ("responses", "chat", "chat-stream", "responses-stream", "chat-stream-two-names-details"):
        scenario = SCENARIOS[name]
        body = encode(scenario.response.body)
        window = Window(codings_of(header), 64)
        for at in range(0, len(body), size):
            window.feed(body[at : at + size])
        window.finish()
        head, skipped, tail = window.parts()
        response = dataclasses.replace(
            scenario.response, body=head, skipped=skipped, tail=tail, scanned=window.scanned()
        )
        summary, whole = summarize(scenario.request, response), summarize(scenario.request, scenario.response)
        assert summary.usage == whole.usage, name
        for field in ("model", "service_tier", "finish_reasons", "response_id", "ended", "hosted_tools"):
            assert getattr(summary, field) == getattr(whole, field), (name, field)


@pytest.mark.parametrize("coding", ["identity", "gzip"])
@pytest.mark.parametrize(
    ("endpoint", "kind"),
    [
        ("/v1/chat/completions", "text/html"),
        ("/v1/chat/completions", ""),
        ("/v1/responses", "application/json"),
        ("/v1/embeddings", "application/octet-stream"),
        ("/v1/audio/transcriptions", "text/html"),
    ],
)
def test_a_long_page_is_no_answer_like_a_short_one(coding: str, kind: str, endpoint: str) -> None:
    request = Request("POST", endpoint, [("content-type", "application/json")], b'{"model": "gpt-4o"}')
    found = []
    for length in (1, 20_000):
        header, encode = CODINGS[coding]
        window = Window(codings_of(header), 2**16)
        text = "\ufeff\n<!DOCTYPE html><html>" + "".join(f"<p>{n * 7919 % 10007}</p>" for n in range(length))
        page = encode(text.encode())
        for at in range(0, len(page), 2**14):
            window.feed(page[at : at + 2**14])
        window.finish()
        head, skipped, tail = window.parts()
        assert bool(skipped) == (length > 1)
        response = Response(
            200, [("content-type", kind)], head, skipped=skipped, tail=tail, scanned=window.scanned()
        )
        summary = summarize(request, response)
        found.append((summary.error and summary.error.type, summary.usage_missing_code))
    assert found == [("unreadable_answer", "unparsable")] * 2


def test_no_answer() -> None:
    summary = summarize(SCENARIOS["chat"].request, None)
    assert (summary.model, summary.usage, summary.usage_missing) == ("gpt-4o-mini", None, "no answer came")


def test_a_coding_that_is_broken_or_unknown_is_said() -> None:
    body = b'{"usage": {"total_tokens": 3}}'
    broken = b"\x1f\x8b" + body
    for coding, sent, reason in (
        ("gzip", broken, "content coding is broken"),
        ("lzma", broken, "unknown content coding 'lzma'"),
    ):
        response = Response(200, [("content-encoding", coding)], sent)
        summary = summarize(Request("POST", "/v1/chat/completions"), response)
        assert summary.usage_missing == "the body could not be decoded"
        assert any(reason in text for text in summary.truncated), summary.truncated


def test_a_plain_body_under_an_unknown_coding_is_read() -> None:
    body = b'{"usage": {"prompt_tokens": 2, "completion_tokens": 1}}'
    response = Response(200, [("content-encoding", "utf-8")], body)
    usage = summarize(Request("POST", "/v1/chat/completions"), response).usage
    assert usage is not None
    assert usage.total_tokens == 3


JUNK: tuple[Any, ...] = (
    None,
    True,
    -1,
    1.5,
    10**30,
    float("nan"),
    "",
    "text",
    [],
    [None],
    {},
    {"index": "x"},
)


def spoil(value: Any, rng: random.Random) -> Any:
    """A value of a wrong kind, somewhere."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.15:
        return rng.choice(JUNK)
    spoilt = value.copy()
    key = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
    spoilt[key] = spoil(value[key], rng)
    return spoilt


def spoil_body(body: bytes, rng: random.Random) -> bytes:
    """Of every JSON text in a body: a line of a stream, or the whole."""

    def one(text: str) -> str:
        try:
            return json.dumps(spoil(json.loads(text), rng))
        except ValueError:
            return text

    text = body.decode(errors="surrogateescape")  # a form may hold a file
    if text.startswith("{"):
        return one(text).encode()
    return re.sub(
        r"(?<=data: )\{.*", lambda match: one(match[0]) if rng.random() < 0.7 else match[0], text
    ).encode(errors="surrogateescape")


@settings(max_examples=1000)
@given(st.sampled_from(sorted(SCENARIOS)), st.integers(0, 2**32))
def test_nothing_in_a_body_raises(name: str, seed: int) -> None:
    """Values of wrong kinds in the places that the code reads, in what clients and servers send."""
    scenario, rng = SCENARIOS[name], random.Random(seed)
    summary = summarize(
        dataclasses.replace(scenario.request, body=spoil_body(scenario.request.body, rng)),
        dataclasses.replace(scenario.response, body=spoil_body(scenario.response.body, rng)),
    )
    assert summary.endpoint == summarize(scenario.request, None).endpoint
    assert summary.usage is not None or summary.usage_missing
    assert tokens.count(summary.endpoint, summary.model, summary.request, summary.output).missing is not None


@pytest.mark.parametrize("deep", [b"[" * 100_000, b'{"a":' * 50_000, b'data: {"a":' * 3 + b"[" * 99_999])
def test_deep_nesting_does_not_raise(deep: bytes) -> None:
    summary = summarize(Request("POST", "/v1/chat/completions", [], deep), Response(200, [], deep))
    assert summary.usage is None


def test_recorded_traffic() -> None:
    """Every usage that the recorded answers report at their top, found and equal."""
    compared = 0
    for exchange in corpus.load():
        wanted = corpus.reported_usage(exchange)
        if wanted is None or exchange["endpoint"] not in ENDPOINTS:
            continue
        summary = corpus.summary(exchange)
        if summary.usage_elsewhere:
            assert exchange["method"] == "GET" or "/chat/completions/" in exchange["url"]
        assert summary.usage is not None, exchange["id"]
        assert (summary.usage.input_tokens, summary.usage.output_tokens or 0) == wanted, exchange["id"]
        compared += 1
    assert compared > 700


def test_json_beyond_the_limit_that_breaks_off_has_not_ended() -> None:
    """A server that closes a body without a length: its first half is read, and the answer is not whole."""
    answer = {"id": "c", "model": "gpt-4o", "choices": [{"message": {"content": "word " * 10_000}}]}
    window = Window((), 4096)
    window.feed(json.dumps(answer).encode()[:-10])
    head, skipped, tail = window.parts()
    response = Response(
        200,
        [("content-type", "application/json")],
        head,
        skipped=skipped,
        tail=tail,
        scanned=window.scanned(),
    )
    summary = summarize(Request("POST", "/v1/chat/completions", body=b"{}"), response)
    assert (summary.ended, summary.model, summary.usage_missing_code) == (False, "gpt-4o", "cut")


@pytest.mark.parametrize("size", [100, 100_000])
@pytest.mark.parametrize("padding", [b"", b" " * 2000])
@pytest.mark.parametrize("ends", [b"\n", b""])
def test_lines_beyond_the_limit_are_read_as_they_pass(size: int, padding: bytes, ends: bytes) -> None:
    chunk = {"id": "c", "model": "gpt-4o", "choices": [{"index": 0, "delta": {"content": "word"}}]}
    stop = {**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    last = {**chunk, "choices": [], "usage": {"prompt_tokens": 1000, "completion_tokens": 50}}
    body = padding + b"\n".join(json.dumps(each).encode() for each in [chunk] * 200 + [stop, last]) + ends
    window = Window((), 4096)
    for at in range(0, len(body), size):
        window.feed(body[at : at + size])
    head, skipped, tail = window.parts()
    kind = [("content-type", "application/x-ndjson")]
    response = Response(200, kind, head, skipped=skipped, tail=tail, scanned=window.scanned())
    summary = summarize(Request("POST", "/v1/chat/completions", body=b"{}"), response)
    assert summary.usage is not None
    assert (summary.usage.total_tokens, summary.ended, summary.finish_reasons) == (1050, True, ["stop"])
