"""What becomes of an answer whose client has left: cancelled, or read on to its usage."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import h2.config
import h2.connection
import httpx
import openai
import pytest

from tests.live.clients import HELLO, MODEL, chat, reverse_sdk, sdk
from tests.live.conftest import Running, chat_chunks, delta
from tests.live.harness import wait_for
from tests.live.upstream import ABORT, Answer, Seen, Upstream, json_answer, stream_answer

DRAIN = "llm_on_abort=drain"


class Paused:
    """An upstream that sends the first word, and the rest when the test lets it go on."""

    def __init__(self, upstream: Upstream, *rest: Any) -> None:
        self.go_on = threading.Event()
        self.answer = [delta("one "), self.go_on, *(rest or chat_chunks()[1:])]
        upstream.handler = lambda seen: stream_answer(self.answer)


@contextmanager
def left(running: Running) -> Iterator[None]:
    """The end of the block is reached once the proxy has noticed that a client's connection has ended."""
    before = running.proxy.output.count("client disconnect")
    yield
    wait_for(lambda: running.proxy.output.count("client disconnect") > before, "the client's leave")


def begin(client: openai.OpenAI, **settings: Any) -> None:
    """Begin a stream, take its first chunk, and leave with the whole connection."""
    assert next(iter(chat(client, stream=True, **settings))).choices[0].delta.content == "one "
    client.close()


class Http2:
    """A client of HTTP/2 in the test's own hands: httpx never resets a stream."""

    def __init__(self, running: Running) -> None:
        self.running = running
        raw = socket.create_connection(("127.0.0.1", running.proxy.port), 30)
        raw.sendall(b"CONNECT api.openai.com:443 HTTP/1.1\r\nHost: api.openai.com:443\r\n\r\n")
        assert b"200" in raw.recv(4096)
        trust = ssl.create_default_context(cafile=str(running.proxy.ca_file))
        trust.set_alpn_protocols(["h2"])
        self.socket = trust.wrap_socket(raw, server_hostname="api.openai.com")
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.h2.initiate_connection()

    def begin(self) -> int:
        """Begin a call, wait for its first word; gives the stream's number."""
        body = json.dumps({"model": MODEL, "messages": HELLO, "stream": True}).encode()
        stream = self.h2.get_next_available_stream_id()
        headers = {":method": "POST", ":scheme": "https", ":authority": "api.openai.com"}
        headers |= {":path": "/v1/chat/completions", "content-length": str(len(body))}
        headers |= {"content-type": "application/json", "authorization": f"Bearer {self.running.token}"}
        self.h2.send_headers(stream, list(headers.items()))
        self.h2.send_data(stream, body, end_stream=True)
        self.flush()
        received = b""
        while b"one " not in received:
            data = self.socket.recv(65536)
            assert data
            received += data
            self.h2.receive_data(data)
            self.flush()
        return stream

    def flush(self) -> None:
        self.socket.sendall(self.h2.data_to_send())

    def reset(self, stream: int) -> None:
        self.h2.reset_stream(stream, 8)  # CANCEL
        self.flush()

    def close(self) -> None:
        self.socket.close()


@pytest.fixture(scope="module")
def draining(start_shared: Callable[..., Running]) -> Running:
    return start_shared(DRAIN, "llm_drain_calls=2")


@pytest.fixture(scope="module")
def impatient(start_shared: Callable[..., Running]) -> Running:
    return start_shared(DRAIN, "llm_drain_seconds=1")


def drained(call: dict[str, Any]) -> bool:
    """Whether `call` was read on to its end; the rest of its event has to say the same."""
    assert call["outcome"] == "client_aborted"
    assert call["usage"]["output_tokens"] > 0
    assert (call["usage"]["source"] == "api") is call["drained"]
    assert (call["truncated"] == []) is call["drained"]
    return bool(call["drained"])


@pytest.mark.parametrize("way", [sdk, reverse_sdk])
def test_http1_client_that_closes(way: Callable[..., openai.OpenAI], draining: Running) -> None:
    paused = Paused(draining.upstream)
    with left(draining):
        begin(way(draining.proxy, draining.token))
    paused.go_on.set()
    call = draining.events(1)[0]
    assert drained(call)
    assert (call["status"], call["usage"]["total_tokens"]) == (200, 14)
    assert call["response"]["body"]["choices"][0]["message"]["content"] == "one two three"


def test_http2_client_that_resets_then_closes(draining: Running) -> None:
    """The stream's drain is not bound to the connection, nor disturbed by others on it."""
    client = Http2(draining)
    paused = Paused(draining.upstream)
    client.reset(client.begin())
    first, paused = paused, Paused(draining.upstream)
    second = client.begin()
    first.go_on.set()
    assert drained(draining.events(1)[0])
    client.reset(second)
    paused.go_on.set()
    assert drained(draining.events(1)[0])
    paused = Paused(draining.upstream)
    with left(draining):
        client.begin()
        client.close()
    paused.go_on.set()
    assert drained(draining.events(1)[0])


