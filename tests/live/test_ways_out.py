"""Networks whose only way out is a proxy: both listeners take it, and so do hosts that are passed through."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
import trustme

from tests.live.clients import chat, sdk
from tests.live.conftest import StartProxy, Tenant
from tests.live.upstream import Upstream, json_answer


class WayOut:
    """A proxy that knows CONNECT, and leads every name to this machine."""

    def __init__(self, certificate: trustme.LeafCert | None = None) -> None:
        """With a `certificate` it speaks TLS itself."""
        self.heads: list[str] = []
        self._context: ssl.SSLContext | None = None
        if certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            certificate.configure_cert(self._context)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"

    @property
    def targets(self) -> list[str]:
        return [head.split()[1] for head in self.heads]

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                if self._context is not None:
                    client = self._context.wrap_socket(client, server_side=True)
                threading.Thread(target=self._tunnel, args=[client], daemon=True).start()

    def _tunnel(self, client: socket.socket) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += client.recv(1)
        self.heads.append(head.decode())
        port = int(head.split()[1].rpartition(b":")[2])
        with (
            contextlib.suppress(OSError),
            client,
            socket.create_connection(("127.0.0.1", port), 10) as server,
        ):
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            pairs = {client: server, server: client}
            while True:
                # What TLS has read already no select shows.
                waiting = [client] if isinstance(client, ssl.SSLSocket) and client.pending() else []
                for source in waiting or select.select(list(pairs), [], [], 60)[0]:
                    if not (data := source.recv(65536)):
                        return
                    pairs[source].sendall(data)

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


@pytest.fixture
def way_out() -> Iterator[WayOut]:
    way_out = WayOut()
    threading.Thread(target=way_out.serve, daemon=True).start()
    yield way_out
    way_out.close()


def test_both_listeners_and_other_hosts_take_the_outgoing_proxy(
    start_proxy: StartProxy,
    tenant: Tenant,
    upstream: Upstream,
    way_out: WayOut,
    authority: trustme.CA,
    authority_file: Path,
    tmp_path: Path,
) -> None:
    secret = tmp_path / "way-out"
    secret.write_text(f"http://ada:secret@{way_out.address}\n")
    elsewhere = Upstream(lambda seen: json_answer({"hello": 1}), authority.issue_cert("elsewhere.example"))
    with elsewhere.running():
        proxy = start_proxy(f"llm_outgoing_proxy=file:{secret}", f"llm_other_ports={elsewhere.port}")
        _, token = tenant.token()
        assert chat(sdk(proxy, token)).choices
        assert chat(openai.OpenAI(api_key=token, base_url=f"{proxy.reverse_url}/v1", max_retries=0)).choices
        url = f"https://elsewhere.example:{elsewhere.port}/"
        fetched = subprocess.run(
            ["curl", "-sS", "--proxy", proxy.url, "--cacert", str(authority_file), url],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert fetched.stdout == '{"hello": 1}', fetched.stderr
    assert way_out.targets == [*[f"localhost:{upstream.port}"] * 2, f"elsewhere.example:{elsewhere.port}"]
    assert all("Basic YWRhOnNlY3JldA==" in head for head in way_out.heads)
    assert "secret" not in proxy.output + str(proxy.records())


def test_mode_upstream(start_proxy: StartProxy, tenant: Tenant, upstream: Upstream, way_out: WayOut) -> None:
    proxy = start_proxy(forward=f"upstream:http://{way_out.address}", reverse=None)
    assert chat(sdk(proxy, tenant.token()[1])).choices
    assert way_out.targets == [f"localhost:{upstream.port}"]


def test_an_outgoing_proxy_that_speaks_tls(
    start_proxy: StartProxy, tenant: Tenant, upstream: Upstream, authority: trustme.CA, tmp_path: Path
) -> None:
    """Both its certificate and that of the API behind it are verified."""
    way_out = WayOut(authority.issue_cert("localhost"))
    threading.Thread(target=way_out.serve, daemon=True).start()
    try:
        secret = tmp_path / "way-out"
        secret.write_text(f"https://ada:secret@localhost:{way_out.address.rpartition(':')[2]}\n")
        proxy = start_proxy(f"llm_outgoing_proxy=file:{secret}")
        _, token = tenant.token()
        assert chat(sdk(proxy, token)).choices
        assert chat(openai.OpenAI(api_key=token, base_url=f"{proxy.reverse_url}/v1", max_retries=0)).choices
        assert way_out.targets == [f"localhost:{upstream.port}"] * 2
        assert all("Basic YWRhOnNlY3JldA==" in head for head in way_out.heads)
    finally:
        way_out.close()
