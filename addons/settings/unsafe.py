"""Refuse options and versions of mitmproxy that could lead keys or calls past the gate."""

from __future__ import annotations

from mitmproxy import exceptions, version
from mitmproxy.options import Options
from mitmproxy.proxy import mode_specs

from addons.flow.network.addresses import is_loopback
from addons.flow.network.destination import Upstream

UNSAFE = (
    "ssl_insecure",
    "map_remote",
    "map_local",
    "modify_headers",
    "modify_body",
    "stickyauth",
    "stickycookie",
    "stream_large_bodies",
    "ignore_hosts",
    "allow_hosts",
    "tcp_hosts",
    "udp_hosts",
)
"""Options of mitmproxy that act behind the gate and could lead a key, or a checked call, elsewhere; that pass
on what is not checked yet; or that have connections carried past the gate unread."""
NEEDED = ("validate_inbound_headers",)
"""Options of mitmproxy without which requests are checked that upstream reads in another way."""


def unsafe(options: Options) -> list[str]:
    """List those of :data:`UNSAFE` that are set, and those of :data:`NEEDED` that are not."""
    return [name for name in UNSAFE if getattr(options, name, None)] + [
        name for name in NEEDED if not getattr(options, name, True)
    ]


def refuse_unsafe(options: Options) -> None:
    for name in unsafe(options):
        raise exceptions.OptionsError(
            f"llmproxy: option {name}={getattr(options, name)!r} could lead keys elsewhere, "
            "or calls past the checks; leave it at its default."
        )


def check_modes(options: Options, upstream: Upstream | None) -> None:
    for spec in options.mode:
        mode = mode_specs.ProxyMode.parse(spec)
        if not isinstance(mode, mode_specs.ReverseMode) or upstream:
            continue
        if mode.scheme not in ("https", "http"):
            raise exceptions.OptionsError(f"llmproxy: mode {spec!r} is not HTTP; use reverse:https://HOST.")
        if mode.scheme == "http" and not is_loopback(mode.address[0]):
            raise exceptions.OptionsError(
                f"llmproxy: mode {spec!r} would send keys in the clear; use reverse:https://HOST."
            )


def refuse_vulnerable_mitmweb(master_name: str) -> None:
    """Refuse mitmweb before 11.1.2, which anyone who can use the proxy can steer (CVE-2025-23217)."""
    numbers = tuple(int(part) for part in version.VERSION.split(".")[:3] if part.isdigit())
    if master_name == "WebMaster" and numbers < (11, 1, 2):
        raise exceptions.OptionsError(
            f"llmproxy: mitmweb {version.VERSION} lets every client of the proxy read and steer it "
            "(CVE-2025-23217); use Python >= 3.12 with mitmproxy >= 12, or mitmdump."
        )
