"""The names, defaults and help of the ``llm_*`` options of mitmproxy; :mod:`addons.options` reads them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from mitmproxy import ctx, exceptions
from mitmproxy.addonmanager import Loader
from mitmproxy.options import Options

from store import location
from store.errors import Invalid

PREFIX = "llm_"
OTHER_HOSTS = ("pass", "refuse")
OWNERSHIP = ("project", "token", "off")
ON_ABORT = ("cancel", "drain")
CAPTURE = ("all", "request", "response", "none")
DURABILITY = ("group", "call")
SPOOL_FULL = ("refuse", "drop")

Add = Callable[..., None]
"""mitmproxy's `add_option`: name, type, default, help."""


def declare(loader: Loader) -> None:
    """Register the options, and stop the start when one was given a value of the wrong type."""
    _declare_access(loader.add_option)
    _declare_usage(loader.add_option)
    _declare_records(loader.add_option)
    # A value of the wrong type would otherwise surface in a task whose errors nobody reads:
    # mitmproxy would drop the addons and serve everything.
    try:
        ctx.options.process_deferred()
    except exceptions.OptionsError as error:
        raise exceptions.OptionsError(f"llmproxy: {_culprit(str(error))}{error}") from error


def _declare_access(add: Add) -> None:
    """What may pass, and where to."""
    add(
        "llm_hosts",
        Sequence[str],
        ["api.openai.com"],
        "OpenAI hosts: intercepted, gated, recorded. *.example.com is any name below. May be repeated.",
    )
    add("llm_other_hosts", str, "pass", "What to do with all other hosts.", choices=OTHER_HOSTS)
    add(
        "llm_upstream",
        str,
        "",
        "Base URL that calls to the OpenAI hosts go to instead: Azure, a compatible server, a test server.",
    )
    add(
        "llm_endpoints",
        Sequence[str],
        ["inference", "storage", "listing"],
        "Endpoints that tokens may call, by name or risk class. May be repeated.",
    )
    add(
        "llm_models",
        Sequence[str],
        ["*"],
        "Models that may be used, as globs such as gpt-4o-mini*; others, and unknown ones, are refused. "
        "May be repeated.",
    )
    add(
        "llm_ownership",
        str,
        "project",
        "Who may use an object that an answer made, such as a file: its project, its token, or (off) anyone.",
        choices=OWNERSHIP,
    )
    add(
        "llm_deployments",
        Sequence[str],
        [],
        "The model of an Azure deployment, as NAME=MODEL, for prices and llm_models. May be repeated.",
    )


def _declare_usage(add: Add) -> None:
    """How usage and cost are found."""
    add(
        "llm_include_usage",
        Sequence[str],
        ["auto"],
        "Streams that are asked for their usage where the client does not: auto (hosts known to support it), "
        "off, or names of further hosts. May be repeated.",
    )
    add(
        "llm_on_abort",
        str,
        "cancel",
        "When a client leaves an answer: cancel it upstream, or drain it for its usage.",
        choices=ON_ABORT,
    )
    add("llm_drain_calls", int, 100, "Most answers that are drained at the same time.")
    add("llm_drain_seconds", int, 60, "Longest time for which an answer is drained.")
    add(
        "llm_prices",
        str,
        os.environ.get("LLMPROXY_PRICES", ""),
        "File of prices that go before those of genai-prices (environment: LLMPROXY_PRICES).",
    )


def _default_store() -> str:
    """Without its password, since mitmproxy shows defaults (see :meth:`StoreLocation.named`)."""
    try:
        return str(location.from_environment())
    except Invalid as error:
        raise exceptions.OptionsError(f"llmproxy: {location.VARIABLE}: {error}") from error


def _declare_records(add: Add) -> None:
    """What is kept of calls, and where."""
    add(
        "llm_store",
        str,
        _default_store(),
        "The token store: a path, or the URL of a database (environment: LLMPROXY_STORE).",
    )
    add(
        "llm_store_grace",
        int,
        30,
        "Seconds for which tokens that are known are served after the store's server went away; "
        "0 refuses all calls at once. (A store in a file is never served from memory.)",
    )
    add(
        "llm_spool",
        str,
        os.environ.get("LLMPROXY_SPOOL", "data/spool"),
        "Folder to which events are appended (environment: LLMPROXY_SPOOL).",
    )
    add("llm_spool_limit", int, 0, "Bytes that the spool may hold; 0: as many as the disk.")
    add(
        "llm_spool_full",
        str,
        "refuse",
        "At llm_spool_limit: refuse new calls, or serve them and drop (and count) their events.",
        choices=SPOOL_FULL,
    )
    add(
        "llm_durability",
        str,
        "group",
        "group: events are on disk milliseconds after the end of a call; call: before the client sees it.",
        choices=DURABILITY,
    )
    add(
        "llm_bus",
        str,
        os.environ.get("LLMPROXY_BUS", ""),
        "Redis that events are published to as well: redis://HOST/0?stream=NAME (environment: LLMPROXY_BUS).",
    )
    add("llm_capture", str, "all", "Which bodies are kept in events.", choices=CAPTURE)
    add(
        "llm_capture_limit",
        int,
        4 * 2**20,
        "Bytes of one body that are kept: its first and last half. What is cut is named in the event.",
    )
    add(
        "llm_keep_flows",
        int,
        1000,
        "Finished flows that mitmweb and mitmproxy keep, beside those that you mark; 0 keeps all.",
    )
    add(
        "llm_management",
        str,
        "",
        "HOST:PORT, or PORT on 127.0.0.1, for /health, /metrics and the management API. Off by default.",
    )


def _culprit(message: str) -> str:
    """The option that a message of mitmproxy 11 is about, which names only the value."""
    for name in ctx.options.deferred:
        if name.startswith(PREFIX) and name in ctx.options and name not in message:
            values = getattr(ctx.options.deferred[name], "val", [])
            if any(str(value) in message for value in values):
                return f"option {name}: "
    return ""


def unknown(options: Options) -> list[str]:
    """Names that look like ours but are not declared; mitmproxy keeps them for a script still to come."""
    return sorted(name for name in options.deferred if name.startswith(PREFIX) and name not in options)
