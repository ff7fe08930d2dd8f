"""Why an answer has no usage: each code, by an exchange that has it."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from addons.openai import Request, Response, summarize
from addons.openai.usage.missing import CODES, COUNTABLE, ONLY_WITH_TEXT

CHAT = "/v1/chat/completions"
ANSWER = {
    "id": "c",
    "object": "chat.completion",
    "model": "gpt-4o",
    "choices": [{"index": 0, "message": {"content": "Hi"}}],
}
ZERO = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
JSON = [("content-type", "application/json")]
SSE = [("content-type", "text/event-stream")]
GZIP = [("content-encoding", "gzip")]


STREAM = b'data: {"choices": [{"delta": {"content": "Hi"}, "finish_reason": "stop"}]}\n\n'


def coded(value: Any) -> bytes:
    return json.dumps(value).encode()


CASES: list[tuple[str, str, Response | None]] = [
    ("no_answer", CHAT, None),
    ("failed", CHAT, Response(500, JSON, coded({"error": {"message": "no"}}))),
    ("failed", CHAT, Response(200, SSE, b'data: {"error": {"message": "no"}}\n\n')),
    ("undecodable", CHAT, Response(200, [*JSON, *GZIP], b"no gzip at all")),
    ("undecodable", CHAT, Response(200, [*JSON, ("content-encoding", "snappy")], b"x")),
    ("undecodable", CHAT, Response(200, [*JSON, *GZIP], gzip.compress(bytes(2**28)))),
    ("unparsable", CHAT, Response(200, [("content-type", "text/html")], b"<html>")),
    ("unparsable", CHAT, Response(200, JSON, b'{"id": "c", ')),
    ("unparsable", CHAT, Response(200, SSE, b"data: nonsense\n\n")),
    ("cut", CHAT, Response(200, JSON, b'{"id": "c", ', complete=False)),
    ("cut", CHAT, Response(200, [*JSON, *GZIP], gzip.compress(coded(ANSWER))[:30], complete=False)),
    ("cut", CHAT, Response(200, JSON, b'{"id": "c", ', skipped=1000, tail=b'"}')),
    ("not_asked", CHAT, Response(200, SSE, STREAM)),
    ("cut", CHAT, Response(200, SSE, STREAM.replace(b"stop", b""))),
    ("zero", CHAT, Response(200, JSON, coded({**ANSWER, "usage": ZERO}))),
    ("no_usage", CHAT, Response(200, JSON, coded(ANSWER))),
    ("no_usage", CHAT, Response(200, JSON)),
    ("no_usage", "/v1/audio/speech", Response(200, [("content-type", "audio/mpeg")], b"\xff\xf3")),
    ("other_unit", "/v1/images/generations", Response(200, JSON, coded({"data": [{"url": "x"}]}))),
    ("length_unknown", "/v1/audio/translations", Response(200, [("content-type", "text/plain")], b"Hello")),
    ("later", "/v1/batches", Response(200, JSON, coded({"object": "batch"}))),
    ("later", "/v1/responses", Response(200, JSON, coded({"object": "response", "status": "queued"}))),
    ("unbilled", "/v1/moderations", Response(200, JSON, coded({"results": []}))),
    ("unbilled", "/v1/responses/input_tokens", Response(200, JSON, coded({"input_tokens": 5}))),
]


@pytest.mark.parametrize(
    ("code", "url", "response"), CASES, ids=[f"{n}-{case[0]}" for n, case in enumerate(CASES)]
)
def test_codes(code: str, url: str, response: Response | None) -> None:
    summary = summarize(Request("POST", url, JSON, coded({"model": "gpt-4o"})), response)
    assert (summary.usage_missing_code, bool(summary.usage_missing)) == (code, True)
    assert summary.usage is None or summary.usage.source == "counted"


def test_every_code_is_reached() -> None:
    assert {code for code, _, _ in CASES} == CODES.keys() - {"unread", "counted"}
    assert ONLY_WITH_TEXT < COUNTABLE < CODES.keys()


def test_a_reported_usage_has_no_code() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    summary = summarize(Request("POST", CHAT), Response(200, JSON, coded({**ANSWER, "usage": usage})))
    assert (summary.usage_missing, summary.usage_missing_code) == (None, None)


@pytest.mark.parametrize("last", [1, None, "x", [], {}])
def test_images_that_are_no_objects(last: Any) -> None:
    body = {"data": [{"b64_json": "AAAA"}, last], "usage": {"input_tokens": 1, "output_tokens": 2}}
    summary = summarize(Request("POST", "/v1/images/generations"), Response(200, JSON, coded(body)))
    assert summary.usage is not None
    assert summary.usage.output_tokens == 2


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/v1/completions", {"choices": [{"index": 0, "text": "Hi"}]}),
        (CHAT, {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}}]}),
    ],
)
def test_no_output_is_not_believed_of_an_answer_that_says_something(path: str, said: dict[str, Any]) -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 0, "total_tokens": 5}
    summary = summarize(Request("POST", path), Response(200, JSON, coded({**said, "usage": usage})))
    assert summary.usage_missing == "zero is reported for output_tokens, which cannot be"
    silent = {"choices": [{"index": 0, "text": "", "message": {"role": "assistant", "content": ""}}]}
    summary = summarize(Request("POST", path), Response(200, JSON, coded({**silent, "usage": usage})))
    assert summary.usage_missing is None
