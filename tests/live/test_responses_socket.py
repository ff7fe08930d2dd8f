"""Responses over a WebSocket through a real proxy, with the openai SDK as the client."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
import trustme
from openai.resources.responses.responses import ResponsesConnection
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from store.tokens.amounts import Budget
from store.tokens.limits import Limits
from tests.live.clients import socket_trust
from tests.live.conftest import REAL_KEY, StartProxy, Tenant
from tests.live.harness import Proxy, wait_for
from tests.live.responses_server import ResponsesServer
from tests.live.test_realtime import ended, sessions, start, until

MODEL, OTHER = "gpt-4o-mini", "gpt-4.1-mini"
FRAMES = int(os.environ.get("LLMPROXY_RESPONSES_FRAMES", "600"))
"""By hand: LLMPROXY_RESPONSES_FRAMES=10000 pytest tests/live/test_responses_socket.py -k memory"""


@pytest.fixture
def server(authority: trustme.CA) -> Iterator[ResponsesServer]:
    with ResponsesServer(authority.issue_cert("localhost")).running() as running:
        assert isinstance(running, ResponsesServer)
        yield running


@contextlib.contextmanager
def socket(proxy: Proxy, token: str) -> Iterator[Any]:
    """The SDK's connection by the reverse listener."""
    client = openai.OpenAI(api_key=token, base_url=f"{proxy.reverse_url}/v1", max_retries=0)
    with client.responses.connect(websocket_connection_options={"proxy": None}) as connection:
        yield connection


def ask(connection: ResponsesConnection, do: str = "completed", **more: Any) -> None:
    event = {"type": "response.create", "model": MODEL, "input": "hello", "metadata": {"do": do}, **more}
    connection.send(event)  # type: ignore[arg-type]


def code(event: Any) -> Any:
    """Of an `error` event; the SDK for Python 3.11 does not know its form."""
    error = getattr(event, "error", event)
    return error["code"] if isinstance(error, dict) else error.code


def test_many_requests_on_one_socket(
    start_proxy: StartProxy, tenant: Tenant, server: ResponsesServer
) -> None:
    """By HTTPS_PROXY: each request with its own model, each with an event of its own, however it ends."""
    saved = tenant.store.path.parent / "flows"
    proxy = start(start_proxy, server, f"save_stream_file={saved}", "termlog_verbosity=debug")
    token_id, token = tenant.token()
    trust = socket_trust(proxy.ca_file)
    client = openai.OpenAI(api_key=token, max_retries=0)
    through: Any = {"proxy": proxy.url, "ssl": trust}
    with client.responses.connect(websocket_connection_options=through) as connection:
        for do, kind in (
            ("completed", "response.completed"),
            ("failed", "response.failed"),
            ("incomplete", "response.incomplete"),
            ("error", "error"),
        ):
            before = None if do == "completed" else "resp_1"
            more = {"service_tier": "scale"} if do == "completed" else {}
            ask(connection, do, model=OTHER if do == "failed" else MODEL, previous_response_id=before, **more)
            until(connection, kind)
    assert server.handshakes[0]["authorization"] == f"Bearer {REAL_KEY}"
    calls = proxy.wait_calls(4)
    session = wait_for(lambda: sessions(proxy), "the session's record")[0]
    assert [call["response_id"] for call in calls] == ["resp_1", "resp_2", "resp_3", None]
    assert [call["model_requested"] for call in calls] == [MODEL, OTHER, MODEL, MODEL]
    assert [call["outcome"] for call in calls] == ["ok", "http_error", "ok", "http_error"]
    assert [(call["usage"] or {}).get("total_tokens") for call in calls[:3]] == [17, 17, 17]
    assert calls[3]["error"]["code"] == "previous_response_not_found"
    assert all(float(call["cost"]["usd"]) > 0 for call in calls[:3])
    assert [call["cost"].get("reason") for call in calls[:3]] == ["lower_bound", None, None], (
        "no tier is named"
    )
    assert calls[0]["response"]["body"]["output"][0]["content"][0]["text"] == "one two three"
    assert calls[0]["request"]["body"]["input"] == "hello"
    assert {call["request_id"] for call in calls} == {session["event_id"]}
    assert {call["token_id"] for call in (*calls, session)} == {token_id}
    assert {call["endpoint"] for call in (*calls, session)} == {"responses"}
    assert (session["responses"], session["totals"]["total_tokens"]) == (4, 51)
    wait_for(lambda: tenant.store.get_token(token_id).request_count == 4, "each request counted once")
    proxy.stop()
    closing = proxy.records()[-1]
    assert (closing["opened"], closing["unrecorded"]) == (5, 0)
    spool = b"".join(file.read_bytes() for file in proxy.spool.glob("*.jsonl"))
    for place in (proxy.output.encode(), saved.read_bytes(), spool):
        assert REAL_KEY.encode() not in place
        assert token.encode() not in place


