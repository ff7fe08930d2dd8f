"""Have mitmproxy listen on loopback, unless it was told where: its own default is all interfaces.

``tests/addons/mitm/test_listening.py`` fails when a version changes the internals.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from mitmproxy import ctx
from mitmproxy.proxy.mode_specs import ProxyMode

from addons.mitm.listeners import is_handed_down

logger = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
ORDINARY = ("regular", "reverse", "socks5", "upstream")
"""Modes whose clients name an address. Others take what a network leads to them, which is never loopback."""

_tasks: set[asyncio.Task[None]] = set()


def prefer_loopback() -> None:
    """Listen on loopback alone where neither ``listen_host`` nor a mode names an address.

    mitmproxy 12 has begun to listen when it loads a script: those listeners are closed, and made anew.
    """
    try:
        modes = [ProxyMode.parse(mode) for mode in ctx.options.mode]
    except ValueError:
        return  # mitmproxy itself refuses it
    anywhere = [mode for mode in modes if not mode.custom_listen_host]
    if ctx.options.listen_host or not anywhere or any(mode.type_name not in ORDINARY for mode in modes):
        return
    if any(is_handed_down("", mode.listen_port(ctx.options.listen_port)) for mode in anywhere):
        return  # `llmproxy serve` was told to listen on all interfaces
    ctx.options.update(listen_host=LOOPBACK)
    logger.info("llmproxy: listens on loopback only; --listen-host, or an address in --mode, opens it")
    proxyserver = ctx.master.addons.get("proxyserver")
    if proxyserver is not None and len(proxyserver.servers):
        task = asyncio.get_running_loop().create_task(_listen_anew(proxyserver.servers, modes))
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)


async def _listen_anew(servers: Any, modes: Sequence[ProxyMode]) -> None:
    await servers.update([mode for mode in modes if mode.custom_listen_host])
    await servers.update(modes)
