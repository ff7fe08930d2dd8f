"""Name who acts: the user of the operating system, and what else is said of them.

``os:alice@build-7``, ``os:root@build-7 sudo:alice``, ``os:deploy@build-7 claim:jane@example.com``: the first
part is what the kernel says; ``sudo`` is what the environment says, ``claim`` what the caller says
(``--actor``, LLMPROXY_ACTOR), and both are worth no more than that.
"""

from __future__ import annotations

import ipaddress
import os
import pwd
import socket
from dataclasses import dataclass

VARIABLE = "LLMPROXY_ACTOR"
LONGEST, LONGEST_CLAIM = 40, 100
"""Characters of a name: together they fit into the column."""
LONGEST_SAID = 200


@dataclass(frozen=True, slots=True)
class Request:
    """Describes the HTTP request that asks for a change.

    What clients write is cut to LONGEST_SAID characters.
    """

    request_id: str
    correlation_id: str
    method: str
    path: str
    user_agent: str | None


@dataclass(frozen=True, slots=True)
class Origin:
    """Says where a change comes from."""

    actor: str | None
    address: str | None
    request: Request | None = None


NOBODY = Origin(None, None)


def of_process(claim: str | None = None) -> Origin:
    """Give the user of this process, with what the caller claims, and where they are logged in from."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    parts = [f"os:{_name(user)}@{_name(socket.gethostname())}"]
    if sudo := os.environ.get("SUDO_USER"):
        parts.append(f"sudo:{_name(sudo)}")
    if claimed := claim or os.environ.get(VARIABLE):
        parts.append(f"claim:{_name(claimed, LONGEST_CLAIM)}")
    return Origin(" ".join(parts), address(os.environ.get("SSH_CLIENT", "").partition(" ")[0]))


def address(text: str | None) -> str | None:
    """Give an IP address in its usual form; None for anything else."""
    try:
        found = ipaddress.ip_address((text or "").partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
        found = found.ipv4_mapped
    return str(found)


def _name(text: str, longest: int = LONGEST) -> str:
    """Give one word of printable characters."""
    return "".join(sign if sign.isprintable() and sign != " " else "_" for sign in text[:longest]) or "_"