def test_lanes_and_steering(start_proxy: StartProxy, tenant: Tenant, server: ResponsesServer) -> None:
    """Answers side by side (`stream_id`), and one that the server begins by itself."""
    proxy = start(start_proxy, server)
    token_id, token = tenant.token(max_requests=10)
    with socket(proxy, token) as connection:
        ask(connection, "hold", stream_id="a", input="first")
        until(connection, "response.output_text.delta")
        ask(connection, "completed", stream_id="b", model=OTHER, input="second")
        until(connection, "response.completed")
        until(connection, "response.completed")
        ask(connection, "hang", stream_id="a", input="third")
        third = until(connection, "response.created").response.id
        connection.send({"type": "response.steer", "previous_response_id": third, "input": "more"})
        until(connection, "response.incomplete")
        until(connection, "response.completed")
    second, first, third, steered = proxy.wait_calls(4)
    assert (second["model"], second["request"]["body"]["input"]) == (OTHER, "second")
    assert (first["model"], first["request"]["body"]["input"]) == (MODEL, "first")
    assert third["request"]["body"]["input"] == "third"
    assert steered["request"]["body"]["type"] == "response.steer"
    assert steered["previous_response_id"] == third["response_id"]
    assert len({call["response_id"] for call in (first, second, third, steered)}) == 4
    assert tenant.store.get_token(token_id).request_count == 4


def test_a_refused_request_leaves_the_socket_alive(
    start_proxy: StartProxy, tenant: Tenant, server: ResponsesServer
) -> None:
    proxy = start(start_proxy, server, f"llm_models={MODEL}")
    token_id, token = tenant.token(max_requests=2)
    with socket(proxy, token) as connection:

        def refused(**more: Any) -> Any:
            ask(connection, **more)
            return until(connection, "error")

        wrong = refused(model=OTHER, stream_id="lane")
        assert (code(wrong), wrong.status, wrong.stream_id) == ("model_not_found", 404, "lane")
        assert code(refused(model=None, prompt={"id": "pmpt_1"})) == "model_not_found"
        assert (
            code(refused(tools=[{"type": "image_generation", "model": "gpt-image-1"}])) == "model_not_found"
        )
        assert code(refused(type="session.update")) == "event_not_allowed"
        for text in ('{"type": "response.create", "model": "x", "model": "gpt-4o-mini"}', "hello", "[]"):
            connection.send_raw(text)
            assert code(until(connection, "error")) == "event_not_allowed"
        for _ in range(2):
            ask(connection)
            until(connection, "response.completed")
        spent = refused()
        assert (code(spent), spent.status) == ("insufficient_quota", 429)
        assert code(refused()) == "insufficient_quota", "the socket is still there"
    assert len(server.seen) == 2
    assert tenant.store.get_token(token_id).request_count == 2
    calls = proxy.wait_calls(8)
    assert [call["outcome"] for call in calls] == [*["refused"] * 4, "ok", "ok", "refused", "refused"]
    assert [calls[0]["status"], calls[0]["error"]["code"]] == [404, "model_not_found"]
    session = wait_for(lambda: sessions(proxy), "the session's record")[0]
    assert (session["refused_frames"], session["responses"]) == (9, 2)


