"""Refusals as the official SDK sees them, and what they cost."""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx
import openai
import pytest

from tests.live.clients import CHAT_URL, HELLO, MODEL, authorised, chat, http, reverse_sdk, sdk
from tests.live.conftest import REAL_KEY, StartProxy, Tenant
from tests.live.harness import Proxy, wait_for
from tests.live.upstream import Upstream

WAYS: dict[str, Callable[[Proxy, str], openai.OpenAI]] = {
    "connect-h1": sdk,
    "connect-h2": lambda proxy, token: sdk(proxy, token, http2=True),
    "reverse-plain": reverse_sdk,
}

REASONS: dict[str, tuple[type[openai.APIStatusError], int, str]] = {
    "unknown": (openai.AuthenticationError, 401, "invalid_api_key"),
    "revoked": (openai.AuthenticationError, 401, "invalid_api_key"),
    "expired": (openai.AuthenticationError, 401, "invalid_api_key"),
    "project inactive": (openai.PermissionDeniedError, 403, "project_inactive"),
    "quota used up": (openai.RateLimitError, 429, "insufficient_quota"),
}


def token_for(tenant: Tenant, reason: str) -> str:
    if reason == "unknown":
        return "sk-proxy-nobody-knows-this-one"
    if reason == "expired":
        return tenant.token(expires_at=datetime.now(UTC) - timedelta(seconds=1))[1]
    if reason == "quota used up":
        return tenant.token(max_requests=0)[1]
    token_id, text = tenant.token()
    if reason == "revoked":
        tenant.store.revoke_token(token_id)
    if reason == "project inactive":
        tenant.store.deactivate_project(tenant.project.id)
    return text


@pytest.mark.parametrize("way", WAYS)
def test_sdk_raises_the_right_exception_for_each_reason(
    way: str, proxy: Proxy, tenant: Tenant, upstream: Upstream
) -> None:
    for number, (reason, (exception, status, code)) in enumerate(REASONS.items(), 1):
        token = token_for(tenant, reason)
        with pytest.raises(exception) as raised:
            chat(WAYS[way](proxy, token))
        response = raised.value.response
        if reason == "project inactive":
            tenant.store.activate_project(tenant.project.id)

        assert response.status_code == status
        assert raised.value.code == code
        assert set(response.json()["error"]) == {"message", "type", "param", "code"}
        assert response.headers["content-type"] == "application/json"
        assert response.headers["x-request-id"]
        assert response.headers["x-should-retry"] == "false"
        assert REAL_KEY not in response.text
        assert token not in response.text
        assert response.http_version == ("HTTP/2" if way == "connect-h2" else "HTTP/1.1")
        calls = proxy.wait_calls(number)
        assert calls[-1]["outcome"] == "refused"
        assert calls[-1]["status"] == status
        assert calls[-1]["error"]["code"] == code
    assert upstream.connections == 0, "a refused call must not dial upstream"


def test_missing_token_is_refused(proxy: Proxy, upstream: Upstream) -> None:
    with http(proxy) as client:
        refused = client.post(CHAT_URL, json={"model": MODEL, "messages": HELLO})
        assert refused.status_code == 401
        assert refused.json()["error"]["code"] == "invalid_api_key"
        basic = client.post(CHAT_URL, headers={"authorization": "Basic dXNlcjpwYXNz"}, json={})
        assert basic.status_code == 401
    assert upstream.requests == []


def test_sdk_does_not_retry_a_used_up_quota(proxy: Proxy, tenant: Tenant) -> None:
    _, token = tenant.token(max_requests=0)
    client = sdk(proxy, token).with_options(max_retries=2)
    with pytest.raises(openai.RateLimitError):
        chat(client)
    chat(sdk(proxy, tenant.token()[1]))  # its event comes after those of any retries
    calls = proxy.wait_calls(2)
    assert [call["outcome"] for call in calls] == ["refused", "ok"]


def test_reasons_have_their_order(proxy: Proxy, tenant: Tenant) -> None:
    """A token with every fault at once is told the first one; as each is mended, the next."""
    past = datetime.now(UTC) - timedelta(days=1)
    token_id, token = tenant.token(expires_at=past, max_requests=0)
    fresh_expired = tenant.token(expires_at=past, max_requests=0)[1]
    inactive = tenant.token(max_requests=0)[1]
    tenant.store.revoke_token(token_id)
    tenant.store.deactivate_project(tenant.project.id)

    def message(text: str, url: str = "https://api.openai.com/v1/organization/projects") -> str:
        with http(proxy) as client:
            return str(client.get(url, headers=authorised(text)).json()["error"]["message"])

    assert "not known" in message("sk-proxy-other")
    assert "revoked" in message(token)
    assert "expired" in message(fresh_expired)
    assert "not active" in message(inactive)
    tenant.store.activate_project(tenant.project.id)
    assert "not allowed" in message(inactive)
    assert "0 requests are used up" in message(inactive, "https://api.openai.com/v1/models")


