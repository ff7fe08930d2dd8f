"""Make no log record of a connection that nobody would see.

mitmproxy makes one for each answer that is streamed, formats it for the deprecated hook ``add_log``, and asks
all addons whether they have that hook. ``tests/addons/mitm/test_log_records.py`` fails when a version changes
what this relies on.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from typing import Any

from mitmproxy.addonmanager import AddonManager
from mitmproxy.log import LegacyLogEvents
from mitmproxy.proxy import server

from addons.mitm.hook_dispatch import FlatTrigger


def install(manager: AddonManager) -> None:
    """Leave out the records, of the connections of `manager`, for which no handler is there.

    Does nothing while hooks are not called from flat lists, which tell whether an addon has ``add_log``.
    Handlers and addons that come later are heard. Installed once per process; a later call replaces
    `manager`.
    """
    server.ConnectionHandler._llmproxy_manager = manager  # type: ignore[attr-defined]
    original: Any = server.ConnectionHandler.log
    if getattr(original, "_llmproxy_heard", False):
        return

    @functools.wraps(original)
    def log(self: Any, message: str, level: int = logging.INFO, *args: Any, **how: Any) -> None:
        if is_heard(level, server.ConnectionHandler._llmproxy_manager):  # type: ignore[attr-defined]
            original(self, message, level, *args, **how)

    log._llmproxy_heard = True  # type: ignore[attr-defined]
    server.ConnectionHandler.log = log  # type: ignore[method-assign]

    emit: Any = LegacyLogEvents.emit

    @functools.wraps(emit)
    def emit_if_heard(self: Any, record: logging.LogRecord) -> None:
        if _has_hook(self.master.addons):
            emit(self, record)

    LegacyLogEvents.emit = emit_if_heard  # type: ignore[method-assign]


def is_heard(level: int, manager: AddonManager) -> bool:
    """Tell whether a handler takes records of `level` from mitmproxy's connections."""
    return any(
        handler.level <= level and (not isinstance(handler, LegacyLogEvents) or _has_hook(manager))
        for handler in _handlers(server.logger)
    )


def _handlers(logger: logging.Logger) -> Iterator[logging.Handler]:
    """Give all handlers that get the records of `logger`."""
    above: logging.Logger | None = logger
    while above is not None:
        yield from above.handlers
        above = above.parent if above.propagate else None


def _has_hook(manager: AddonManager) -> bool:
    """Tell whether an addon has the hook ``add_log``; True where that is not known."""
    trigger = manager.__dict__.get("trigger_event")
    return not isinstance(trigger, FlatTrigger) or trigger.has("add_log")