def test_a_budget_holds_within_a_socket(
    start_proxy: StartProxy, tenant: Tenant, server: ResponsesServer
) -> None:
    """Each request holds what it may use at most, about 280 tokens; it uses 17, and the rest comes back."""
    proxy = start(start_proxy, server)
    limits = Limits(budgets=(Budget("tokens", "total", 340),), budget_mode="strict")
    _, token = tenant.token(limits=limits)
    answers: list[str] = []
    with socket(proxy, token) as connection:
        for number in range(1, 9):
            ask(connection, max_output_tokens=16)
            while (event := connection.recv()).type not in ("response.completed", "error"):
                pass
            answers.append(event.type if event.type != "error" else code(event))
            proxy.wait_calls(number)
    assert answers[0] == "response.completed"
    assert set(answers) == {"response.completed", "insufficient_quota"}
    assert len(server.seen) == answers.count("response.completed") <= 4


def test_who_leaves_within_an_answer_pays_for_the_most(
    start_proxy: StartProxy, tenant: Tenant, server: ResponsesServer
) -> None:
    """Under `expected` an answer holds less than it may use; what it did use nobody knows."""
    proxy = start(start_proxy, server)
    token_id, token = tenant.token(limits=Limits(budgets=(Budget("tokens", "total", 10**6),)))
    with socket(proxy, token) as connection:
        ask(connection, max_output_tokens=5_000)
        until(connection, "response.completed")
        ask(connection, "hang", max_output_tokens=5_000)
        until(connection, "response.output_text.delta")

    def spent() -> int:
        sql = "SELECT sum(tokens) FROM spend WHERE subject = ? AND period = 'total'"
        with contextlib.closing(sqlite3.connect(proxy.store)) as connection:
            return int(connection.execute(sql, [token_id]).fetchone()[0] or 0)

    assert wait_for(lambda: spent() > 17 and spent(), "both are settled") > 5_000


def test_the_length_of_an_answer(start_proxy: StartProxy, tenant: Tenant, server: ResponsesServer) -> None:
    """A token with a cap opens a socket; each event is held against it, or gets it written in."""
    proxy = start(start_proxy, server)
    _, token = tenant.token(limits=Limits(max_output_tokens=50))
    with socket(proxy, token) as connection:
        ask(connection)
        until(connection, "response.completed")
        ask(connection, max_output_tokens=51)
        assert code(until(connection, "error")) == "max_output_tokens_exceeded"
        ask(connection, max_output_tokens=50)
        until(connection, "response.completed")
    assert [event["max_output_tokens"] for event in server.seen] == [50, 50]


def test_answers_belong_to_who_asked(
    start_proxy: StartProxy, tenant: Tenant, server: ResponsesServer
) -> None:
    """Both projects have the same key; an answer of one is unknown to the other, in the API's words."""
    proxy = start(start_proxy, server)
    other = tenant.store.create_project("other", REAL_KEY)
    _, text = tenant.store.create_token(other.id)
    with socket(proxy, tenant.token()[1]) as mine, socket(proxy, text.reveal()) as theirs:
        ask(mine)
        made = until(mine, "response.completed").response
        ask(theirs, previous_response_id=made.id)
        error = until(theirs, "error")
        assert (code(error), error.status) == ("previous_response_not_found", 404)
        connection = [{"type": "item_reference", "id": made.output[0].id}]
        ask(theirs, input=connection, stream_id="a")
        assert code(until(theirs, "error")) is None, "the API names no code for it"
        theirs.send({"type": "response.steer", "previous_response_id": made.id, "input": "more"})
        assert code(until(theirs, "error")) == "previous_response_not_found"
        ask(theirs)
        until(theirs, "response.completed")
        ask(mine, previous_response_id=made.id, input=connection)
        until(mine, "response.completed")
    assert [event.get("previous_response_id") for event in server.seen] == [None, None, made.id]


