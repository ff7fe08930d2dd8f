"""How the gate reads bodies: each once, within bounds, with one meaning for all checks."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from mitmproxy import http

from addons.flow import helper_process, request_body
from addons.flow.call import open_calls
from addons.hooks.journaling import opening
from addons.hooks.ownership import Ownership
from addons.hooks.recorder import Recorder
from addons.openai import request_reading
from addons.openai.http import body as kept_body
from addons.openai.http import members, parsed_events
from addons.openai.http.json_bounds import MOST_NODES
from addons.recording.event_builder import event_of
from addons.recording.finished_call import exchange_of
from tests.addons.hooks.gated import CHAT, HELLO, Gated, Reply, gated

ALL_LIMITS = {
    "budgets": {"usd": {"day": "5", "total": "50"}, "tokens": {"hour": 10**7}},
    "budget_mode": "strict",
    "requests_per_minute": 1000,
    "tokens_per_minute": 10**7,
    "max_concurrent": 1000,
    "max_output_tokens": 500,
    "models": ["gpt-4o*"],
    "endpoints": ["chat", "responses"],
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gated]:
    with gated(tmp_path_factory.mktemp("bodies")) as made:
        yield made
        helper_process.helper.close()


class Parses:
    """Counts what is parsed: whole texts, and bodies by their members."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bodies: list[str] = []
        self.texts: list[object] = []
        by_members = members.members

        def counted_members(text: str) -> Any:
            self.bodies.append(text)
            return by_members(text)

        monkeypatch.setattr(request_reading, "members", counted_members)
        for place, parser in ((kept_body, "read_json"), (parsed_events, "_decode"), (json, "loads")):
            monkeypatch.setattr(place, parser, self._counted(getattr(place, parser)))

    def _counted(self, parse: Callable[..., Any]) -> Callable[..., Any]:
        def count(text: Any, **how: Any) -> Any:
            self.texts.append(text)
            return parse(text, **how)

        return count


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("prompt", ["hello", "hello " * 10_000], ids=["small", "large"])
def test_a_chat_under_every_limit_is_parsed_once(
    world: Gated, monkeypatch: pytest.MonkeyPatch, stream: bool, prompt: str
) -> None:
    body = {**HELLO, "stream": stream, "messages": [{"role": "user", "content": prompt}]}
    flow = world.flow(world.token(limits=ALL_LIMITS), CHAT, body)
    parses = Parses(monkeypatch)
    reply = asyncio.run(world.pass_through(flow))
    assert reply.code is None
    sent = flow.request.content
    assert sent is not None
    assert reply.call is not None
    assert opening(reply.call)["stream"] is stream
    assert event_of(exchange_of(reply.call, "ok")).model_requested == "gpt-4o-mini"
    of_bodies = [text for text in parses.texts if "messages" in str(text)]
    assert len(parses.bodies) == 1
    assert len(of_bodies) == (prompt != "hello")  # of a large one the worker's thread reads what was kept
    monkeypatch.undo()
    upstream = json.loads(sent)
    assert upstream["max_tokens"] == 500
    assert upstream.get("stream_options") == ({"include_usage": True} if stream else None)
    assert reply.call.hold is not None
    assert reply.call.hold.output_tokens == 500
    assert reply.call.request_body == json.dumps(body).encode()


@pytest.mark.parametrize("end", [b"\n\n", b"\n", b"\r\n"], ids=["blank", "one-line-end", "crlf"])
@pytest.mark.parametrize("stored", [False, True], ids=["passing", "stored"])
def test_each_event_of_an_answer_under_every_limit_is_parsed_once(
    world: Gated, monkeypatch: pytest.MonkeyPatch, stored: bool, end: bytes
) -> None:
    token = world.token(limits={**ALL_LIMITS, "budget_mode": "expected", "on_budget_end": "cut"})
    flow = world.flow(token, CHAT, {**HELLO, "stream": True, "store": stored})
    reply = asyncio.run(world.pass_through(flow))
    assert reply.code is None
    assert reply.call is not None
    answer = http.Response.make(200, b"", {"content-type": "text/event-stream"})
    answer.raw_content, flow.response = None, answer
    open_calls[flow.id] = reply.call
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "gpt-4o-mini"}
    deltas: list[Any] = [{"role": "assistant", "content": ""}, *({"content": f"{at} "} for at in range(200))]
    choices = [[{"index": 0, "delta": delta}] for delta in deltas]
    choices[-1][0]["finish_reason"] = "stop"
    events: list[Any] = [{**chunk, "choices": choice} for choice in choices]
    events.append({**chunk, "choices": [], "usage": {"prompt_tokens": 8, "completion_tokens": 400}})
    written = [json.dumps(event) for event in events]
    parses = Parses(monkeypatch)

    async def answered() -> None:
        await Ownership(world.runtime).responseheaders(flow)
        Recorder(world.runtime).responseheaders(flow)
        assert callable(answer.stream)
        for event in [*written, "[DONE]"]:
            answer.stream(b"data: %b%b" % (event.encode(), end))

    asyncio.run(answered())
    assert reply.call.cut is None
    del open_calls[flow.id]
    event = event_of(exchange_of(reply.call, "ok"))
    assert event.usage is not None
    assert event.usage.output_tokens == 400
    assert event.time_to_first_token_ms is not None
    parsed = Counter(text for text in parses.texts if "chatcmpl-1" in str(text))
    assert {text for text, times in parsed.items() if times != 1} == set()
    assert set(parsed) == set(written)