def test_leave_before_the_answer_begins(draining: Running) -> None:
    """For a stream and for an answer in one piece."""
    go_on = threading.Event()
    whole = {"object": "chat.completion", "model": MODEL, "choices": []}
    whole["usage"] = {"prompt_tokens": 4, "completion_tokens": 5, "total_tokens": 9}

    def slow(seen: Seen) -> Answer:
        assert go_on.wait(30)
        return stream_answer(chat_chunks()) if seen.json.get("stream") else json_answer(whole)

    draining.upstream.handler = slow
    for stream, total in ((True, 14), (False, 9)):
        go_on.clear()
        before = len(draining.upstream.requests)
        client = reverse_sdk(draining.proxy, draining.token)
        with left(draining), pytest.raises(openai.APITimeoutError):
            chat(client, stream=stream, timeout=httpx.Timeout(60, read=0.5))
        assert len(draining.upstream.requests) == before + 1
        go_on.set()
        call = draining.events(1)[0]
        assert drained(call)
        assert call["usage"]["total_tokens"] == total


def test_bounded_in_number_and_to_what_has_usage(draining: Running) -> None:
    paused = Paused(draining.upstream)

    def leave(**settings: Any) -> None:
        with left(draining):
            begin(reverse_sdk(draining.proxy, draining.token), **settings)

    leave(stream_options={"include_usage": False})
    assert not drained(draining.events(1)[0])
    for _ in range(3):
        leave()
    assert not drained(draining.events(1)[0]), "the third is one too many"
    wait_for(lambda: "are read on already" in draining.proxy.output, "a word on it")
    paused.go_on.set()
    assert [drained(call) for call in draining.events(2)] == [True, True]
    paused.go_on.clear()
    leave()
    paused.go_on.set()
    assert drained(draining.events(1)[0]), "a place is free again"


def test_upstream_that_breaks_off_meanwhile(draining: Running) -> None:
    paused = Paused(draining.upstream, delta("two "), ABORT)
    with left(draining):
        begin(reverse_sdk(draining.proxy, draining.token))
    paused.go_on.set()
    call = draining.events(1)[0]
    assert not drained(call)
    assert call["response"]["body"]["choices"][0]["message"]["content"] == "one two "


def test_what_is_pipelined_behind_the_request_is_not_served(draining: Running) -> None:
    """It would be for nobody."""
    paused = Paused(draining.upstream)
    before = len(draining.upstream.requests)
    body = json.dumps({"model": MODEL, "messages": HELLO, "stream": True})
    request = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {draining.token}\r\ncontent-length: {len(body)}\r\n\r\n{body}"
    ).encode()
    with left(draining), socket.create_connection(("127.0.0.2", draining.proxy.reverse_port)) as raw:
        raw.sendall(request + request)
        assert b"200" in raw.recv(4096)
    paused.go_on.set()
    assert drained(draining.events(1)[0])
    paused.go_on.clear()
    with left(draining):
        begin(reverse_sdk(draining.proxy, draining.token))
    paused.go_on.set()
    assert drained(draining.events(1)[0])
    assert len(draining.upstream.requests) == before + 2


def test_cancelled_before_the_answer_begins(start_shared: Callable[..., Running]) -> None:
    """Without a drain, what was asked is counted."""
    running = start_shared()
    asked, never = threading.Event(), threading.Event()

    def silent(seen: Seen) -> Answer:
        asked.set()
        never.wait(30)
        return stream_answer([])

    running.upstream.handler = silent
    with left(running), pytest.raises(openai.APITimeoutError):
        chat(reverse_sdk(running.proxy, running.token), stream=True, timeout=httpx.Timeout(60, read=2))
    call = running.events(1)[0]
    never.set()
    assert asked.is_set()
    assert (call["outcome"], call["status"], call["drained"]) == ("client_aborted", None, False)
    assert call["usage"]["input_tokens"] > 0
    assert call["usage"]["output_tokens"] is None


def test_nothing_is_left_over(draining: Running) -> None:
    assert wait_for(lambda: draining.proxy.process.num_fds() < 60, "every connection is closed")


def test_bounded_in_time(impatient: Running) -> None:
    """An upstream that never goes on: the call is cancelled after the time, and counted."""
    Paused(impatient.upstream)
    begin(reverse_sdk(impatient.proxy, impatient.token))
    client = Http2(impatient)
    client.reset(client.begin())
    calls = impatient.events(2)
    assert [drained(call) for call in calls] == [False, False]
    assert all(900 < call["duration_ms"] < 15_000 for call in calls)
    client.close()


def test_shutdown_cuts_drains_short(impatient: Running) -> None:
    """The last of this proxy's tests."""
    Paused(impatient.upstream)
    with left(impatient):
        begin(reverse_sdk(impatient.proxy, impatient.token))
    assert impatient.proxy.stop() == 0
    assert not drained(impatient.events(1)[0])