def test_revocation_ends_a_running_session(
    start_proxy: StartProxy, tenant: Tenant, server: ResponsesServer
) -> None:
    proxy = start(start_proxy, server)
    token_id, token = tenant.token()
    with socket(proxy, token) as connection:
        ask(connection, "hang")
        until(connection, "response.output_text.delta")
        begun = time.monotonic()
        tenant.store.revoke_token(token_id)
        error, closed = ended(connection)
        took = time.monotonic() - begun
    print(f"ended after {took:.2f} s")
    assert code(error) == "invalid_api_key"
    assert closed.rcvd
    assert (closed.rcvd.code, closed.rcvd.reason.partition(":")[0]) == (1008, "invalid_api_key")
    wait_for(lambda: server.closed, "upstream was closed too")
    (call,) = proxy.wait_calls(1)
    assert (call["outcome"], call["usage_missing_code"]) == ("shutdown", "cut")


def test_changed_limits_hold_within_a_running_session(
    start_proxy: StartProxy, tenant: Tenant, server: ResponsesServer
) -> None:
    proxy = start(start_proxy, server)
    token_id, token = tenant.token()
    with socket(proxy, token) as connection:
        ask(connection)
        until(connection, "response.completed")
        tenant.store.update_token(token_id, limits=Limits(models=(OTHER,)))

        def refused() -> bool:
            ask(connection)
            while (event := connection.recv()).type not in ("response.completed", "error"):
                pass
            return event.type == "error" and code(event) == "model_not_found"

        wait_for(refused, "the new list of models")
        ask(connection, model=OTHER)
        until(connection, "response.completed")
        tenant.store.update_token(token_id, limits=Limits(endpoints=("chat",)))
        error, closed = ended(connection)
    assert code(error) == "endpoint_not_allowed"
    assert closed.rcvd
    assert closed.rcvd.code == 1008


def test_a_killed_proxy_leaves_an_event_for_each_request(
    start_proxy: StartProxy, tenant: Tenant, server: ResponsesServer
) -> None:
    proxy = start(start_proxy, server)
    with contextlib.suppress(ConnectionClosed), socket(proxy, tenant.token()[1]) as connection:
        ask(connection, "hang")
        until(connection, "response.output_text.delta")
        proxy.kill()
    start(start_proxy, server)
    (died,) = proxy.wait_calls(1)
    assert (died["outcome"], died["endpoint"], died["model"]) == ("proxy_died", "responses", MODEL)
    assert died["usage"]["input_tokens"] is not None


def test_no_more_requests_wait_than_can_be_kept(
    start_proxy: StartProxy, tenant: Tenant, server: ResponsesServer
) -> None:
    """A server that does not answer, and a client that goes on asking."""
    proxy = start(start_proxy, server)
    server._create = lambda *_: None  # type: ignore[method-assign]
    with socket(proxy, tenant.token()[1]) as connection:
        for _ in range(101):
            ask(connection)
        assert code(until(connection, "error")) == "too_many_waiting"
    calls = proxy.wait_calls(101)
    assert [call["outcome"] for call in calls].count("refused") == 1


def test_memory_of_many_requests(start_proxy: StartProxy, tenant: Tenant, server: ResponsesServer) -> None:
    proxy = start(start_proxy, server, "flow_detail=0", "llm_capture=none")
    url = f"ws://127.0.0.2:{proxy.reverse_port}/v1/responses"
    bearer = {"authorization": f"Bearer {tenant.token()[1]}"}
    text = "hello " * 2000
    with connect(url, additional_headers=bearer, proxy=None) as raw:

        def exchange(requests: int) -> None:
            for number in range(requests):
                event = {"type": "response.create", "model": MODEL, "stream_id": f"{number}", "input": text}
                raw.send(json.dumps(event))
                while '"response.completed"' not in raw.recv():
                    pass

        exchange(200)
        before = proxy.rss()
        exchange(FRAMES)
        rose = proxy.rss() - before
        server.seen.clear()
    print(f"{FRAMES} requests: RSS rose by {rose / 2**20:.1f} MiB from {before / 2**20:.1f} MiB")
    # Kept, their requests alone would be 7 MB.
    assert rose < 5 * 2**20
