"""Secrets that the API makes for clients: first a way round the proxy, then none."""

from __future__ import annotations

import json
import lzma
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import trustme
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from store.tokens.limits import Limits
from tests.codings import CODINGS
from tests.live.clients import authorised, reverse_sdk, socket_trust
from tests.live.conftest import REAL_KEY, StartProxy, Tenant
from tests.live.harness import Proxy, wait_for
from tests.live.realtime_server import SUBPROTOCOL, RealtimeServer
from tests.live.test_fail_closed import broken, copy_of_the_script
from tests.live.test_realtime import ended, sessions
from tests.live.upstream import Answer, Seen, Upstream, json_answer

EPHEMERAL = "ek_68af296e8e408191a1120ab6383263c2"
MODEL = "gpt-realtime"
ALLOWED = "llm_endpoints=inference,storage,listing,key_minting"
MINTING = (
    "realtime/client_secrets",
    "realtime/translations/client_secrets",
    "realtime/sessions",
    "realtime/transcription_sessions",
    "chatkit/sessions",
)


def minted(path: str) -> dict[str, Any]:
    """What the API answers, in the forms of its reference."""
    expires_at = int(time.time()) + 600
    session = {"object": "realtime.session", "id": "sess_1", "type": "realtime", "model": MODEL}
    if path.endswith("client_secrets"):
        return {"value": EPHEMERAL, "expires_at": expires_at, "session": session}
    if path.startswith("chatkit"):
        return {"object": "chatkit.session", "client_secret": EPHEMERAL, "expires_at": expires_at}
    return {**session, "client_secret": {"value": EPHEMERAL, "expires_at": expires_at}}


def answer(seen: Seen) -> Answer:
    if seen.header("authorization") != f"Bearer {REAL_KEY}":
        return json_answer({"error": {"message": "wrong key"}}, 401)
    return json_answer(minted(seen.path.removeprefix("/v1/")))


@pytest.fixture
def api(upstream: Upstream) -> Upstream:
    upstream.handler = answer
    return upstream


@pytest.fixture
def server(authority: trustme.CA) -> Iterator[RealtimeServer]:
    with RealtimeServer(
        authority.issue_cert("localhost"), accepted={REAL_KEY, EPHEMERAL}
    ).running() as running:
        yield running


def directly(server: RealtimeServer, authority_file: Path, key: str) -> ClientConnection:
    """Past the proxy."""
    trust = socket_trust(authority_file)
    url = f"{server.base_url.replace('https', 'wss')}/v1/realtime?model={MODEL}"
    return connect(url, ssl=trust, proxy=None, additional_headers=authorised(key))


def through(proxy: Proxy, key: str, query: str = f"?model={MODEL}", **more: Any) -> ClientConnection:
    more.setdefault("additional_headers", authorised(key))
    return connect(f"ws://127.0.0.2:{proxy.reverse_port}/v1/realtime{query}", proxy=None, **more)


def post(proxy: Proxy, path: str, token: str) -> httpx.Response:
    url = f"{proxy.reverse_url}/v1/{path}"
    return httpx.post(url, headers=authorised(token), json={"session": {"model": MODEL}}, trust_env=False)


def test_the_channel_is_there(
    api: Upstream, server: RealtimeServer, authority: trustme.CA, authority_file: Path
) -> None:
    """With the API's own secret a session opens that no proxy sees."""
    trust = ssl.create_default_context(cafile=str(authority_file))
    url = f"{api.base_url}/v1/realtime/client_secrets"
    made = httpx.post(url, headers=authorised(REAL_KEY), json={}, verify=trust, trust_env=False).json()
    with directly(server, authority_file, made["value"]) as socket:
        assert json.loads(socket.recv())["type"] == "session.created"


def test_it_is_refused_by_default(proxy: Proxy, tenant: Tenant, api: Upstream) -> None:
    _, token = tenant.token()
    for path in MINTING:
        refused = post(proxy, path, token)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "endpoint_not_allowed"), path
    assert api.requests == []


