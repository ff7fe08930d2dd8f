"""What clients get when upstream gives no answer: OpenAI's error object, soon, and no address."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import openai
import pytest

from tests.live.clients import CHAT_URL, HELLO, MODEL, authorised, chat, http, reverse_sdk
from tests.live.conftest import Running, chat_chunks
from tests.live.harness import wait_for
from tests.live.upstream import Answer, Seen, Upstream, json_answer, stream_answer


@pytest.fixture(scope="module")
def running(start_shared: Callable[..., Running]) -> Iterator[Running]:
    running = start_shared("llm_answer_timeout=3", "llm_cors_origins=https://*.example.com")
    yield running
    print(running.proxy.output)  # shown where a test fails


@contextmanager
def answering(upstream: Upstream, handler: Callable[[Seen], Answer]) -> Iterator[None]:
    before, upstream.handler = upstream.handler, handler
    try:
        yield
    finally:
        upstream.handler = before


def closing(_: Seen) -> Answer:
    raise ConnectionAbortedError


def ask(running: Running, *, http2: bool) -> httpx.Response:
    request: dict[str, Any] = {"json": {"model": MODEL, "messages": HELLO}}
    with http(running.proxy, http2=http2) as client:
        answer = client.post(CHAT_URL, headers=authorised(running.token), **request)
    assert answer.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
    return answer


def check(running: Running, answer: httpx.Response, status: int, code: str, retry: str) -> None:
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["type"]) == (status, code, "server_error")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-should-retry"] == retry
    assert answer.headers["x-request-id"].startswith("req_")
    for address in ("127.0.0.1", "localhost", str(running.upstream.port), "mitmproxy"):
        assert address not in answer.text + str(answer.headers)


def test_pages_in_browsers_read_answers_refusals_and_failures(running: Running) -> None:
    page = {"origin": "https://app.example.com"}
    asks = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    before = running.upstream.connections
    with httpx.Client() as client:
        preflight = client.options(running.url, headers={**page, **asks})
        assert (preflight.status_code, preflight.content) == (204, b"")
        assert preflight.headers["access-control-allow-headers"] == "authorization"
        elsewhere = client.options(running.url, headers={"origin": "https://evil.com", **asks})
        assert elsewhere.status_code == 403
        assert running.upstream.connections == before
        request: dict[str, Any] = {"json": {"model": MODEL, "messages": HELLO}}
        token = authorised(running.token)
        answers = [client.post(running.url, headers={**page, **token}, **request)]
        answers.append(client.post(running.url, headers=page, **request))
        with answering(running.upstream, closing):
            answers.append(client.post(running.url, headers={**page, **token}, **request))
    assert [answer.status_code for answer in answers] == [200, 401, 502]
    for answer in [preflight, *answers]:
        assert answer.headers["access-control-allow-origin"] == page["origin"]
        assert "x-llmproxy-request-id" in answer.headers["access-control-expose-headers"]
    assert "access-control-allow-origin" not in elsewhere.headers
    outcomes = [call["outcome"] for call in running.events(3)]
    assert outcomes == ["ok", "refused", "upstream_aborted"], "preflights are no calls"


@pytest.mark.parametrize("http2", [False, True])
def test_upstream_that_closes_without_an_answer(http2: bool, running: Running) -> None:
    with answering(running.upstream, closing):
        answer = ask(running, http2=http2)
    check(running, answer, 502, "upstream_closed", "true")
    call = running.events(1)[0]
    assert (call["outcome"], call["error"]["code"]) == ("upstream_aborted", "upstream_closed")


@pytest.mark.parametrize("http2", [False, True])
def test_upstream_that_never_answers(http2: bool, running: Running) -> None:
    go_on = threading.Event()

    def silent(_: Seen) -> Answer:
        go_on.wait(60)
        return json_answer({})

    with answering(running.upstream, silent):
        answer = ask(running, http2=http2)
    go_on.set()
    check(running, answer, 504, "upstream_timeout", "false")
    call = running.events(1)[0]
    assert (call["outcome"], call["error"]["code"]) == ("timeout", "upstream_timeout")


def test_an_answer_that_has_begun_may_take_longer(running: Running) -> None:
    with (
        answering(running.upstream, lambda _: stream_answer([*chat_chunks()[:1], 4.0, *chat_chunks()[1:]])),
        reverse_sdk(running.proxy, running.token) as client,
    ):
        assert len(list(chat(client, stream=True))) == len(chat_chunks()) - 2  # usage and [DONE] are ours
    assert running.events(1)[0]["outcome"] == "ok"


def test_upstream_that_cannot_be_reached(running: Running) -> None:
    """The last test: the upstream is gone after it."""
    running.upstream.stop()
    wait_for(lambda: not running.upstream._loop.is_running(), "the end of the upstream")
    check(running, ask(running, http2=False), 502, "upstream_unreachable", "true")
    with (
        reverse_sdk(running.proxy, running.token) as client,
        pytest.raises(openai.InternalServerError, match="could not be reached"),
    ):
        chat(client)
    assert {call["error"]["code"] for call in running.events(2)} == {"upstream_unreachable"}


def test_an_upstream_that_fails_again_and_again_is_left_alone(start_shared: Callable[..., Running]) -> None:
    running = start_shared("llm_circuit_breaker=2/5s")
    request: dict[str, Any] = {"json": {"model": MODEL, "messages": HELLO}}
    with httpx.Client(headers=authorised(running.token)) as client:
        with answering(running.upstream, closing):
            failed = [client.post(running.url, **request).status_code for _ in range(2)]
            before = running.upstream.connections
            refused = client.post(running.url, **request)
        assert failed == [502, 502]
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "upstream_circuit_open")
        assert refused.headers["retry-after"] in ("4", "5")
        assert running.upstream.connections == before
        wait_for(lambda: client.post(running.url, **request).status_code == 200, "calls pass again")
        assert client.post(running.url, **request).status_code == 200
