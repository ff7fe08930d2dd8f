"""The real key reaches the true destination, and nothing else does."""

from __future__ import annotations

import socket
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest
import trustme

from tests.live.clients import CHAT_URL, HELLO, authorised, chat, http, sdk
from tests.live.conftest import REAL_KEY, StartProxy, Tenant
from tests.live.harness import SCRIPT, Proxy
from tests.live.upstream import Upstream, json_answer

BODY = {"model": "gpt-4o-mini", "messages": HELLO}


def test_true_destination_gets_the_key_and_only_it(proxy: Proxy, tenant: Tenant, upstream: Upstream) -> None:
    _, token = tenant.token()
    with http(proxy) as client:
        answer = client.post(
            CHAT_URL,
            headers={**authorised(token), "openai-organization": "org-other", "cookie": "session=1"},
            json=BODY,
        )
    assert answer.status_code == 200
    seen = upstream.requests[-1]
    assert seen.header("authorization") == f"Bearer {REAL_KEY}"
    assert seen.header("host") == f"localhost:{upstream.port}"
    assert seen.header("openai-organization") is None
    assert seen.header("cookie") is None
    assert token not in repr(seen)


@pytest.mark.parametrize("http2", [False, True])
def test_host_header_that_names_another(
    http2: bool, proxy: Proxy, tenant: Tenant, upstream: Upstream
) -> None:
    _, token = tenant.token()
    with http(proxy, http2=http2) as client:
        spoofed = client.post(CHAT_URL, headers={**authorised(token), "host": "evil.example"}, json=BODY)
    assert spoofed.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
    assert spoofed.status_code == 403
    assert spoofed.json()["error"]["code"] == "destination_not_allowed"
    assert upstream.requests == []


ELSEWHERE = "11.0.0.1:443"
"""A public address, so that it is not refused for being none; it is never dialled."""


def tunnel(proxy: Proxy, target: str) -> socket.socket:
    """A CONNECT tunnel to `target`, whatever is spoken in it."""
    raw = socket.create_connection(("127.0.0.1", proxy.port), 10)
    raw.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += raw.recv(1) or pytest.fail(f"the proxy closed after {head!r}")
    assert b" 200 " in head.split(b"\r\n")[0], head
    return raw


def ask(raw: socket.socket, host: str, token: str) -> bytes:
    raw.sendall(
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n"
        "Content-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}".encode()
    )
    answer = b""
    while data := raw.recv(65536):
        answer += data
    return answer


def test_connect_elsewhere_with_openai_as_host(proxy: Proxy, tenant: Tenant, upstream: Upstream) -> None:
    """Plain HTTP inside a tunnel to another address that claims to be for api.openai.com."""
    _, token = tenant.token()
    with tunnel(proxy, ELSEWHERE) as raw:
        answer = ask(raw, "api.openai.com", token)
    assert b" 403 " in answer.split(b"\r\n")[0]
    assert b"destination_not_allowed" in answer
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("target", "sni"), [(ELSEWHERE, "api.openai.com"), ("api.openai.com:443", "evil.example")]
)
def test_server_name_and_address_that_differ(
    target: str, sni: str, proxy: Proxy, tenant: Tenant, upstream: Upstream
) -> None:
    _, token = tenant.token()
    trust = ssl.create_default_context(cafile=str(proxy.ca_file))
    with tunnel(proxy, target) as raw, trust.wrap_socket(raw, server_hostname=sni) as inner:
        answer = ask(inner, "api.openai.com", token)
    assert b" 403 " in answer.split(b"\r\n")[0]
    assert b"destination_not_allowed" in answer
    assert upstream.requests == []


def test_plain_http_and_other_ports_are_refused(proxy: Proxy, tenant: Tenant, upstream: Upstream) -> None:
    _, token = tenant.token()
    with http(proxy) as client:
        plain = client.post("http://api.openai.com/v1/chat/completions", headers=authorised(token), json=BODY)
        assert plain.status_code == 403
        assert "https" in plain.json()["error"]["message"]
        with pytest.raises(httpx.ProxyError, match="403"):
            client.post(
                "https://api.openai.com:8443/v1/chat/completions", headers=authorised(token), json=BODY
            )
    assert upstream.requests == []


def test_a_second_name_beside_the_true_one(proxy: Proxy, tenant: Tenant, upstream: Upstream) -> None:
    """Absolute-form target in the tunnel: the request line names another host than the tunnel."""
    _, token = tenant.token()
    trust = ssl.create_default_context(cafile=str(proxy.ca_file))
    with (
        tunnel(proxy, "api.openai.com:443") as raw,
        trust.wrap_socket(raw, server_hostname="api.openai.com") as inner,
    ):
        inner.sendall(
            f"GET https://evil.example/v1/models HTTP/1.1\r\nHost: evil.example\r\n"
            f"Authorization: Bearer {token}\r\nConnection: close\r\n\r\n".encode()
        )
        answer = b""
        while data := inner.recv(65536):
            answer += data
    assert b" 200 " not in answer.split(b"\r\n")[0]
    assert upstream.requests == []


