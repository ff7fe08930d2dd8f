from __future__ import annotations

import pytest

from addons.flow.network.addresses import is_loopback, is_public


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "172.16.5.4",
        "192.168.0.1",
        "169.254.169.254",
        "0.0.0.0",
        "100.64.0.1",
        "::1",
        "fe80::1%eth0",
        "fc00::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "224.0.0.1",
        "ff02::1",
        "::",
        "64:ff9b::10.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b:1::8.8.8.8",
        "::10.0.0.1",
        "::127.0.0.1",
        "::ffff:0:10.0.0.1",
        "::ffff:169.254.169.254",
        "[::ffff:a9fe:a9fe]",
        "fec0::1",
        "2002:7f00:1::",
        "2002:a00:1::",
        "2606:4700::5efe:a00:1",
        "2001:0:a00:1::1",
        "2001:db8::1",
        "192.0.0.1",
        "198.18.0.1",
        "203.0.113.1",
        "240.0.0.1",
        "255.255.255.255",
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"]
)
def test_public_addresses(address: str) -> None:
    assert is_public(address)


def test_names_of_this_machine() -> None:
    assert all(is_loopback(host) for host in ("localhost", "LOCALHOST.", "a.localhost", "127.3.2.1", "[::1]"))
    assert all(is_loopback(host) for host in ("127.1", "0x7f.1", "2130706433", "0177.0.0.1", "127.0.0.1."))
    assert not any(is_loopback(host) for host in ("localhost.example.com", "10.0.0.1", "example.com"))