@pytest.mark.parametrize(("words", "threads"), [(10, 0), (10_000, 1)])
def test_a_small_body_is_counted_on_the_event_loop_once_the_vocabulary_is_there(
    world: Gated, monkeypatch: pytest.MonkeyPatch, words: int, threads: int
) -> None:
    token = world.token(limits=ALL_LIMITS)
    body = {**HELLO, "messages": [{"role": "user", "content": "word " * words}]}
    world.ask(token, CHAT, body)
    handed: list[object] = []
    to_thread = asyncio.to_thread

    async def counted(work: Callable[..., Any], *given: Any) -> Any:
        handed.append(work)
        return await to_thread(work, *given)

    monkeypatch.setattr(asyncio, "to_thread", counted)
    reply = asyncio.run(world.pass_through(world.flow(token, CHAT, body)))
    assert len(handed) == threads
    assert reply.call is not None
    assert reply.call.hold is not None
    assert reply.call.hold.tokens > words


def test_calls_that_are_ready_together_claim_together(world: Gated, monkeypatch: pytest.MonkeyPatch) -> None:
    """One transaction serves them all. Reading lets go of Python's lock, so that each had one of its own."""
    token = world.token(limits={"budgets": {"usd": {"day": "5"}}})
    assert world.ask(token).code is None  # prices are there
    services = world.runtime.services
    assert services is not None
    done: list[str] = []
    reads, reserves = request_reading.RequestReading, services.ledger.reserve
    monkeypatch.setattr(request_body, "RequestReading", lambda *given: done.append("read") or reads(*given))
    monkeypatch.setattr(services.ledger, "reserve", lambda ask: done.append("claimed") or reserves(ask))

    async def four() -> list[Reply]:
        return await asyncio.gather(*(world.pass_through(world.flow(token)) for _ in range(4)))

    assert [reply.code for reply in asyncio.run(four())] == [None] * 4
    assert done == ["read"] * 4 + ["claimed"] * 4


