"""Realtime sessions through a real proxy, with the openai SDK as the client: gated, recorded, ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import openai
import pytest
import trustme
from openai.resources.realtime.realtime import RealtimeConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from store.tokens import limits
from tests.live.clients import socket_trust
from tests.live.conftest import REAL_KEY, StartProxy, Tenant
from tests.live.harness import SCRIPT, Proxy, wait_for
from tests.live.realtime_server import MINTED, SOUND, TRANSCRIBER, RealtimeServer

MODEL = "gpt-realtime"
MESSAGES = int(os.environ.get("LLMPROXY_REALTIME_MESSAGES", "3000"))
"""By hand: LLMPROXY_REALTIME_MESSAGES=50000 pytest tests/live/test_realtime.py -k memory"""


@pytest.fixture
def server(authority: trustme.CA) -> Iterator[RealtimeServer]:
    with RealtimeServer(authority.issue_cert("localhost")).running() as running:
        yield running


def start(start_proxy: StartProxy, server: RealtimeServer, *options: str, **settings: Any) -> Proxy:
    return start_proxy(*options, upstream_url=server.base_url, **settings)


@contextlib.contextmanager
def session(proxy: Proxy, token: str, model: str = MODEL) -> Iterator[RealtimeConnection]:
    client = openai.OpenAI(api_key=token, base_url=f"{proxy.reverse_url}/v1", max_retries=0)
    with client.realtime.connect(model=model, websocket_connection_options={"proxy": None}) as connection:
        assert connection.recv().type == "session.created"
        yield connection


def until(connection: RealtimeConnection, kind: str) -> Any:
    while (event := connection.recv()).type != kind:
        pass
    return event


def respond(connection: RealtimeConnection, do: str = "completed") -> None:
    connection.response.create(response={"metadata": {"do": do}})


def ended(connection: RealtimeConnection) -> tuple[Any, ConnectionClosed]:
    """The error event, and how the session was closed after it."""
    error = until(connection, "error").error
    with pytest.raises(ConnectionClosed) as caught:
        until(connection, "nothing of this type")
    return error, caught.value


def sessions(proxy: Proxy) -> list[dict[str, Any]]:
    return [record for record in proxy.records() if record["type"] == "llm_proxy_session"]


def test_a_session(start_proxy: StartProxy, tenant: Tenant, server: RealtimeServer) -> None:
    saved = tenant.store.path.parent / "flows"
    proxy = start(start_proxy, server, f"save_stream_file={saved}", "termlog_verbosity=debug")
    token_id, token = tenant.token()
    with session(proxy, token) as connection:
        connection.input_audio_buffer.append(audio=SOUND)
        connection.input_audio_buffer.commit()
        heard = until(connection, "conversation.item.input_audio_transcription.completed")
        assert heard.transcript == "hello there"
        for status in ("completed", "cancelled", "incomplete", "failed"):
            respond(connection, status)
            assert until(connection, "response.done").response.status == status
        respond(connection, "interleave")
        until(connection, "response.done")
        until(connection, "response.done")
        connection.input_audio_buffer.append(audio=SOUND)  # the last message stays in the flow
    assert server.handshakes[0]["authorization"] == f"Bearer {REAL_KEY}"
    calls = proxy.wait_calls(7)
    ended = wait_for(lambda: sessions(proxy), "the session's record")[0]
    assert [call["model"] for call in calls] == [TRANSCRIBER, *[MODEL] * 6]
    assert [call["usage"]["total_tokens"] for call in calls] == [22, *[100] * 6]
    assert all(float(call["cost"]["usd"]) > 0 for call in calls)
    assert len({call["response_id"] for call in calls}) == len({call["event_id"] for call in calls}) == 7
    assert {call["request_id"] for call in calls} == {ended["event_id"]}
    assert {call["token_id"] for call in (*calls, ended)} == {token_id}
    assert calls[1]["request"]["body"]["response"]["metadata"] == {"do": "completed"}
    assert (ended["responses"], ended["transcriptions"], ended["outcome"]) == (6, 1, "ok")
    assert (ended["closed_by"], ended["close_code"], ended["model"]) == ("client", 1000, MODEL)
    assert ended["totals"] == {"input_tokens": 373, "output_tokens": 249, "total_tokens": 622}
    wait_for(lambda: tenant.store.get_token(token_id).request_count == 7, "each answer counted once")
    proxy.stop()
    closing = proxy.records()[-1]
    assert (closing["opened"], closing["unrecorded"]) == (8, 0)
    spool = b"".join(file.read_bytes() for file in proxy.spool.glob("*.jsonl"))
    for place in (proxy.output.encode(), saved.read_bytes(), spool):
        assert REAL_KEY.encode() not in place
        assert token.encode() not in place
        assert SOUND[:200].encode() not in place


def test_browsers_and_connect(start_proxy: StartProxy, tenant: Tenant, server: RealtimeServer) -> None:
    """The token in a subprotocol, and a client behind HTTPS_PROXY."""
    proxy = start(start_proxy, server)
    _, token = tenant.token()
    trust = socket_trust(proxy.ca_file)
    offered: Any = ["realtime", f"openai-insecure-api-key.{token}"]
    with connect(
        f"wss://api.openai.com/v1/realtime?model={MODEL}", subprotocols=offered, proxy=proxy.url, ssl=trust
    ) as socket:
        created = socket.recv()
        assert socket.subprotocol == "realtime"
        assert MINTED not in created
        assert json.loads(created)["session"]["model"] == MODEL
        assert token not in repr(socket.response)
        assert REAL_KEY not in repr(socket.response)
    sent = server.handshakes[0]
    assert (sent["sec-websocket-protocol"], sent["authorization"]) == ("realtime", f"Bearer {REAL_KEY}")
    assert token not in repr(sent)


def test_refused_handshakes(start_proxy: StartProxy, tenant: Tenant, server: RealtimeServer) -> None:
    proxy = start(start_proxy, server, "llm_models=gpt-realtime")
    _, token = tenant.token()
    for path, key, status in (
        ("realtime?model=gpt-realtime", "sk-proxy-wrong", 401),
        ("realtime?model=gpt-realtime-mini", token, 404),
        ("realtime?model=gpt-realtime&model=gpt-realtime-mini", token, 404),
        ("realtime", token, 404),
        ("realtime?call_id=rtc_1", token, 403),
    ):
        with pytest.raises(InvalidStatus) as caught:
            connect(
                f"ws://127.0.0.2:{proxy.reverse_port}/v1/{path}",
                additional_headers={"authorization": f"Bearer {key}"},
                proxy=None,
            )
        assert caught.value.response.status_code == status, path
    assert server.handshakes == []


def test_models_within_a_session(start_proxy: StartProxy, tenant: Tenant, server: RealtimeServer) -> None:
    proxy = start(start_proxy, server, f"llm_models=gpt-realtime,{TRANSCRIBER}")
    with session(proxy, tenant.token()[1]) as connection:
        for update in (
            {"type": "realtime", "model": "gpt-4o-realtime-preview"},
            {"type": "realtime", "audio": {"input": {"transcription": {"model": "whisper-1"}}}},
        ):
            connection.send({"type": "session.update", "event_id": "mine", "session": update})  # type: ignore[arg-type, misc, list-item]
            error = until(connection, "error").error
            assert (error.code, error.event_id) == ("model_not_found", "mine")
        connection.session.update(session={"type": "realtime", "model": "gpt-realtime"})
        until(connection, "session.updated")
        respond(connection)
        until(connection, "response.done")
    assert [event["type"] for event in server.seen] == ["session.update", "response.create"]
    assert wait_for(lambda: sessions(proxy), "the session's record")[0]["refused_frames"] == 2


@pytest.mark.parametrize("why", ["revoked", "expired", "inactive"])
def test_a_session_ends_with_its_token(
    why: str, start_proxy: StartProxy, tenant: Tenant, server: RealtimeServer
) -> None:
    proxy = start(start_proxy, server)
    soon = datetime.now(UTC) + timedelta(seconds=4)
    token_id, token = tenant.token(expires_at=soon if why == "expired" else None)
    with session(proxy, token) as connection:
        respond(connection, "hang")
        until(connection, "response.output_audio_transcript.delta")
        begun = time.monotonic()
        if why == "revoked":
            tenant.store.revoke_token(token_id)
        elif why == "inactive":
            tenant.store.deactivate_project(tenant.project.id)
        else:
            begun += (soon - datetime.now(UTC)).total_seconds()
        error, closed = ended(connection)
        took = time.monotonic() - begun
    print(f"{why}: ended after {took:.2f} s")
    assert error.code == {"inactive": "project_inactive"}.get(why, "invalid_api_key")
    assert closed.rcvd
    assert closed.rcvd.code == 1008
    assert closed.rcvd.reason.startswith(error.code)
    assert took < 10, "measured by hand: a quarter of a second"
    wait_for(lambda: server.closed, "upstream was closed too")
    assert server.closed[0][0] == 1008
    (call,) = proxy.wait_calls(1)
    assert (call["outcome"], call["usage_missing_code"]) == ("shutdown", "cut")
    record = wait_for(lambda: sessions(proxy), "the session's record")[0]
    assert (record["outcome"], record["closed_by"], record["close_code"]) == ("refused", "proxy", 1008)
    assert record["error"]["code"] == error.code


def test_each_answer_takes_from_the_quota(
    start_proxy: StartProxy, tenant: Tenant, server: RealtimeServer
) -> None:
    proxy = start(start_proxy, server)
    token_id, token = tenant.token(max_requests=2)
    with session(proxy, token) as connection:
        for _ in range(2):
            respond(connection)
            until(connection, "response.done")
        respond(connection)
        error, closed = ended(connection)
    assert error.code == "insufficient_quota"
    assert closed.rcvd
    assert closed.rcvd.code == 1008
    assert tenant.store.get_token(token_id).request_count == 2
    assert len(proxy.wait_calls(3)) == 3, "what upstream began is recorded"


def test_each_answer_is_reserved_and_settled(
    start_proxy: StartProxy, tenant: Tenant, server: RealtimeServer
) -> None:
    """Each holds a whole context window and the longest answer, and gives back what it did not use."""
    proxy = start(start_proxy, server)
    budget = {"budgets": {"tokens": {"total": 32_000 + 4_096 + 150}}, "budget_mode": "strict"}
    token_id, token = tenant.token(limits=limits.of(budget))

    def figure(sql: str) -> int:
        with contextlib.closing(sqlite3.connect(proxy.store)) as connection:
            return int(connection.execute(sql, [token_id]).fetchone()[0] or 0)

    spent = "SELECT sum(tokens) FROM spend WHERE subject = ? AND period = 'total'"
    with session(proxy, token) as connection:
        for tokens in (100, 200):
            respond(connection)
            until(connection, "response.done")
            wait_for(lambda tokens=tokens: figure(spent) == tokens, "the answer is settled")  # type: ignore[misc]
        respond(connection)
        error, closed = ended(connection)
    assert error.code == "insufficient_quota"
    assert "tokens in all" in error.message
    assert closed.rcvd
    assert closed.rcvd.code == 1008
    wait_for(
        lambda: not figure("SELECT count(*) FROM holds WHERE token_id = ? AND settled_at = 0"), "no hold left"
    )


def test_the_length_of_an_answer(start_proxy: StartProxy, tenant: Tenant, server: RealtimeServer) -> None:
    proxy = start(start_proxy, server)
    _, token = tenant.token(limits=limits.of({"max_output_tokens": 50}))
    with session(proxy, token) as connection:
        respond(connection)
        until(connection, "response.done")
        connection.response.create(response={"max_output_tokens": 51})
        assert until(connection, "error").error.code == "max_output_tokens_exceeded"
        connection.response.create(response={"max_output_tokens": 50})
        until(connection, "response.done")
    asked = [
        event["response"]["max_output_tokens"] for event in server.seen if event["type"] == "response.create"
    ]
    assert asked == [50, 50]


def test_an_answer_that_nobody_asked_for_takes_from_the_quota(
    start_proxy: StartProxy, tenant: Tenant, server: RealtimeServer
) -> None:
    """The server answers by itself where it hears the end of speech; the transcription counts too."""
    proxy = start(start_proxy, server)
    token_id, token = tenant.token(max_requests=3)
    with session(proxy, token) as connection:
        connection.input_audio_buffer.commit(event_id="answer me")
        assert until(connection, "response.done").response.usage.total_tokens == 100
        connection.input_audio_buffer.commit(event_id="answer me")
        error, closed = ended(connection)
    assert (error.code, closed.rcvd and closed.rcvd.code) == ("insufficient_quota", 1008)
    assert sorted(call["model"] for call in proxy.wait_calls(4)) == [TRANSCRIBER] * 2 + [MODEL] * 2
    # The last one had begun before it could be refused: it was made, so it counts.
    wait_for(lambda: tenant.store.get_token(token_id).request_count == 4, "all are counted")


def test_a_killed_proxy_leaves_an_event_for_each_answer(
    start_proxy: StartProxy, tenant: Tenant, server: RealtimeServer
) -> None:
    proxy = start(start_proxy, server)
    with contextlib.suppress(ConnectionClosed), session(proxy, tenant.token()[1]) as connection:
        respond(connection)
        until(connection, "response.done")
        proxy.wait_calls(1)
        respond(connection, "hang")
        until(connection, "response.output_audio_transcript.delta")
        proxy.kill()
    start(start_proxy, server)
    done, died = proxy.wait_calls(2)
    assert (done["outcome"], died["outcome"]) == ("ok", "proxy_died")
    assert (died["endpoint"], died["model"]) == ("realtime", MODEL)
    assert died["response_id"]
    assert [record["outcome"] for record in sessions(proxy)] == ["proxy_died"]


BREAKS = """
from addons.hooks.websockets import checks as session_gate
def judge(session, data):
    if b"response.create" in data:
        raise RuntimeError("no")
