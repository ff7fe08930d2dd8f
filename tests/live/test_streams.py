"""Streams reach the client as they come, and each call leaves exactly one event, however it ends."""

from __future__ import annotations

import json
import random
import socket
import ssl
import threading
import time
from collections import Counter
from typing import Any

import httpx
import openai
import pytest
from mitmproxy import version

from tests.live.clients import HELLO, MODEL, chat, http, reverse_sdk, sdk
from tests.live.conftest import REAL_KEY, StartProxy, Tenant, chat_chunks, delta
from tests.live.harness import Proxy, wait_for
from tests.live.upstream import ABORT, Answer, Seen, Upstream, json_answer, stream_answer

WAYS = {
    "connect-h1": sdk,
    "connect-h2": lambda proxy, token: sdk(proxy, token, http2=True),
    "reverse-plain": reverse_sdk,
}

BROKEN_OFF = (openai.APIConnectionError, httpx.TransportError)
"""What the SDK raises within a stream differs from version to version."""


@pytest.mark.parametrize("way", WAYS)
def test_each_piece_arrives_before_the_next_is_sent(
    way: str, proxy: Proxy, tenant: Tenant, upstream: Upstream
) -> None:
    """The upstream sends a piece only after the client has the one before: any buffering would hang."""
    words = ["one ", "two ", "three"]
    received = [threading.Event() for _ in words]
    pieces: list[Any] = []
    for word, event in zip(words, received, strict=True):
        pieces += [delta(word), event]
    upstream.handler = lambda seen: stream_answer([*pieces, *chat_chunks()[3:]])

    seen = []
    with chat(WAYS[way](proxy, tenant.token()[1]), stream=True, timeout=60) as stream:
        for piece in stream:
            if piece.choices and piece.choices[0].delta.content:
                received[len(seen)].set()
                seen.append(piece.choices[0].delta.content)
    assert seen == words
    call = proxy.wait_call()
    assert call["outcome"] == "ok"
    assert call["stream"] is True
    assert call["usage"]["total_tokens"] == 14
    assert call["time_to_first_byte_ms"] <= call["time_to_first_token_ms"] <= call["duration_ms"]


