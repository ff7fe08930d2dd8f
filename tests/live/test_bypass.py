"""The ways round a gate (docs/bypass.md): each is first shown open on a plain one, then closed on ours.

The plain gate (``holes/swapping.py``) checks the token and puts the real key in its place, and no more than
that. "Open" means that the upstream answered, or that it got what should not have come that far.
"""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.live.clients import authorised
from tests.live.conftest import REAL_KEY, Running, StartProxy, Tenant
from tests.live.harness import Proxy, wait_for
from tests.live.responses_server import ResponsesServer
from tests.live.test_destinations import ELSEWHERE, ask, tunnel
from tests.live.test_fail_closed import HOLES, PlainProxy
from tests.live.test_minted import MINTING
from tests.live.upstream import Answer, Seen, Upstream, json_answer

TOKEN = "plain-token"
MODEL = "gpt-4o-mini"

PAST_THE_PROXY = (
    *MINTING,
    "realtime/calls",
    "realtime/calls/rtc_1/accept",
    "realtime/calls/rtc_1/refer",
    "live/sessions",
    "live/sessions/s_1/accept",
)
"""Credentials that work without it, and media that go past it."""
LATER = (
    "agents/sessions",
    "batches",
    "fine_tuning/jobs",
    "fine_tuning/jobs/ftjob_1/resume",
    "fine_tuning/alpha/graders/run",
    "evals/eval_1/runs",
    "videos",
    "containers",
    "skills",
)
"""What is billed later, or by what the traffic does not show."""
ADMINISTRATION = (
    "organization/admin_api_keys",
    "organization/projects/proj_1/service_accounts",
    "organization/projects/proj_1/service_accounts/user_1/api_keys",
    "projects/proj_1/groups/g_1/roles",
    "fine_tuning/checkpoints/ckpt_1/permissions",
)
UNKNOWN = (
    "new/thing",
    "/organization/admin_api_keys",
    "models/../organization/users",
    "models/%2e%2e/organization/users",
)
"""Not in the table of endpoints, or a path that two parsers read in two ways."""

OTHER_MODELS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("responses", {"prompt": {"id": "pmpt_1"}}),  # a stored prompt has a model of its own
    ("threads/runs", {"assistant_id": "asst_1"}),  # so has an assistant
    ("chat/completions", {"model": "ft:gpt-4o-mini:acme::1", "messages": []}),
    ("chat/completions", {"model": "gpt-4.1", "messages": []}),
    ("responses", {"model": MODEL, "tools": [{"type": "image_generation", "model": "gpt-image-1"}]}),
    ("responses", {"model": MODEL, "tools": [{"type": "image_generation"}]}),
)


@dataclass
class Way:
    """A proxy, what a client of it has, and what is behind it."""

    proxy: Proxy
    token: str
    upstream: Upstream


@contextlib.contextmanager
def plain(folder: Path, upstream_url: str, authority_file: Path, *options: str) -> Iterator[Proxy]:
    with PlainProxy(
        folder,
        [f"ssl_verify_upstream_trusted_ca={authority_file}", "connection_strategy=lazy", *options],
        scripts=(HOLES / "swapping.py",),
        reverse=upstream_url,
        environment={"HOLE_TOKEN": TOKEN, "HOLE_KEY": REAL_KEY},
    ) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def unguarded(
    authority: trustme.CA, authority_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Way]:
    answers = Upstream(answered, authority.issue_cert("localhost"))
    folder = tmp_path_factory.mktemp("plain")
    with (
        answers.running() as upstream,
        plain(folder, upstream.base_url, authority_file, "stream_large_bodies=1") as proxy,
    ):
        yield Way(proxy, TOKEN, upstream)


@pytest.fixture(scope="module")
def guarded(start_shared: Callable[..., Running]) -> Way:
    return answering(start_shared())


@pytest.fixture(scope="module")
def restricted(start_shared: Callable[..., Running]) -> Way:
    return answering(start_shared(f"llm_models={MODEL}"))


def answered(seen: Seen) -> Answer:
    return json_answer({"answered": seen.path})


def answering(running: Running) -> Way:
    way = Way(running.proxy, running.token, running.upstream)
    way.upstream.handler = answered
    return way


def post(way: Way, path: str, body: Any = None, **headers: str) -> httpx.Response:
    # By hand: httpx would tidy the path up.
    url = httpx.URL(f"{way.proxy.reverse_url}/", raw_path=f"/v1/{path}".encode())
    with httpx.Client(trust_env=False, timeout=30) as client:
        return client.post(url, json=body or {}, headers={**authorised(way.token), **headers})