FLAGS = [
    ({"store": True}, True),
    ({"store": True, "tools": [{"type": "function", "function": {"parameters": {"store": False}}}]}, True),
    ({"store": False, "metadata": {"store": True}}, False),
    ({"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}, True),
    ({"user": 'say "audio"'}, False),
    ({}, False),
]


@pytest.mark.parametrize(("fields", "watched"), FLAGS)
@pytest.mark.parametrize("prompt", ["hello", "hello " * 40_000], ids=["small", "large"])
def test_a_chat_is_watched_for_objects_where_its_own_members_say_so(
    world: Gated, fields: dict[str, Any], watched: bool, prompt: str
) -> None:
    body = {**HELLO, **fields, "messages": [{"role": "user", "content": prompt}]}
    flow = world.flow(world.token(), CHAT, body)
    reply = asyncio.run(world.pass_through(flow))
    assert reply.call is not None
    assert reply.code is None
    flow.response = http.Response.make(200, b"{}", {"content-type": "application/json"})
    open_calls[flow.id] = reply.call
    asyncio.run(Ownership(world.runtime).responseheaders(flow))
    del open_calls[flow.id]
    assert (reply.call.object_watch is not None) is watched


def bomb(text: bytes) -> bytes:
    return gzip.compress(text)


@pytest.mark.parametrize(
    ("body", "coding", "status", "code"),
    [
        (gzip.compress(b"[" + b"{}," * (7 * 2**20) + b"{}]"), "gzip", 413, "body_too_large"),
        (gzip.compress(gzip.compress(b"[" * 2**26)), "gzip, gzip", 413, "body_too_large"),
        (zlib.compress(b" " * 2**26), "deflate", 413, "body_too_large"),
        (b'{"model":"m","x":[' + b"{}," * (MOST_NODES + 1) + b"{}]}", "", 413, "body_too_large"),
        (gzip.compress(b"{}"), "gzip, br", 400, "body_unreadable"),
        (json.dumps(HELLO).encode(), "br", 400, "body_unreadable"),
        (gzip.compress(json.dumps(HELLO).encode())[:-9], "gzip", 400, "body_unreadable"),
        (b"no gzip", "gzip", 400, "body_unreadable"),
        (b"{}", "rot13", 400, "body_unreadable"),
    ],
    ids=["objects", "twice", "spaces", "uncoded", "wrong", "no-br", "cut", "no-gzip", "unknown"],
)
def test_bodies_beyond_all_bounds_are_refused(
    world: Gated, body: bytes, coding: str, status: int, code: str
) -> None:
    headers = {"content-encoding": coding} if coding else {}
    reply = world.ask(world.token(), "/v1/responses", body, headers=headers)
    assert (reply.status, reply.code) == (status, code)


def test_the_loop_goes_on_while_a_hostile_body_is_judged(world: Gated) -> None:
    """A million values, which take seconds to parse: other calls do not wait for them."""
    hostile = b'{"model":"gpt-4o","input":[' + b'{"a":[]},' * (MOST_NODES // 5) + b"{}]}"
    token = world.token()

    async def judge() -> int:
        judged = asyncio.ensure_future(world.pass_through(world.flow(token, "/v1/responses", hostile)))
        turns = 0
        while not judged.done():
            await asyncio.sleep(0.005)
            turns += 1
        assert judged.result().code is None
        return turns

    asyncio.run(judge())  # starts the process
    # Read by this process, in a thread too, the loop would stand still: json keeps the GIL until it is done.
    # How long others wait is measured by scripts/bench hostile.
    assert asyncio.run(judge()) > 5


def test_a_heavy_body_is_checked_like_a_small_one(world: Gated) -> None:
    heavy = {**HELLO, "stream": True, "x": list(range(30_000))}
    allowed = world.flow(world.token(limits=ALL_LIMITS), CHAT, heavy)
    reply = asyncio.run(world.pass_through(allowed))
    assert reply.code is None
    assert json.loads(allowed.request.content or b"")["max_tokens"] == 500
    assert b'"include_usage":true' in (allowed.request.content or b"")
    refused = world.ask(world.token(limits=ALL_LIMITS), CHAT, {**heavy, "model": "o1-pro"})
    assert (refused.status, refused.code) == (404, "model_not_found")
    foreign = {**heavy, "model": "gpt-4o", "input": "x", "previous_response_id": "resp_0123456789abcdef"}
    assert world.ask(world.token(), "/v1/responses", foreign).status == 404


def test_too_much_waits_to_be_read(world: Gated, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helper_process, "MOST_WAITING", 0)
    reply = world.ask(world.token(), CHAT, {**HELLO, "x": list(range(30_000))})
    assert (reply.status, reply.code) == (503, "proxy_busy")
    assert reply.flow.response is not None
    assert reply.flow.response.headers["retry-after"] == "1"


@pytest.mark.parametrize(
    "body",
    [
        b'\xef\xbb\xbf{"model":"gpt-4o","input":"x","previous_response_id":"resp_0123456789abcdef"}',
        b'{"previous_response_id":"resp_0123456789abcdef","input":"x","previous_response_id":null}',
        b'{"input":"x","previous\\u005fresponse_id":"resp_0123456789abcdef"}',
        b'{"input":"x","PREVIOUS_RESPONSE_ID":"resp_0123456789abcdef"}',
    ],
    ids=["bom", "twice", "escaped", "case"],
)
@pytest.mark.parametrize("coding", ["", "gzip"])
def test_one_meaning_for_every_check(world: Gated, body: bytes, coding: str) -> None:
    sent = gzip.compress(body) if coding else body
    reply = world.ask(world.token(), "/v1/responses", sent, headers={"content-encoding": coding})
    assert reply.status == 404


def test_a_forms_field_has_bounds_too(world: Gated) -> None:
    """Some fields are JSON (`session`), and are read as such."""
    part = b'--b\r\nContent-Disposition: form-data; name="session"\r\n\r\n'
    form = part + b"[" + b"{}," * 100_000 + b"{}]\r\n--b--\r\n"
    world.context.configure(world.runtime, llm_endpoints=["realtime_calls"])
    headers = {"content-type": "multipart/form-data; boundary=b", "content-length": str(len(form))}
    reply = world.ask(world.token({"models": ["gpt-*"]}), "/v1/realtime/calls", form, headers=headers)
    assert (reply.status, reply.code) == (413, "body_too_large")