session_gate.judge_event = judge
"""


def test_a_failing_check_lets_nothing_pass(
    start_proxy: StartProxy, tenant: Tenant, server: RealtimeServer
) -> None:
    script = tenant.store.path.parent / "breaks.py"
    script.write_text(BREAKS)
    proxy = start(start_proxy, server, scripts=(SCRIPT, script))
    with session(proxy, tenant.token()[1]) as connection:
        respond(connection)
        error, closed = ended(connection)
    assert error.code == "proxy_error"
    assert closed.rcvd
    assert closed.rcvd.code == 1011
    assert server.seen == []


def test_memory_of_a_long_session(start_proxy: StartProxy, tenant: Tenant, server: RealtimeServer) -> None:
    proxy = start(start_proxy, server, "flow_detail=0")
    with session(proxy, tenant.token()[1]) as connection:

        def exchange(messages: int) -> None:
            for _ in range(messages // 6):
                connection.input_audio_buffer.append(audio=SOUND * 4)
                respond(connection)
                until(connection, "response.done")

        exchange(900)
        before = proxy.rss()
        exchange(MESSAGES)
        rose = proxy.rss() - before
    print(f"{MESSAGES} messages: RSS rose by {rose / 2**20:.1f} MiB from {before / 2**20:.1f} MiB")
    # Kept, they would be 8 KB for six messages, and 60 % more in 50,000.
    assert rose < 6 * 2**20


def test_a_proxy_that_is_stopped_closes_its_sessions(
    start_proxy: StartProxy, tenant: Tenant, server: RealtimeServer
) -> None:
    """See tests/live/test_shutdown.py."""
    proxy = start(start_proxy, server)
    with session(proxy, tenant.token()[1]) as connection:
        respond(connection)
        until(connection, "response.done")
        proxy.process.send_signal(signal.SIGTERM)
        error, closed = ended(connection)
    assert (error.code, closed.rcvd and closed.rcvd.code) == ("proxy_stopping", 1001)
    assert proxy.wait(60) == 0
    assert [record["outcome"] for record in sessions(proxy)] == ["shutdown"]
    assert [call["outcome"] for call in proxy.calls()] == ["ok"]