def test_endpoints(unguarded: Way, guarded: Way) -> None:
    paths = (*PAST_THE_PROXY, *LATER, *ADMINISTRATION, *UNKNOWN)
    before = len(unguarded.upstream.requests)
    assert {path: post(unguarded, path).status_code for path in paths} == dict.fromkeys(paths, 200)
    reached = unguarded.upstream.requests[before:]
    assert {seen.header("authorization") for seen in reached} == {f"Bearer {REAL_KEY}"}
    before = len(guarded.upstream.requests)
    for path in paths:
        refused = post(guarded, path)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "endpoint_not_allowed"), path
    assert len(guarded.upstream.requests) == before


def test_media_stay_refused_where_their_class_is_allowed(
    start_proxy: StartProxy, tenant: Tenant, upstream: Upstream
) -> None:
    proxy = start_proxy("llm_endpoints=inference,unmetered,realtime")
    way = Way(proxy, tenant.token()[1], upstream)
    for path in ("realtime/calls", "realtime/calls/rtc_1/accept", "live/sessions"):
        assert post(way, path).status_code == 403, path
    assert upstream.requests == []
    assert post(way, "batches").status_code == 200


def test_models_that_the_request_does_not_name(unguarded: Way, restricted: Way) -> None:
    assert all(post(unguarded, path, body).status_code == 200 for path, body in OTHER_MODELS)
    for path, body in OTHER_MODELS:
        refused = post(restricted, path, body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_not_found"), path
    assert restricted.upstream.requests == []


def test_a_body_that_is_sent_on_before_its_end(unguarded: Way, restricted: Way) -> None:
    """mitmproxy's `stream_large_bodies`: the model may stand at the end. Ours does not start with it."""
    body = json.dumps({"messages": [], "model": "gpt-4.1"}).encode()
    lines = ["POST /v1/chat/completions HTTP/1.1", "host: api.openai.com", "transfer-encoding: chunked"]

    def connections(way: Way, wanted: bool) -> int:
        before = way.upstream.connections
        host = ("127.0.0.2", way.proxy.reverse_port)
        with socket.create_connection(host, 10) as raw:
            raw.sendall("\r\n".join([*lines, f"authorization: Bearer {way.token}", "", ""]).encode())
            raw.sendall(b"%x\r\n%b\r\n" % (20, body[:20]))
            if wanted:
                wait_for(lambda: way.upstream.connections > before, "half a body is on its way")
            raw.sendall(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body) - 20, body[20:]))
            assert raw.recv(1000)
        return way.upstream.connections - before

    assert connections(unguarded, wanted=True) == 1
    assert connections(restricted, wanted=False) == 0


def test_a_second_credential(unguarded: Way, guarded: Way) -> None:
    """Whose account is billed could be chosen by the client."""
    second = {
        "openai-organization": "org-other",
        "openai-project": "proj-other",
        "api-key": "sk-own",
        "cookie": "session=own",
    }
    path = "chat/completions?api-key=sk-own"
    assert post(unguarded, path, **second).status_code == 200
    seen = unguarded.upstream.requests[-1]
    assert {name: seen.header(name) for name in second} == second
    assert post(guarded, path, **second).status_code == 200
    seen = guarded.upstream.requests[-1]
    assert [seen.header(name) for name in second] == [None] * len(second)
    assert "own" not in seen.path


def test_a_key_of_the_clients_own(guarded: Way, unguarded: Way, authority_file: Path) -> None:
    """Past the proxy it works, and only the network can keep a client from that; through it, it does not."""
    trust = ssl.create_default_context(cafile=str(authority_file))
    url = f"{unguarded.upstream.base_url}/v1/chat/completions"
    own = httpx.post(url, headers=authorised(REAL_KEY), json={}, verify=trust, trust_env=False)
    assert own.status_code == 200
    refused = post(Way(guarded.proxy, REAL_KEY, guarded.upstream), "chat/completions")
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")


@pytest.fixture
def server(authority: trustme.CA) -> Iterator[ResponsesServer]:
    with ResponsesServer(authority.issue_cert("localhost"), accepted={REAL_KEY}).running() as running:
        assert isinstance(running, ResponsesServer)
        yield running


def test_frames_of_a_websocket(
    tmp_path: Path, start_proxy: StartProxy, tenant: Tenant, server: ResponsesServer, authority_file: Path
) -> None:
    """One handshake, and then any number of calls with any model; or a second leg of a call by telephone."""
    frame = json.dumps({"type": "response.create", "model": "gpt-4.1", "input": "hello"})

    def leads_through(proxy: Proxy, token: str, path: str = "responses") -> Any:
        url = f"ws://127.0.0.2:{proxy.reverse_port}/v1/{path}"
        with connect(url, additional_headers=authorised(token), proxy=None) as raw:
            raw.send(frame)
            return json.loads(raw.recv())["type"]

    joining = "realtime?call_id=rtc_1"
    (tmp_path / "plain").mkdir()
    with plain(tmp_path / "plain", server.base_url, authority_file) as proxy:
        assert leads_through(proxy, TOKEN) == "response.created", "the hole is there"
        assert leads_through(proxy, TOKEN, joining) == "response.created"
    server.seen.clear()
    server.handshakes.clear()
    ours, (_, token) = start_proxy(f"llm_models={MODEL}", upstream_url=server.base_url), tenant.token()
    assert leads_through(ours, token) == "error"
    with pytest.raises(InvalidStatus, match="403"):
        leads_through(ours, token, joining)
    assert server.seen == []
    assert len(server.handshakes) == 1