@pytest.mark.parametrize(
    "option",
    [
        "ssl_insecure=true",
        "map_remote=|api.openai.com|evil.example",
        "map_local=|models|/etc/passwd",
        "modify_headers=/~q/host/evil.example",
        "modify_body=/~q/a/b",
        "stickyauth=.",
        "stream_large_bodies=1m",
        "ignore_hosts=api",
        "allow_hosts=example",
        "tcp_hosts=api",
        "validate_inbound_headers=false",
        "llm_upstream=http://api.example.com",
        "llm_upstream=not-a-url",
        "llm_hosts=https://api.openai.com",
        "llm_endpoints=inferrence",
        "llm_capture=some",
        "llm_capture_limit=ten",
        "llm_capture_limit=10",
        "llm_other_hosts=maybe",
        "llm_other_ports=https",
        "llm_outgoing_proxy=proxy.example",
        "llm_prices=README.md",
        "llm_prices=no/such/file.yaml",
        "llm_hots=api.openai.com",
        "mode=reverse:http://api.example.com@127.0.0.1:0",
    ],
)
def test_options_that_stop_the_start(option: str, tmp_path: Path) -> None:
    proxy = Proxy(tmp_path, [option])
    if option.startswith("mode="):
        proxy = Proxy(tmp_path, reverse=option.removeprefix("mode=reverse:").partition("@")[0])
    proxy.launch()
    try:
        assert proxy.wait() == 1
    finally:
        proxy.kill()
    name = option.partition("=")[0]
    said = [line for line in proxy.lines if name in line and "llm" in line]
    assert said, proxy.output
    assert "Traceback" not in proxy.output


@pytest.fixture
def elsewhere(authority: trustme.CA) -> Upstream:
    return Upstream(lambda seen: json_answer({"hello": seen.path}), authority.issue_cert("localhost"))


def test_other_hosts_are_refused_on_request(start_proxy: StartProxy) -> None:
    proxy = start_proxy("llm_other_hosts=refuse")
    with http(proxy) as client:
        with pytest.raises(httpx.ProxyError, match="403"):
            client.get("https://example.com/")
        assert client.get("http://example.com/").status_code == 403
    assert proxy.records() == [], "traffic of other hosts leaves no event"


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "10.1.2.3", "192.168.1.1", "169.254.169.254", "[::1]", "[::ffff:10.0.0.1]"],
)
def test_private_addresses_are_refused(host: str, proxy: Proxy, elsewhere: Upstream) -> None:
    """By hand, since clients write IPv6 addresses in different ways."""
    with elsewhere.running():
        authority = f"{host}:{elsewhere.port}"
        for line in (f"GET http://{authority}/latest/meta-data", f"CONNECT {authority}"):
            with socket.create_connection(("127.0.0.1", proxy.port), 30) as raw:
                raw.sendall(f"{line} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
                assert raw.recv(4096).startswith(b"HTTP/1.1 403 ")
    assert elsewhere.requests == []
    assert elsewhere.connections == 0


def test_name_that_leads_to_a_private_address(
    start_proxy: StartProxy, tmp_path: Path, elsewhere: Upstream
) -> None:
    """DNS is asked when dialling; an answer in a private range ends the connection."""
    resolver = tmp_path / "resolver.py"
    resolver.write_text(
        "import socket\nreal = socket.getaddrinfo\n"
        "def fake(host, *args, **kwargs):\n"
        "    return real('127.0.0.1' if host == 'inside.example' else host, *args, **kwargs)\n"
        "socket.getaddrinfo = fake\n"
    )
    with elsewhere.running():
        proxy = start_proxy(f"llm_other_ports={elsewhere.port}", scripts=(resolver, SCRIPT))
        with http(proxy) as client:
            answer = client.get(f"http://inside.example:{elsewhere.port}/")
        assert answer.status_code == 502
        assert "not public" in answer.text
    assert elsewhere.connections == 0


def test_other_hosts_pass_untouched(
    start_proxy: StartProxy, tmp_path: Path, elsewhere: Upstream, authority_file: Path
) -> None:
    """Their own certificate reaches the client: TLS is not opened, and no event is written."""
    loopback = tmp_path / "loopback.py"  # stands for the public internet, which tests must not reach
    loopback.write_text(
        "from addons.flow.network import other_hosts\n"
        "from addons.hooks import destinations\n"
        "destinations.is_public = other_hosts.is_public = lambda address: True\n"
        "other_hosts.is_loopback = lambda host: False\n"
    )
    with elsewhere.running():
        proxy = start_proxy(
            "llm_other_hosts=open", f"llm_other_ports={elsewhere.port}", scripts=(SCRIPT, loopback)
        )
        url = f"https://localhost:{elsewhere.port}/untouched"
        fetched = subprocess.run(
            ["curl", "-sS", "--proxy", proxy.url, "--cacert", str(authority_file), url],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert fetched.stdout == '{"hello": "/untouched"}', fetched.stderr
    assert proxy.calls() == []


def test_llm_upstream_with_a_path(start_proxy: StartProxy, tenant: Tenant, upstream: Upstream) -> None:
    proxy = start_proxy(upstream_url=f"{upstream.base_url}/v1/")
    assert chat(sdk(proxy, tenant.token()[1])).choices
    assert upstream.requests[-1].path == "/v1/chat/completions"


def test_upstream_with_a_certificate_of_its_own_is_refused(start_proxy: StartProxy, tenant: Tenant) -> None:
    stranger = Upstream(lambda seen: json_answer({}), trustme.CA().issue_cert("localhost"))
    with stranger.running():
        proxy = start_proxy(upstream_url=stranger.base_url)
        with http(proxy) as client:
            answer = client.post(CHAT_URL, headers=authorised(tenant.token()[1]), json=BODY)
        assert answer.status_code == 502
        assert stranger.requests == []
    assert proxy.wait_call()["outcome"] == "upstream_aborted"


def test_bytes_that_are_not_http(proxy: Proxy, upstream: Upstream) -> None:
    """A raw protocol in a tunnel to an OpenAI host cannot be gated, so nothing of it goes on."""
    with tunnel(proxy, "api.openai.com:443") as raw:
        raw.sendall(b"SSH-2.0-OpenSSH_9.9\r\n")
        raw.settimeout(10)
        assert raw.recv(100) == b""
    assert upstream.connections == 0