def test_event_of_an_answered_call(proxy: Proxy, tenant: Tenant) -> None:
    token_id, token = tenant.token(metadata={"user_id": "ada", "team": "search"})
    chat(sdk(proxy, token), user="claimed-by-the-client")
    call = proxy.wait_call()
    expected = {
        "schema": 1,
        "type": "llm_proxy_usage",
        "outcome": "ok",
        "status": 200,
        "error": None,
        "method": "POST",
        "host": "api.openai.com",
        "path": "/v1/chat/completions",
        "endpoint": "chat",
        "stream": False,
        "project_id": tenant.project.id,
        "project_name": "acme",
        "token_id": token_id,
        "token_metadata": {"user_id": "ada", "team": "search"},
        "user": {"id": "ada", "source": "token_metadata.user_id"},
        "model": "gpt-4o-mini-2024-07-18",
        "model_requested": "gpt-4o-mini",
        "finish_reasons": ["stop"],
        "response_id": "chatcmpl-1",
        "rate_limit": {"remaining_tokens": 149984},
        "seq": 1,
        "truncated": [],
        "dropped": {},
    }
    assert {name: call.get(name) for name in expected} == expected
    usage = call["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (11, 3, 14)
    assert usage["source"] == "api"
    assert float(call["cost"]["usd"]) == pytest.approx(11 * 0.15e-6 + 3 * 0.60e-6)
    assert call["request"]["body"]["messages"] == HELLO
    assert call["response"]["body"]["choices"][0]["message"]["content"] == "one two three"
    assert call["client"]["ip"] == "127.0.0.1"
    assert call["client"]["sdk"] == f"python/{openai.__version__}"
    assert call["timestamp"].endswith("Z")


@pytest.mark.parametrize("capture", ["none", "request", "response"])
def test_bodies_can_be_left_out(capture: str, start_proxy: StartProxy, tenant: Tenant) -> None:
    proxy = start_proxy(f"llm_capture={capture}")
    chat(sdk(proxy, tenant.token()[1]))
    call = proxy.wait_call()
    assert ("request" in call, "response" in call) == (capture == "request", capture == "response")
    assert call["usage"]["total_tokens"] == 14


def test_client_that_leaves(proxy: Proxy, tenant: Tenant, upstream: Upstream) -> None:
    """The event holds the part that was seen, and counted tokens in place of the usage that never came."""
    never = threading.Event()
    upstream.handler = lambda seen: stream_answer([delta("one "), delta("two "), never])
    with chat(sdk(proxy, tenant.token()[1]), stream=True) as stream:
        pieces = [next(iter(stream)), next(iter(stream))]
    assert pieces
    call = proxy.wait_call()
    never.set()
    assert call["outcome"] == "client_aborted"
    assert call["response"]["body"]["choices"][0]["message"]["content"] == "one two "
    assert call["usage"]["source"] in ("tokenizer", "estimate")
    assert call["usage"]["input_tokens"] > 0
    assert 0 < call["usage"]["output_tokens"] < 10


@pytest.mark.parametrize("http2", [False, True])
def test_upstream_that_breaks_off(http2: bool, proxy: Proxy, tenant: Tenant, upstream: Upstream) -> None:
    upstream.handler = lambda seen: stream_answer([delta("one "), delta("two "), ABORT])
    with pytest.raises(BROKEN_OFF):
        list(chat(sdk(proxy, tenant.token()[1], http2=http2), stream=True))
    call = proxy.wait_call()
    assert call["outcome"] == "upstream_aborted"
    assert call["response"]["body"]["choices"][0]["message"]["content"] == "one two "


def test_upstream_that_is_not_there(start_proxy: StartProxy, tenant: Tenant) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    proxy = start_proxy(upstream_url=f"https://localhost:{port}")
    with pytest.raises(openai.APIStatusError):
        chat(sdk(proxy, tenant.token()[1]))
    call = proxy.wait_call()
    assert call["outcome"] == "upstream_aborted"
    assert call["usage"] is None


def test_error_answers_pass_unchanged(proxy: Proxy, tenant: Tenant, upstream: Upstream) -> None:
    error = {"message": "Slow down.", "type": "requests", "param": None, "code": "rate_limit_exceeded"}
    upstream.handler = lambda seen: json_answer({"error": error}, 429, [("retry-after", "7")])
    with pytest.raises(openai.RateLimitError) as raised:
        chat(sdk(proxy, tenant.token()[1]))
    assert raised.value.response.headers["retry-after"] == "7"
    call = proxy.wait_call()
    assert (call["outcome"], call["status"]) == ("http_error", 429)
    assert call["error"]["code"] == "rate_limit_exceeded"
    assert call["usage"] is None


def test_silent_upstream_is_a_timeout(start_proxy: StartProxy, tenant: Tenant, upstream: Upstream) -> None:
    if version.VERSION.startswith("11."):
        pytest.skip("mitmproxy 11 has no option for the time-out")
    never = threading.Event()
    upstream.handler = lambda seen: stream_answer([delta("one "), never])
    proxy = start_proxy("tcp_timeout=2")
    with pytest.raises(BROKEN_OFF):
        list(chat(sdk(proxy, tenant.token()[1]), stream=True))
    never.set()
    assert proxy.wait_call()["outcome"] == "timeout"


def test_shutdown_with_calls_under_way(proxy: Proxy, tenant: Tenant, upstream: Upstream) -> None:
    never = threading.Event()
    upstream.handler = lambda seen: stream_answer([delta("one "), never])
    _, token = tenant.token()
    streams = [chat(sdk(proxy, token), stream=True) for _ in range(5)]
    for stream in streams:
        next(iter(stream))
    assert proxy.stop() == 0
    never.set()
    calls = proxy.calls()
    assert [call["outcome"] for call in calls] == ["shutdown"] * 5
    assert all(call["response"]["body"]["choices"][0]["message"]["content"] == "one " for call in calls)
    closing = [record for record in proxy.records() if record["type"] == "llm_proxy_writer"]
    assert [record["last_seq"] for record in closing] == [5]


def test_usage_is_found_beyond_the_capture_limit(
    start_proxy: StartProxy, tenant: Tenant, upstream: Upstream
) -> None:
    proxy = start_proxy("llm_capture_limit=65536")
    long = [delta("word " * 200) for _ in range(1000)]
    upstream.handler = lambda seen: stream_answer([*long, *chat_chunks()])
    before = len(list(chat(sdk(proxy, tenant.token()[1]), stream=True)))
    assert before == len(long) + 4  # the usage was not asked for by this client, and is kept from it
    call = proxy.wait_call()
    assert call["usage"]["total_tokens"] == 14
    assert call["usage"]["source"] == "api"
    assert call["dropped"]["response_bytes"] > 500_000
    assert call["truncated"]
    assert len(json.dumps(call)) < 200_000


ABORTS = 300


LONG_BODY = json.dumps({"model": MODEL, "messages": HELLO, "stream": True, "padding": "x" * 20_000}).encode()


def leave(
    proxy: Proxy, token: str, name: str, answered: set[str], *, where: float, reads: int, hard: bool
) -> None:
    """Be a client that leaves: within the upload if `where` is small, else after some pieces of the answer.

    `hard`: with a reset. Who gets any of the answer is among `answered`.
    """
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(LONG_BODY)}\r\n"
        f"X-Client-Request-Id: {name}\r\n\r\n"
    ).encode()
    trust = ssl.create_default_context(cafile=str(proxy.ca_file))
    with socket.create_connection(("127.0.0.1", proxy.port), 30) as raw:
        raw.sendall(b"CONNECT api.openai.com:443 HTTP/1.1\r\nHost: api.openai.com:443\r\n\r\n")
        assert b"200" in raw.recv(4096)
        tls = trust.wrap_socket(raw, server_hostname="api.openai.com")
        tls.sendall(head)
        tls.sendall(LONG_BODY[: int(where * 5 * len(LONG_BODY))])
        if where < 0.3:
            time.sleep(where)
        else:
            got = b""
            while reads and not got.endswith(b"\r\n0\r\n\r\n") and (data := tls.recv(512)):
                got, reads = got + data, reads - 1
                answered.add(name)
        if hard:
            tls.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        tls.close()