OTHER_NAMES = ("eu.api.openai.com", "us.api.openai.com", "acme.openai.azure.com")


def test_the_api_under_other_names(unguarded: Way, guarded: Way, start_proxy: StartProxy) -> None:
    """Regions, and Azure: a client with a key of its own would go there past the gate."""

    def status(proxy: Proxy, host: str) -> str:
        with socket.create_connection(("127.0.0.1", proxy.port), 10) as raw:
            raw.sendall(f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n".encode())
            return raw.recv(1000).split(b" ")[1].decode()

    assert [status(unguarded.proxy, host) for host in OTHER_NAMES] == ["200"] * 3
    ours = guarded.proxy
    assert [status(ours, host) for host in OTHER_NAMES] == ["403"] * 3
    trust = ssl.create_default_context(cafile=str(ours.ca_file))
    with tunnel(ours, ELSEWHERE) as raw, trust.wrap_socket(raw, server_hostname=OTHER_NAMES[0]) as inner:
        assert b"destination_not_allowed" in ask(inner, OTHER_NAMES[0], guarded.token)
    allowed = start_proxy(f"llm_hosts=api.openai.com,{OTHER_NAMES[0]}")
    assert [status(allowed, host) for host in OTHER_NAMES] == ["200", "403", "403"]


SPOKEN_FOR = "api.openai.com"


def test_a_host_header_that_names_another_than_the_tunnel(unguarded: Way, guarded: Way) -> None:
    """Who may choose where the key goes to has the key."""
    target = f"localhost:{unguarded.upstream.port}"
    trust = ssl.create_default_context(cafile=str(unguarded.proxy.ca_file))
    with tunnel(unguarded.proxy, target) as raw, trust.wrap_socket(raw, server_hostname="localhost") as inner:
        assert b" 200 " in ask(inner, SPOKEN_FOR, TOKEN)
    seen = unguarded.upstream.requests[-1]
    assert (seen.header("host"), seen.header("authorization")) == (SPOKEN_FOR, f"Bearer {REAL_KEY}")
    trust = ssl.create_default_context(cafile=str(guarded.proxy.ca_file))
    before = len(guarded.upstream.requests)
    with (
        tunnel(guarded.proxy, ELSEWHERE) as raw,
        trust.wrap_socket(raw, server_hostname=SPOKEN_FOR) as inner,
    ):
        refused = ask(inner, SPOKEN_FOR, guarded.token)
    assert REAL_KEY.encode() not in refused
    assert b"destination_not_allowed" in refused
    assert len(guarded.upstream.requests) == before


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that switches protocols if asked to, and then sends back what comes."""

    class Echo(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while line := self.rfile.readline():
                if line == b"\r\n":
                    line = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n"
                elif b":" in line or b"HTTP" in line:
                    continue
                self.wfile.write(line)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield int(server.server_address[1])
        server.shutdown()


def test_bytes_that_are_not_http(unguarded: Way, guarded: Way, echo: int) -> None:
    """In a tunnel, where nobody has asked for a token yet."""

    def comes_back(proxy: Proxy, target: str) -> bytes:
        with tunnel(proxy, target) as raw:
            raw.settimeout(20)
            raw.sendall(b"\x00anything at all\n")
            return raw.recv(100)

    assert comes_back(unguarded.proxy, f"127.0.0.1:{echo}") == b"\x00anything at all\n"
    before = guarded.upstream.connections
    assert comes_back(guarded.proxy, "api.openai.com:443") == b""
    assert guarded.upstream.connections == before


def test_another_protocol(tmp_path: Path, authority_file: Path, guarded: Way, echo: int) -> None:
    """After the upgrade there are bytes that no gate can read."""

    def upgraded(proxy: Proxy, token: str) -> tuple[bytes, bytes]:
        with socket.create_connection(("127.0.0.2", proxy.reverse_port), 20) as raw:
            raw.sendall(
                b"GET /v1/realtime?model=gpt-realtime HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\n"
                b"Upgrade: raw\r\nAuthorization: Bearer " + token.encode() + b"\r\n\r\n"
            )
            status = raw.recv(10_000).split(b" ")[1]
            if status != b"101":
                return status, b""
            raw.sendall(b"anything at all\n")
            return status, raw.recv(100)

    with plain(tmp_path, f"http://127.0.0.1:{echo}", authority_file) as proxy:
        assert upgraded(proxy, TOKEN) == (b"101", b"anything at all\n")
    before = guarded.upstream.connections
    assert upgraded(guarded.proxy, guarded.token) == (b"400", b"")
    assert guarded.upstream.connections == before
