"""The sockets of ``llmproxy serve``."""

from __future__ import annotations

import shutil
import socket
import subprocess

import pytest

from scripts.client.proxy_process import StartFailed
from scripts.serving.sockets import opened, parse
from tests.live.harness import ROOT


def test_each_proxy_has_a_socket_of_the_same_port_and_the_management_is_one() -> None:
    reverse, management = parse("127.0.0.1:0", "--listen-reverse"), parse("127.0.0.1:0", "--management")
    with opened([reverse, management], 3):
        assert reverse.port
        assert {each.getsockname() for each in reverse.sockets} == {("127.0.0.1", reverse.port)}
        assert len({reverse.of(number).fileno() for number in range(3)}) == 3
        assert len(management.sockets) == 1
        assert management.of(2) is management.of(0)
    with socket.create_server(("127.0.0.1", reverse.port)):
        pass  # it is free again


def test_a_port_that_another_serve_has_is_refused_although_it_could_be_shared() -> None:
    first = parse("127.0.0.1:0", "--listen")
    with opened([first], 2):
        second = parse(f"127.0.0.1:{first.port}", "--listen")
        with pytest.raises(StartFailed, match=rf"127\.0\.0\.1:{first.port} .* choose another with --listen"):
            second.open(2)


@pytest.mark.parametrize(
    ("text", "host", "port", "shown", "mode"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080, "127.0.0.1:8080", "127.0.0.1:8080"),
        ("8080", "", 8080, "*:8080", "8080"),
        ("[::1]:8080", "::1", 8080, "[::1]:8080", "::1:8080"),
    ],
)
def test_addresses(text: str, host: str, port: int, shown: str, mode: str) -> None:
    found = parse(text, "--listen")
    assert (found.host, found.port, str(found), found.mode) == (host, port, shown, mode)


@pytest.mark.parametrize("text", ["", "host:", "127.0.0.1:x", "1:70000"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text, "--listen")


def test_the_configuration_for_haproxy_in_the_docs_is_one() -> None:
    haproxy = shutil.which("haproxy")
    if haproxy is None:
        pytest.skip("haproxy is not installed")
    text = (ROOT / "docs" / "scaling.md").read_text()
    configuration = text.partition("```haproxy\n")[2].partition("```")[0]
    done = subprocess.run(
        [haproxy, "-c", "-f", "/dev/stdin"], input=configuration, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
