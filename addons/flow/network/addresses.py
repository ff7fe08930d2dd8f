"""Tell IP addresses apart: which are this machine's, and which are of the public internet."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
from collections.abc import Iterator
from functools import lru_cache

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

OLD_SPELLING = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)(?:\.(?:0x[0-9a-f]*|[0-9]+)){0,3}", re.IGNORECASE)
LOOPBACK_NAMES = ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback")
GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
"""All of IPv6 that is routed on the internet. Outside of it are IPv4-compatible addresses, fec0::/10, ..."""
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""The prefix under which a translator reaches IPv4 (RFC 6052); on a network of IPv6 only, all of it."""


def normalise(host: str) -> str:
    """Lower case, without the final dot of a fully qualified name."""
    return host.lower().removesuffix(".")


def parse_address(host: str) -> IPAddress | None:
    """Read a literal IP address, in brackets or not, without its zone; None for a name.

    >>> parse_address("[::1%lo]"), parse_address("0x7f.1"), parse_address("example.com")
    (IPv6Address('::1'), IPv4Address('127.0.0.1'), None)
    """
    text = host.strip("[]").partition("%")[0].removesuffix(".")
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(text)
    # Old spellings, which the look-up of names understands: 127.1, 0x7f000001, 2130706433, 0177.0.0.1.
    if OLD_SPELLING.fullmatch(text):
        with contextlib.suppress(OSError):
            return ipaddress.IPv4Address(socket.inet_aton(text))
    return None


@lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Tell whether `host` is this machine by its literal address or its usual name."""
    if normalise(host) in LOOPBACK_NAMES or normalise(host).endswith(".localhost"):
        return True
    ip = parse_address(host)
    return ip is not None and ip.is_loopback


def is_public(address: str) -> bool:
    """Tell whether a literal IP address is one of the public internet (RFC 6890 registries).

    An IPv6 address that stands for an IPv4 address is public only where that is. Raises ValueError for names.

    >>> is_public("8.8.8.8"), is_public("64:ff9b::8.8.8.8"), is_public("64:ff9b::10.0.0.1")
    (True, True, False)
    """
    ip = parse_address(address)
    if ip is None:
        raise ValueError(f"{address!r} is not an IP address")
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is None and ip not in NAT64 and not (ip in GLOBAL_UNICAST and _is_global(ip)):
            return False
        return all(_is_global(embedded) for embedded in _embedded(ip))
    return _is_global(ip)


def _is_global(ip: IPAddress) -> bool:
    return ip.is_global and not (ip.is_multicast or ip.is_reserved)


def _embedded(ip: ipaddress.IPv6Address) -> Iterator[ipaddress.IPv4Address]:
    """Give the IPv4 addresses to which packets for `ip` may be translated or tunnelled."""
    if ip.ipv4_mapped is not None:
        yield ip.ipv4_mapped
    if ip.sixtofour is not None:
        yield ip.sixtofour
    if ip.teredo is not None:
        yield from ip.teredo
    interface = int(ip) & 0xFFFF_FFFF_FFFF_FFFF
    if ip in NAT64 or interface >> 32 in (0x0000_5EFE, 0x0200_5EFE):  # ISATAP (RFC 5214)
        yield ipaddress.IPv4Address(interface & 0xFFFF_FFFF)