def test_where_it_is_allowed_clients_get_a_secret_of_the_proxys(
    start_proxy: StartProxy, tenant: Tenant, api: Upstream, server: RealtimeServer, authority_file: Path
) -> None:
    """Made by one process, used at another; bound to the token that asked; worth nothing elsewhere."""
    tenant.store.keys.make_master() if not (tenant.store.path.with_suffix(".key")).exists() else None
    saved = tenant.store.path.parent / "flows"
    options = (ALLOWED, f"save_stream_file={saved}", "termlog_verbosity=debug")
    mint, live = start_proxy(*options), start_proxy(*options, upstream_url=server.base_url)
    token_id, token = tenant.token()
    made = reverse_sdk(mint, token).realtime.client_secrets.create(
        session={"type": "realtime", "model": MODEL}
    )
    ours = made.value
    assert ours.startswith("ek_llmp_")
    assert made.session.model == MODEL  # type: ignore[union-attr]
    assert api.requests[-1].header("authorization") == f"Bearer {REAL_KEY}"
    with pytest.raises(InvalidStatus) as caught:
        directly(server, authority_file, ours)
    assert caught.value.response.status_code == 401

    client = openai.OpenAI(api_key=ours, base_url=f"{live.reverse_url}/v1", max_retries=0)
    with client.realtime.connect(model=MODEL, websocket_connection_options={"proxy": None}) as connection:
        assert connection.recv().type == "session.created"
        connection.response.create()
        while connection.recv().type != "response.done":
            pass
        assert server.handshakes[-1]["authorization"] == f"Bearer {EPHEMERAL}"
        tenant.store.revoke_token(token_id)
        error, closed = ended(connection)
    assert (error.code, closed.rcvd and closed.rcvd.code) == ("invalid_api_key", 1008)
    with pytest.raises(InvalidStatus) as caught:
        through(live, ours)
    assert caught.value.response.status_code == 401
    wait_for(lambda: len(live.calls()) >= 2 and sessions(live), "the events")
    answers = [call for call in live.calls() if call["usage"]]
    assert [(call["token_id"], call["usage"]["total_tokens"]) for call in answers] == [(token_id, 100)]
    spool = b"".join(file.read_bytes() for file in live.spool.glob("*.jsonl"))
    assert ours.encode() not in spool
    mint.stop()
    live.stop()
    for place in (mint.output, live.output, spool.decode(), saved.read_bytes().decode("latin-1")):
        assert EPHEMERAL not in place
        assert REAL_KEY not in place
        assert token not in place


def test_browsers_and_other_places(
    start_proxy: StartProxy, tenant: Tenant, api: Upstream, server: RealtimeServer
) -> None:
    mint = start_proxy(ALLOWED)
    live = start_proxy(ALLOWED, f"llm_models={MODEL}", upstream_url=server.base_url)
    _, token = tenant.token()
    ours = post(mint, "realtime/client_secrets", token).json()["value"]
    offered: Any = ["realtime", f"{SUBPROTOCOL}{ours}"]
    with through(live, "", "", subprotocols=offered, additional_headers={}) as socket:
        assert socket.subprotocol == "realtime"
        assert ours not in repr(socket.response)
    assert server.handshakes[-1]["authorization"] == f"Bearer {EPHEMERAL}"
    with pytest.raises(InvalidStatus) as caught:
        through(live, ours, "?model=gpt-realtime-mini")
    assert caught.value.response.status_code == 404
    for path in ("chat/completions", "responses", "realtime/client_secrets", "models"):
        elsewhere = post(mint, path, ours)
        assert (elsewhere.status_code, elsewhere.json()["error"]["code"]) == (403, "endpoint_not_allowed"), (
            path
        )
    assert post(mint, "realtime/client_secrets", ours[:-20] + "A" * 20).status_code == 401
    chatkit = post(mint, "chatkit/sessions", token).json()["client_secret"]
    assert chatkit.startswith("ek_llmp_")
    with pytest.raises(InvalidStatus) as caught:
        through(live, chatkit)
    assert caught.value.response.status_code == 403