@pytest.mark.parametrize(
    "path", ["/v1/organization/admin_api_keys", "/v1/realtime/client_secrets", "/v1/%6fther"]
)
def test_endpoints_that_lead_round_the_proxy_are_refused(
    path: str, proxy: Proxy, tenant: Tenant, upstream: Upstream
) -> None:
    token_id, token = tenant.token(max_requests=3)
    with http(proxy) as client:
        refused = client.post(f"https://api.openai.com{path}", headers=authorised(token), json={})
    assert refused.status_code == 403
    assert refused.json()["error"]["code"] == "endpoint_not_allowed"
    assert upstream.requests == []
    assert tenant.store.get_token(token_id).request_count == 0, "a refused call uses no quota"


@pytest.mark.parametrize("header", ["api-key", "subprotocol"])
def test_other_places_of_the_token(header: str, proxy: Proxy, tenant: Tenant, upstream: Upstream) -> None:
    _, token = tenant.token()
    headers = {"api-key": token}
    if header == "subprotocol":
        headers = {"sec-websocket-protocol": f"realtime, openai-insecure-api-key.{token}"}
    with http(proxy) as client:
        assert client.post(CHAT_URL, headers=headers, json={"messages": HELLO}).status_code == 200
    seen = upstream.requests[-1]
    assert seen.header("authorization") == f"Bearer {REAL_KEY}"
    assert token not in repr(seen.headers)


def test_refused_calls_keep_the_connection(proxy: Proxy, tenant: Tenant) -> None:
    _, token = tenant.token()
    with http(proxy) as client:
        statuses = [
            client.post(CHAT_URL, headers=authorised(key), json={"messages": HELLO}).status_code
            for key in ("wrong", "wrong", token)
        ]
        pool = client._mounts  # the transport that went through the proxy
        connections = [c for t in pool.values() if t for c in t._pool.connections]  # type: ignore[attr-defined]
    assert statuses == [401, 401, 200]
    assert len(connections) <= 1


SIZE = 200 * 2**20
BLOCK = b"x" * 2**20


@pytest.mark.parametrize(
    ("path", "status"), [("/v1/files", 403), ("/v1/llmproxy/me", 200), ("/v1/models", 200)]
)
def test_an_answer_to_head_has_no_body_and_keeps_the_connection(
    proxy: Proxy, tenant: Tenant, path: str, status: int
) -> None:
    """Bytes behind its head would be taken for the next answer."""
    headers = authorised(tenant.token()[1])
    with httpx.Client(base_url=proxy.reverse_url, headers=headers, trust_env=False, timeout=30) as client:
        for _ in range(2):
            answer = client.head(path)
            assert (answer.status_code, answer.content) == (status, b"")
            assert int(answer.headers["content-length"]) > 0
            assert client.get("/v1/models").json()["object"] == "list"


@pytest.mark.parametrize("way", ["reverse-plain", "reverse-chunked", "connect-h1", "connect-h2"])
def test_refused_upload_costs_no_memory(way: str, proxy: Proxy, tenant: Tenant) -> None:
    chat(sdk(proxy, tenant.token()[1], http2=way.endswith("h2")))  # everything is loaded
    chat(reverse_sdk(proxy, tenant.token()[1]))
    before, peak = proxy.rss(), 0

    def body() -> object:
        nonlocal peak
        for _ in range(SIZE // len(BLOCK)):
            yield BLOCK
            peak = max(peak, proxy.rss())

    headers = {"authorization": "Bearer wrong", "content-type": "application/octet-stream"}
    if way != "reverse-chunked":
        headers["content-length"] = str(SIZE)
    if way.startswith("reverse"):
        client, url = httpx.Client(trust_env=False, timeout=120), f"{proxy.reverse_url}/v1/files"
    else:
        client, url = (
            http(proxy, http2=way.endswith("h2")),
            "https://api.openai.com/v1/files",
        )
    with client:
        refused = client.post(url, headers=headers, content=body())  # type: ignore[arg-type]
    assert refused.status_code == 401
    assert peak - before < 16 * 2**20, f"RSS rose by {(peak - before) / 2**20:.1f} MiB"


def test_garbage_does_not_end_the_proxy(proxy: Proxy, tenant: Tenant) -> None:
    for garbage in (
        b"\x00\xff\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: \xff\r\nAuthorization: Bearer \xff\r\n\r\n",
        b"\r\n",
    ):
        for address in (("127.0.0.1", proxy.port), ("127.0.0.2", proxy.reverse_port)):
            with socket.create_connection(address, 5) as raw:
                raw.sendall(garbage)
    assert chat(sdk(proxy, tenant.token()[1])).choices
    wait_for(proxy.process.is_running, "the proxy lives")


def test_real_key_is_nowhere(start_proxy: StartProxy, tenant: Tenant) -> None:
    """Not in the log at its most talkative, not in saved flows, not in the spool, not in the answer."""
    saved = tenant.store.path.parent / "flows"
    proxy = start_proxy(f"save_stream_file={saved}", "termlog_verbosity=debug", "flow_detail=4")
    _, token = tenant.token()
    assert chat(sdk(proxy, token)).choices
    chat(sdk(proxy, token), stream=True).close()
    proxy.wait_calls(2)
    proxy.stop()
    spool = b"".join(file.read_bytes() for file in proxy.spool.glob("*.jsonl"))
    for place in (proxy.output.encode(), saved.read_bytes(), spool):
        assert place
        assert REAL_KEY.encode() not in place
        assert token.encode() not in place