@pytest.mark.slow
def test_every_abort_leaves_one_event(proxy: Proxy, tenant: Tenant, upstream: Upstream) -> None:
    """300 clients leave at random points: within the upload, before and within the answer.

    A reset may make the proxy's kernel throw away a request that was sent but not read yet. So one event is
    due for each call that anyone has seen: its client got an answer, or upstream got the request. For the
    others there is at most one.
    """
    rng = random.Random(7)
    words = [delta(f"word{number} ") for number in range(20)]

    def answer(seen: Seen) -> Answer:
        pieces: list[Any] = []
        for word in words:
            pieces += [word, 0.002]
        return stream_answer([0.005, *pieces, *chat_chunks()[3:]])

    upstream.handler = answer
    _, token = tenant.token()
    answered: set[str] = set()
    wait, slots = threading.Lock(), threading.Semaphore(8)

    def abort(number: int) -> None:
        with wait:
            where, reads, hard = rng.random(), rng.randrange(1, 25), rng.random() < 0.5
        with slots:
            leave(proxy, token, f"abort-{number}", answered, where=where, reads=reads, hard=hard)

    threads = [threading.Thread(target=abort, args=(number,)) for number in range(ABORTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    wait_for(lambda: proxy.process.num_fds() < 60, "every connection is closed")
    due = answered | {seen.header("x-client-request-id") for seen in upstream.requests}

    def by_client() -> Counter[str]:
        return Counter(call["request"]["headers"]["x-client-request-id"] for call in proxy.calls())

    wait_for(lambda: due <= by_client().keys(), "an event of every call that was seen", 120)
    proxy.stop()
    calls = proxy.calls()
    assert len(due) > ABORTS * 0.6
    assert set(by_client().values()) == {1}
    assert len({call["event_id"] for call in calls}) == len(calls)
    assert any(call["status"] is None for call in calls), "none left before its answer"
    outcomes = {call["outcome"] for call in calls}
    assert "client_aborted" in outcomes
    assert outcomes <= {"client_aborted", "ok"}
    partial = [call for call in calls if call["status"] == 200 and call["outcome"] == "client_aborted"]
    assert partial
    assert all(call["usage"]["source"] in ("tokenizer", "estimate") for call in partial)


def test_multipart_upload_is_passed_on(proxy: Proxy, tenant: Tenant, upstream: Upstream) -> None:
    upstream.handler = lambda seen: json_answer(
        {"text": "hello there", "usage": {"type": "duration", "seconds": 3}}
        if seen.header("authorization") == f"Bearer {REAL_KEY}"
        else {}
    )
    client = sdk(proxy, tenant.token()[1])
    answer = client.audio.transcriptions.create(model="gpt-4o-transcribe", file=("a.wav", b"RIFF" * 100_000))
    assert answer.text == "hello there"
    assert upstream.requests[-1].body.count(b"RIFF") == 100_000
    call = proxy.wait_call("transcriptions")
    assert call["model_requested"] == "gpt-4o-transcribe"
    assert call["usage"]["seconds"] == 3


def test_get_through_the_proxy(proxy: Proxy, tenant: Tenant) -> None:
    with http(proxy) as client:
        answer = client.get(
            "https://api.openai.com/v1/models", headers={"authorization": f"Bearer {tenant.token()[1]}"}
        )
    assert answer.status_code == 200
    call = proxy.wait_call()
    assert (call["endpoint"], call["usage"], call["method"]) == ("models", None, "GET")
