from __future__ import annotations

import pytest

from addons.flow.network.other_hosts import OtherHosts, hides_its_name


@pytest.mark.parametrize(
    "client", ["127.0.0.1", "::1", "10.1.2.3", "192.168.0.4", "fd00::1", "::ffff:10.0.0.1"]
)
def test_clients_inside_reach_other_hosts_at_the_ports_of_the_web(client: str) -> None:
    rule = OtherHosts()
    assert rule.why_not(client, "example.com", 443) is None
    assert rule.why_not(client, "example.com", 80) is None
    for port in (22, 25, 465, 587, 5432, 8443):
        assert "llm_other_ports" in str(rule.why_not(client, "example.com", port))


@pytest.mark.parametrize("client", ["8.8.8.8", "2606:4700::1", "::ffff:8.8.8.8", None, "strange"])
def test_other_clients_do_not_unless_that_is_opened(client: str | None) -> None:
    assert "llm_other_hosts" in str(OtherHosts().why_not(client, "example.com", 443))
    assert OtherHosts("open").why_not(client, "example.com", 443) is None


def test_nobody_does_where_they_are_refused() -> None:
    assert "llm_other_hosts" in str(OtherHosts("refuse").why_not("127.0.0.1", "example.com", 443))


@pytest.mark.parametrize("clients", ["pass", "open"])
@pytest.mark.parametrize(
    "host", ["localhost", "a.localhost.", "127.1", "[::1]", "10.0.0.1", "0xa000001", "64:ff9b::7f00:1"]
)
def test_nobody_reaches_private_addresses(host: str, clients: str) -> None:
    assert "not a public address" in str(OtherHosts(clients).why_not("127.0.0.1", host, 443))


@pytest.mark.parametrize(
    ("host", "server_name", "hidden"),
    [
        ("162.159.140.245", None, True),
        ("162.159.140.245", "", True),
        ("2728365301", None, True),
        ("162.159.140.245", "162.159.140.245", True),
        ("[2606:4700::1]", "cloudflare-ech.com", True),
        ("162.159.140.245", "example.com", False),
        ("example.com", None, False),
        ("example.com", "cloudflare-ech.com", False),
    ],
)
def test_tls_that_names_no_server(host: str, server_name: str | None, hidden: bool) -> None:
    assert hides_its_name(host, server_name) is hidden
