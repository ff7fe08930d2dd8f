"""Metadata of tokens, projects and calls through a real proxy: what goes upstream, and what is on record."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest
import trustme
from h2.connection import H2Connection
from h2.events import StreamEnded
from websockets.sync.client import connect

from store.tokens.store import TokenStore
from tests.live.clients import HELLO, MODEL, authorised, chat, http, reverse_sdk, sdk, socket_trust
from tests.live.conftest import REAL_KEY, Running, StartProxy, Tenant
from tests.live.harness import wait_for
from tests.live.realtime_server import RealtimeServer
from tests.live.upstream import Answer, Upstream

OURS = {
    "X-LLMProxy-Metadata-Session-Id": "s-42",
    "x-llmproxy-metadata-user_id": "mallory",
    "X-LLMProxy-Metadata-Team": "not allowed",
    "X-LLMProxy-Debug": "1",
}


StartShared = Callable[..., Running]


@pytest.fixture(scope="module")
def running(start_shared: StartShared) -> Running:
    return start_shared()


def names(upstream: Upstream) -> set[str]:
    return {name.lower() for seen in upstream.requests for name, _ in seen.headers}


def add_project(store: TokenStore, **settings: Any) -> str:
    return store.create_project("labelled", REAL_KEY, **settings).id


def test_headers_are_kept_where_allowed_and_never_go_upstream(
    start_proxy: StartProxy, tenant: Tenant, upstream: Upstream
) -> None:
    saved = tenant.store.path.parent / "flows"
    proxy = start_proxy(f"save_stream_file={saved}", "termlog_verbosity=debug")
    project = add_project(
        tenant.store, metadata={"team": "a", "cost_center": "4711"}, header_metadata=["session-id"]
    )
    _, text = tenant.store.create_token(project, metadata={"team": "b"}, header_metadata=["User_Id"])
    token = text.reveal()
    for client in (sdk(proxy, token), sdk(proxy, token, http2=True), reverse_sdk(proxy, token)):
        assert chat(client, user="claimed", extra_headers=OURS).choices
        with chat(client, stream=True, extra_headers=OURS) as stream:
            assert list(stream)
    assert len(upstream.requests) == 6
    assert not {name for name in names(upstream) if name.replace("_", "-").startswith("x-llmproxy")}
    assert "content-type" in names(upstream)
    calls = proxy.wait_calls(6)
    for call in calls:
        assert call["token_metadata"] == {"team": "b", "cost_center": "4711"}
        assert call["request_metadata"] == {"session_id": "s-42", "user_id": "mallory"}
        assert call["user"] == {"id": "mallory", "source": "request_metadata.user_id"}
        assert call["dropped"] == {"request_metadata": ["team", "x_llmproxy_debug"]}
    assert calls[0]["user_claims"] == {"request_metadata.user_id": "mallory", "user": "claimed"}
    assert upstream.requests[0].json["user"] == "claimed", "the client's own claim goes on"
    proxy.stop()
    assert b"s-42" not in saved.read_bytes()


def test_no_claim_takes_the_place_of_the_tokens_user(running: Running) -> None:
    tenant = running.tenant
    _, text = tenant.store.create_token(
        tenant.project.id, metadata={"app_user_id": "ada"}, header_metadata=["user_id", "app_user_id"]
    )
    headers = {"X-LLMProxy-Metadata-User-Id": "mallory", "X-LLMProxy-Metadata-App-User-Id": "eve"}
    claims: dict[str, Any] = {"user": "u", "safety_identifier": "s", "metadata": {"user_id": "m"}}
    chat(sdk(running.proxy, text.reveal()), extra_headers=headers, **claims)
    call = running.events(1)[0]
    assert call["user"] == {"id": "ada", "source": "token_metadata.app_user_id"}
    assert call["token_metadata"] == {"app_user_id": "ada"}
    assert call["user_claims"] == {
        "request_metadata.user_id": "mallory",
        "request_metadata.app_user_id": "eve",
        "safety_identifier": "s",
        "user": "u",
        "metadata.user_id": "m",
    }
    assert {name: running.upstream.requests[-1].json[name] for name in claims} == claims


def test_a_key_in_a_header_is_on_no_record(running: Running) -> None:
    tenant, proxy = running.tenant, running.proxy
    _, text = tenant.store.create_token(tenant.project.id, header_metadata=["session_id"])
    token, other = text.reveal(), "sk-proj-0123456789abcdefABCDEF"
    headers = {
        "X-LLMProxy-Metadata-Session-Id": f"{token} {other}",
        f"X-LLMProxy-Metadata-{other}": "1",
        "X-LLMProxy-Metadata-Mail": token,
    }
    chat(sdk(proxy, token), extra_headers=headers)
    call = running.events(1)[0]
    assert call["request_metadata"] == {"session_id": "[redacted] [redacted]"}
    assert call["dropped"] == {"request_metadata": ["[redacted]", "mail"]}
    spool = b"".join(file.read_bytes() for file in proxy.spool.rglob("*") if file.is_file())
    for key in (token, other):
        assert key.encode() not in spool
        assert key.lower().replace("-", "_").encode() not in spool
    assert not {name for name in names(running.upstream) if name.startswith("x-llmproxy")}


def test_trailers_do_not_go_upstream(start_proxy: StartProxy, tenant: Tenant) -> None:
    """Over HTTP/2; mitmproxy takes none over HTTP/1, from nobody, and sends none."""
    saved = tenant.store.path.parent / "flows"
    proxy = start_proxy(f"save_stream_file={saved}")
    _, token = tenant.token()
    trust = ssl.create_default_context(cafile=str(proxy.ca_file))
    trust.set_alpn_protocols(["h2"])
    plain = socket.create_connection(("127.0.0.2", proxy.reverse_port), timeout=30)
    with trust.wrap_socket(plain, server_hostname="api.openai.com") as client:
        connection = H2Connection()
        connection.initiate_connection()
        head = {":method": "POST", ":scheme": "https", ":authority": "api.openai.com"}
        head |= {":path": "/v1/chat/completions", "content-type": "application/json", **authorised(token)}
        connection.send_headers(1, list(head.items()))
        connection.send_data(1, json.dumps({"model": MODEL, "messages": HELLO}).encode())
        connection.send_headers(1, [("x-llmproxy-metadata-team", "red")], end_stream=True)
        client.sendall(connection.data_to_send())
        answered: list[Any] = []
        while not any(isinstance(event, StreamEnded) for event in answered):
            answered += connection.receive_data(client.recv(65536))
            client.sendall(connection.data_to_send())
    call = proxy.wait_call()
    assert (call["outcome"], call["status"], call["request_metadata"]) == ("ok", 200, {})
    proxy.stop()
    assert b"/v1/chat/completions" in saved.read_bytes()
    assert b"x-llmproxy-metadata-team" not in saved.read_bytes(), "the flow, which is what goes out, has none"


def test_a_changed_allowance_holds_from_the_next_call(running: Running) -> None:
    tenant = running.tenant
    token_id, token = tenant.token()
    client = sdk(running.proxy, token)
    headers = {"X-LLMProxy-Metadata-Team": "red"}
    chat(client, extra_headers=headers)
    tenant.store.update_token(token_id, header_metadata=["team"])
    chat(client, extra_headers=headers)
    tenant.store.update_project(tenant.project.id, metadata={"env": "test"})
    chat(client, extra_headers=headers)
    tenant.store.update_project(tenant.project.id, metadata={})
    first, second, third = running.events(3)
    assert (first["request_metadata"], first["dropped"]) == ({}, {"request_metadata": ["team"]})
    assert (second["request_metadata"], second["dropped"]) == ({"team": "red"}, {})
    assert third["token_metadata"] == {"env": "test"}


def test_refused_calls_name_what_they_sent(running: Running) -> None:
    before = len(running.upstream.requests)
    with pytest.raises(openai.AuthenticationError):
        chat(sdk(running.proxy, "sk-llmp-unknown"), extra_headers=OURS)
    call = running.events(1)[0]
    assert (call["outcome"], call["request_metadata"]) == ("refused", {})
    assert set(call["dropped"]["request_metadata"]) == {"session_id", "user_id", "team", "x_llmproxy_debug"}
    assert len(running.upstream.requests) == before


def test_a_realtime_handshake(start_proxy: StartProxy, tenant: Tenant, authority: trustme.CA) -> None:
    with RealtimeServer(authority.issue_cert("localhost")).running() as server:
        proxy = start_proxy(upstream_url=server.base_url)
        _, text = tenant.store.create_token(tenant.project.id, header_metadata=["session_id"])
        trust = socket_trust(proxy.ca_file)
        with connect(
            "wss://api.openai.com/v1/realtime?model=gpt-realtime",
            additional_headers={**authorised(text.reveal()), **OURS},
            proxy=proxy.url,
            ssl=trust,
        ) as session:
            session.recv()
            session.send('{"type": "response.create", "response": {"metadata": {"do": "completed"}}}')
            while '"response.done"' not in str(session.recv()):
                pass
        assert not [name for name in server.handshakes[0] if name.startswith("x-llmproxy")]
        assert proxy.wait_call()["request_metadata"] == {"session_id": "s-42"}
        record = wait_for(
            lambda: [one for one in proxy.records() if one["type"] == "llm_proxy_session"], "the session"
        )[0]
        assert record["request_metadata"] == {"session_id": "s-42"}


def test_a_call_that_a_killed_proxy_leaves_has_its_metadata(
    start_proxy: StartProxy, tenant: Tenant, upstream: Upstream
) -> None:
    proxy = start_proxy()
    _, text = tenant.store.create_token(tenant.project.id, header_metadata=["session_id"])
    held = threading.Event()
    upstream.handler = lambda _: Answer([held, b"{}"])
    client = http(proxy)

    def call() -> None:
        with contextlib.suppress(httpx.HTTPError):
            client.post(
                "https://api.openai.com/v1/chat/completions",
                json={"model": MODEL, "messages": HELLO, "user": "u"},
                headers={**authorised(text.reveal()), **OURS},
            )

    caller = threading.Thread(target=call)
    caller.start()
    wait_for(lambda: upstream.requests, "the call upstream")
    proxy.kill()
    held.set()
    caller.join(30)
    again = start_proxy()
    died = again.wait_call()
    assert (died["outcome"], died["request_metadata"]) == ("proxy_died", {"session_id": "s-42"})
    assert died["user_claims"] == {"user": "u"}