def coded_as(name: str) -> list[tuple[str, str]]:
    return [("content-type", "application/json"), ("content-encoding", name)]


def test_every_form_and_coding_is_rewritten_and_no_other_passes(
    start_proxy: StartProxy, tenant: Tenant, api: Upstream
) -> None:
    proxy = start_proxy(ALLOWED)
    _, token = tenant.token()
    bodies = [(path, json.dumps(minted(path)).encode()) for path in MINTING]
    for (path, body), (header, encode) in zip(bodies * 2, CODINGS.values(), strict=False):
        coded = Answer([encode(body)], 200, coded_as(header))
        api.handler = lambda _, coded=coded: coded  # type: ignore[misc]
        got = post(proxy, path, token)
        assert got.status_code == 200, (path, header, got.text)
        assert "ek_llmp_" in got.text
        assert EPHEMERAL not in got.text
    unknown = [
        json_answer({"ephemeral": {"text": EPHEMERAL}}),
        json_answer({**minted("realtime/client_secrets"), "other": "ek_0123456789"}),
        json_answer(minted("realtime/client_secrets"), headers=[("x-secret", EPHEMERAL)]),
        Answer(
            [lzma.compress(json.dumps(minted("realtime/client_secrets")).encode())], 200, coded_as("lzma")
        ),
        Answer([EPHEMERAL.encode()], headers=[("content-type", "text/plain")]),
    ]
    for strange in unknown:
        api.handler = lambda _, strange=strange: strange  # type: ignore[misc]
        got = post(proxy, "realtime/client_secrets", token)
        assert (got.status_code, got.json()["error"]["code"]) == (502, "secret_withheld")
        assert EPHEMERAL not in got.text + repr(got.headers)
    api.handler = lambda _: json_answer({"error": {"message": "no such model", "code": "x"}}, 400)
    assert post(proxy, "realtime/client_secrets", token).json()["error"]["code"] == "x"


def test_a_script_that_is_gone_hands_out_nothing(
    tmp_path: Path, start_proxy: StartProxy, tenant: Tenant, api: Upstream
) -> None:
    go_on = threading.Event()
    body = json.dumps(minted("realtime/client_secrets")).encode()
    api.handler = lambda _: Answer([body[:9], go_on, body[9:]])
    script = copy_of_the_script(tmp_path / "copy")
    proxy = start_proxy(ALLOWED, scripts=(script,))
    _, token = tenant.token()
    got: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: got.append(post(proxy, "realtime/client_secrets", token)))
    thread.start()
    wait_for(lambda: api.requests, "the call is under way")
    broken(script)
    wait_for(lambda: post(proxy, "models", token).status_code == 503, "the seal refuses")
    go_on.set()
    thread.join(20)
    assert (got[0].status_code, got[0].json()["error"]["code"]) == (502, "secret_withheld")
    assert EPHEMERAL not in got[0].text


def test_the_organization_is_for_tokens_that_are_named_for_it(
    start_proxy: StartProxy, tenant: Tenant, upstream: Upstream
) -> None:
    """Keys are made there, too (`/v1/organization/admin_api_keys`)."""
    upstream.handler = lambda _: json_answer({"object": "list", "data": []})
    _, plain = tenant.token()
    _, admin = tenant.token(limits=Limits(endpoints=("administration",)))
    path = "organization/admin_api_keys"
    closed = start_proxy()
    assert [post(closed, path, token).status_code for token in (plain, admin)] == [403, 403]
    assert upstream.requests == []
    opened = start_proxy("llm_endpoints=inference,administration")
    assert [post(opened, path, token).status_code for token in (plain, admin)] == [403, 200]
    assert len(upstream.requests) == 1
