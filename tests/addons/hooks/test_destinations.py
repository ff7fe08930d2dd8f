"""Connections that the guard refuses, one hook at a time."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
from mitmproxy.connection import Client, Server
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.proxy.server_hooks import ServerConnectionHookData
from mitmproxy.test import taddons, tflow

from addons.flow.network.destination import Destinations, parse_upstream
from addons.flow.network.other_hosts import OtherHosts
from addons.hooks.destinations import DestinationGuard
from addons.mitm import dialing as mitm_dialing
from addons.mitm.outgoing_proxy import parse_outgoing_proxy
from addons.runtime import Runtime


@dataclass
class Settings:
    destinations: Destinations = field(default_factory=lambda: Destinations(["api.openai.com"]))
    other_hosts: OtherHosts = field(default_factory=OtherHosts)
    management: Any = None
    outgoing_proxy: Any = None


def guard(**settings: Any) -> DestinationGuard:
    return DestinationGuard(cast(Runtime, SimpleNamespace(settings=Settings(**settings))))


def client(mode: str = "regular", peer: str = "127.0.0.1") -> Client:
    connection = tflow.tclient_conn()
    connection.proxy_mode = ProxyMode.parse(mode)
    connection.peername = (peer, 1234)
    return connection


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[list[str]]]:
    """By name, the answers of its look-ups in turn; then none."""
    answers: dict[str, list[list[str]]] = {}

    async def look_up(host: str, port: int) -> Any:
        if not answers.get(host):
            raise socket.gaierror(-3, "Temporary failure in name resolution")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in answers[host].pop(0)]

    monkeypatch.setattr(mitm_dialing, "look_up", look_up)
    return answers


async def connect(rule: DestinationGuard, host: str, port: int = 443, **given: Any) -> str | None:
    data = ServerConnectionHookData(Server(address=(host, port)), client(**given))
    await rule.server_connect(data)
    return data.server.error


@pytest.mark.parametrize(
    "answers", [[], [["127.0.0.1"]], [["8.8.8.8", "10.0.0.1"]], [["64:ff9b::a00:1"]], [[]]]
)
async def test_names_that_do_not_lead_to_public_addresses_only(
    answers: list[list[str]], names: dict[str, list[list[str]]]
) -> None:
    """Also one that cannot be looked up now: the look-up of the dialling might find a private address."""
    names["inside.example"] = answers
    assert await connect(guard(), "inside.example")


async def test_a_public_name_is_dialled_at_what_was_checked(
    names: dict[str, list[list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []
    monkeypatch.setattr(mitm_dialing, "dial_only", lambda *dialled: given.append(dialled))
    names["example.com"] = [["8.8.8.8", "2606:4700::1"]]
    assert await connect(guard(), "example.com") is None
    [(host, port, addresses)] = given
    assert (host, port) == ("example.com", 443)
    assert [address[0] for *_, address in addresses] == ["8.8.8.8", "2606:4700::1"]


@pytest.mark.parametrize("mode", ["regular", "socks5", "transparent"])
async def test_the_rule_for_other_hosts_holds_without_a_connect_request(
    mode: str, names: dict[str, list[list[str]]]
) -> None:
    """SOCKS and redirected connections lead to no hook before this one where TLS passes untouched."""
    names["example.com"] = [["8.8.8.8"]] * 9
    assert await connect(guard(), "example.com", mode=mode) is None
    assert "llm_other_ports" in str(await connect(guard(), "example.com", 25, mode=mode))
    assert "llm_other_hosts" in str(await connect(guard(), "example.com", mode=mode, peer="8.8.4.4"))
    refusing = guard(other_hosts=OtherHosts("refuse"))
    assert "llm_other_hosts" in str(await connect(refusing, "example.com", mode=mode))
    assert "llm_hosts" in str(await connect(guard(), "acme.openai.azure.com", mode=mode))


async def test_what_the_operator_wrote_down_may_be_anywhere(names: dict[str, list[list[str]]]) -> None:
    configured = guard(destinations=Destinations(["api.openai.com"], parse_upstream("https://10.0.0.5:9443")))
    assert await connect(configured, "10.0.0.5", 9443) is None
    assert await connect(configured, "10.0.0.5", 9444)
    assert await connect(guard(), "inside.example", 9443, mode="reverse:https://inside.example:9443") is None
    assert await connect(guard(), "api.openai.com") is None


async def test_all_goes_through_the_outgoing_proxy(names: dict[str, list[list[str]]]) -> None:
    """It may be anywhere; nothing is dialled beside it, also not what would be allowed."""
    names["example.com"] = [["8.8.8.8"]] * 9
    rule = guard(outgoing_proxy=parse_outgoing_proxy("http://10.0.0.9:3128"))
    upstream = guard()
    for asked, mode in (
        (rule, "regular"),
        (rule, "reverse:https://a.example"),
        (upstream, "upstream:10.0.0.9:3128"),
    ):
        assert await connect(asked, "10.0.0.9", 3128, mode=mode) is None
        for other in (("10.0.0.9", 443), ("example.com", 443), ("api.openai.com", 443)):
            assert "without the outgoing proxy" in str(await connect(asked, *other, mode=mode))


async def test_names_that_lead_inside_are_not_asked_of_the_outgoing_proxy(
    names: dict[str, list[list[str]]],
) -> None:
    """One that is not known here may be known there."""
    rule = guard(outgoing_proxy=parse_outgoing_proxy("http://10.0.0.9:3128"))
    names.update({"inside.example": [["10.1.1.1"]], "example.com": [["8.8.8.8"]]})
    with taddons.context():
        for host, refused in (("inside.example", True), ("example.com", False), ("unknown.example", False)):
            flow = tflow.tflow()
            flow.client_conn, flow.server_conn = client(), Server(address=None)
            flow.request.host, flow.request.port = host, 443
            await rule.http_connect(flow)
            assert (flow.response is not None) is refused
            assert flow.server_conn.via == (None if refused else ("http", ("10.0.0.9", 3128)))


async def test_credentials_are_shown_to_the_outgoing_proxy_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAY_OUT", "http://ada:s%40fe@10.0.0.9:3128")
    rule = guard(outgoing_proxy=parse_outgoing_proxy("env:WAY_OUT"))
    flow = tflow.tflow()
    flow.server_conn = Server(address=("10.0.0.9", 3128))
    rule.http_connect_upstream(flow)
    assert flow.request.headers["proxy-authorization"] == "Basic YWRhOnNAZmU="
    flow = tflow.tflow()
    rule.http_connect_upstream(flow)
    assert "proxy-authorization" not in flow.request.headers


def hello(host: str, server_name: str | None) -> Any:
    return SimpleNamespace(
        context=SimpleNamespace(client=client(), server=Server(address=(host, 443))),
        client_hello=SimpleNamespace(sni=server_name),
        ignore_connection=False,
    )


@pytest.mark.parametrize(
    ("host", "server_name", "opened"),
    [
        ("example.com", "example.com", False),
        ("162.159.140.245", "example.com", False),
        ("162.159.140.245", None, True),
        ("162.159.140.245", "api.openai.com", True),
        ("api.openai.com", "example.com", True),
        ("acme.cognitiveservices.azure.com", "acme.cognitiveservices.azure.com", True),
    ],
)
def test_tls_that_is_opened(host: str, server_name: str | None, opened: bool) -> None:
    data = hello(host, server_name)
    guard().tls_clienthello(data)
    assert data.ignore_connection is not opened


async def test_what_is_in_tls_without_a_name_does_not_pass() -> None:
    """Neither HTTP, whatever its Host header says, nor other bytes."""
    rule = guard()
    with taddons.context():
        flow = tflow.tflow()
        flow.client_conn.timestamp_tls_setup = 1.0
        flow.client_conn.tls = True
        flow.client_conn.sni = None
        flow.request.host, flow.request.port = "162.159.140.245", 443
        flow.request.host_header = "example.com"
        await rule.requestheaders(flow)
        assert flow.response
        assert b"server name" in (flow.response.raw_content or b"")
        raw = tflow.ttcpflow()
        raw.client_conn = flow.client_conn
        rule.tcp_start(raw)
        raw.messages[-1].content = b"raw"
        rule.tcp_message(raw)
        assert raw.messages[-1].content == b""
