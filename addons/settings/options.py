"""Declare the ``llm_*`` options of mitmproxy, check them, and read them once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from mitmproxy import ctx, exceptions
from mitmproxy.addonmanager import Loader
from mitmproxy.options import Options

from addons.caching.settings import POLICIES, SCOPES, CacheSettings
from addons.flow.bounds import Bounds
from addons.flow.include_usage_hosts import Policy
from addons.flow.network.circuit_breaker import BreakerRule
from addons.flow.network.destination import Destinations
from addons.flow.network.other_hosts import OtherHosts
from addons.management_api.oidc.settings import OidcSettings
from addons.mitm.outgoing_proxy import OutgoingProxy
from addons.recording.cost import BUNDLED, Prices
from addons.recording.reading.readers import Readers
from addons.settings import values
from addons.settings.defaults import ConfiguredDefaults
from addons.settings.option import Add, Option, not_negative, one, options_of, positive, setting
from addons.settings.unsafe import check_modes, refuse_unsafe
from addons.settings.values import OTHER_HOSTS, Address
from store.cache import places
from store.core import configuration
from store.core.errors import Invalid
from store.core.secret import Secret
from store.database import location
from store.database.location import StoreLocation
from store.usage.recent_calls import Bounds as RecentBounds

PREFIX = "llm_"
OWNERSHIP = ("project", "token", "off")
ON_ABORT = ("cancel", "drain")
CAPTURE = ("all", "request", "response", "none")
DURABILITY = ("group", "call")
SPOOL_FULL = ("refuse", "drop")
DIALECTS = ("own", "reference")
SELF_SERVICE = ("on", "off")
CACHE, BOUNDS, RECENT = CacheSettings(), Bounds(), RecentBounds()


def store_by_default() -> str:
    """Name the store without its password: mitmproxy shows defaults (see :meth:`StoreLocation.named`)."""
    try:
        return str(location.from_environment())
    except Invalid as error:
        raise exceptions.OptionsError(f"llmproxy: {location.VARIABLE}: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Holds the options, declared and parsed: each field is read from the options that stand beside it."""

    destinations: Destinations = setting(
        Option(
            "llm_hosts",
            Sequence[str],
            ["api.openai.com"],
            "OpenAI hosts: intercepted, gated, recorded. *.example.com is any name below. May be repeated.",
        ),
        Option(
            "llm_upstream",
            str,
            "",
            "Base URL that calls to the OpenAI hosts go to instead: Azure, a compatible server, a test "
            "server.",
        ),
        read=values.destinations,
    )
    other_hosts: OtherHosts = setting(
        Option(
            "llm_other_hosts",
            str,
            "pass",
            "All other hosts: pass them for clients on this machine and private networks, open them to all "
            "clients, or refuse them. Never at private addresses, and only at llm_other_ports.",
            choices=OTHER_HOSTS,
        ),
        Option(
            "llm_other_ports",
            Sequence[str],
            ["443", "80"],
            "Ports at which other hosts may be reached. May be repeated.",
        ),
        read=values.other_hosts,
    )
    outgoing_proxy: OutgoingProxy | None = setting(
        Option(
            "llm_outgoing_proxy",
            str,
            "",
            "Proxy through which all listeners reach the internet: its URL, or env:NAME or file:/PATH that "
            "hold one with USER:PASSWORD@.",
        ),
        read=values.outgoing_proxy,
    )
    endpoints: frozenset[str] = one(
        "llm_endpoints",
        Sequence[str],
        ["inference", "storage", "listing"],
        "Endpoints that tokens may call, by name or risk class. May be repeated.",
        read=values.endpoints,
    )
    """Endpoint names and risk classes that are allowed."""
    models: tuple[str, ...] = one(
        "llm_models",
        Sequence[str],
        ["*"],
        "Models that may be used, as globs such as gpt-4o-mini*; others, and unknown ones, are refused. "
        "May be repeated.",
        read=values.models,
    )
    """Globs of the models that are allowed."""
    ownership: str = one(
        "llm_ownership",
        str,
        "project",
        "Who may use an object that an answer made, such as a file: its project, its token, or (off) anyone.",
        choices=OWNERSHIP,
    )
    """It says who may use an object: project, token, or off for anyone."""
    cors_origins: tuple[str, ...] = one(
        "llm_cors_origins",
        Sequence[str],
        [],
        "Origins whose pages may call from browsers, exact or as globs: https://app.example.com, "
        "https://*.example.com, or * for all. None by default. May be repeated.",
        read=values.cors_origins,
        otherwise=(),
    )
    """Globs of the origins whose pages may read answers."""
    deployments: Mapping[str, str] = one(
        "llm_deployments",
        Sequence[str],
        [],
        "The model of an Azure deployment, as NAME=MODEL, for prices and llm_models. May be repeated.",
        read=values.deployments,
    )
    """The model of each Azure deployment."""
    bounds: Bounds = setting(
        Option(
            "llm_client_connections",
            int,
            BOUNDS.connections,
            "Connections of one client's address; for one more, the longest idle is closed. 0: any number.",
        ),
        Option("llm_head_limit", int, BOUNDS.head_bytes, "Bytes of a request's head."),
        Option(
            "llm_head_timeout",
            int,
            BOUNDS.head_seconds,
            "Seconds for a request's head to be complete, and between two pieces of a body.",
        ),
        Option(
            "llm_body_limit",
            int,
            BOUNDS.body_bytes,
            "Bytes of a request's body, but of uploads, which are passed on as they come.",
        ),
        Option("llm_message_limit", int, BOUNDS.message_bytes, "Bytes of a client's message on a WebSocket."),
        Option("llm_body_timeout", int, BOUNDS.body_seconds, "Seconds for a request's body to be complete."),
        read=values.bounds,
    )
    include_usage: Policy = one(
        "llm_include_usage",
        Sequence[str],
        ["auto"],
        "Streams that are asked for their usage where the client does not: auto (hosts known to support it), "
        "off, or names of further hosts. May be repeated.",
        read=values.include_usage,
    )
    circuit_breaker: BreakerRule | None = one(
        "llm_circuit_breaker",
        str,
        "",
        "Refuse calls to an upstream that failed N times in a row within so many seconds, for as long, as "
        "N/SECONDSs such as 5/30s. Off by default.",
        read=values.circuit_breaker,
        otherwise=None,
    )
    """It says when calls to a failing upstream are refused; None: never."""
    on_abort: str = one(
        "llm_on_abort",
        str,
        "cancel",
        "When a client leaves an answer: cancel it upstream, or drain it for its usage.",
        choices=ON_ABORT,
    )
    """It is what becomes of an answer whose client has left: cancel or drain."""
    drain_calls: int = one(
        "llm_drain_calls", int, 100, "Most answers that are drained at the same time.", read=positive
    )
    """Most answers that are read on at the same time."""
    drain_seconds: int = one(
        "llm_drain_seconds", int, 60, "Longest time for which an answer is drained.", read=positive
    )
    shutdown_linger: int = one(
        "llm_shutdown_linger",
        int,
        0,
        "Seconds after SIGTERM for which connections that were just used are served on, within the grace.",
        read=not_negative,
    )
    shutdown_grace: int = one(
        "llm_shutdown_grace",
        int,
        30,
        "Seconds that answers under way have to end after SIGTERM.",
        read=not_negative,
    )
    """Longest time for which one is."""
    answer_timeout: int = one(
        "llm_answer_timeout",
        int,
        600,
        "Seconds without a byte of an answer after which a call is given up.",
        read=positive,
    )
    trim: bool = one(
        "llm_trim",
        bool,
        True,
        "Take default addons that no option in use needs out of mitmproxy's chain, and call hooks from flat "
        "lists: about half the cost of a call in mitmproxy. Not in mitmweb's chain.",
    )
    workers: Readers = one(
        "llm_workers",
        str,
        "auto",
        "Who reads finished calls (usage, tokens, cost): thread, a thread of the proxy's; process, or "
        "process:N, processes beside it; shared, those that all proxies of one `llmproxy serve` share; auto, "
        "these in `serve` and else a process, where there is more than one core.",
        read=values.workers,
        otherwise=Readers(),
    )
    """It says who reads finished calls."""
    prices: Prices = one(
        "llm_prices",
        str,
        lambda: os.environ.get("LLMPROXY_PRICES", ""),
        "File of prices that go before those of genai-prices (environment: LLMPROXY_PRICES).",
        read=values.prices,
        otherwise=BUNDLED,
    )
    """It is what comes with the program, and before it what the operator's file holds."""
    store: StoreLocation = one(
        "llm_store",
        str,
        store_by_default,
        "The token store: a path, or the URL of a database (environment: LLMPROXY_STORE).",
        read=values.store,
    )
    store_create: bool = one(
        "llm_store_create",
        bool,
        False,
        "Make the store where there is none. By default the start is refused.",
    )
    """It tells whether a store that is not there is made."""
    store_grace: int = one(
        "llm_store_grace",
        int,
        30,
        "Seconds for which tokens that are known are served after the store's server went away; "
        "0 refuses all calls at once. (A store in a file is never served from memory.)",
        read=values.store_grace,
    )
    """Seconds for which calls go on after a server's store went away."""
    spool: Path = one(
        "llm_spool",
        str,
        lambda: os.environ.get("LLMPROXY_SPOOL") or configuration.load().place("spool") or "data/spool",
        "Folder to which events are appended (environment: LLMPROXY_SPOOL).",
        read=values.spool,
    )
    spool_limit: int = one(
        "llm_spool_limit",
        int,
        0,
        "Bytes that the spool may hold; 0: as many as the disk.",
        read=values.spool_limit,
    )
    """Bytes; 0 for none."""
    spool_full: str = one(
        "llm_spool_full",
        str,
        "refuse",
        "At llm_spool_limit: refuse new calls, or serve them and drop (and count) their events.",
        choices=SPOOL_FULL,
    )
    """It is what happens at that limit."""
    durability: str = one(
        "llm_durability",
        str,
        "group",
        "group: events are on disk milliseconds after the end of a call; call: before the client sees it.",
        choices=DURABILITY,
    )
    recent_calls: RecentBounds = setting(
        Option(
            "llm_recent_calls",
            int,
            RECENT.calls,
            "Calls that the store keeps for /manage/calls, the page and /v1/llmproxy/calls/ID: the latest of "
            "all its proxies, without content. 0: none, and each proxy shows those of its own spool.",
        ),
        Option("llm_recent_calls_days", int, RECENT.days, "Days for which it keeps them at most."),
        read=values.recent_calls,
        default=RECENT,
    )
    """It says how many of the latest calls the store keeps, and for how long."""
    bus: str | None = one(
        "llm_bus",
        str,
        lambda: os.environ.get("LLMPROXY_BUS", ""),
        "Redis that events are published to as well: redis://HOST/0?stream=NAME (environment: LLMPROXY_BUS).",
        read=values.if_set,
    )
    capture: str = one("llm_capture", str, "all", "Which bodies are kept in events.", choices=CAPTURE)
    capture_limit: int = one(
        "llm_capture_limit",
        int,
        4 * 2**20,
        "Bytes of one body that are kept; of a longer one its long texts are cut. The event says so.",
        read=values.capture_limit,
    )
    """Bytes of one body that are kept; the first and the last half of it."""
    keep_flows: int = one(
        "llm_keep_flows",
        int,
        1000,
        "Finished flows that mitmweb and mitmproxy keep, beside those that you mark; 0 keeps all.",
        read=values.keep_flows,
    )
    """Finished flows that mitmweb and mitmproxy keep; 0: all."""
    management: Address | None = setting(
        Option(
            "llm_management",
            str,
            "",
            "HOST:PORT, or PORT on 127.0.0.1, for /health, /metrics and the management API. Off by default.",
        ),
        read=values.management,
    )
    """It says where health, metrics and the management API are served."""
    management_token: Secret | None = setting(read=values.api_token)
    """It says who shows it may use that API; None: nobody."""
    management_keys: tuple[str, ...] = one(
        "llm_management_keys",
        Sequence[str],
        [],
        "References that the management API takes as api_key: globs such as env:*_KEY, file:/run/secrets/*.",
        read=values.management_keys,
    )
    """Globs of the key references that it takes."""
    oidc: OidcSettings | None = setting(
        Option(
            "llm_oidc_issuer",
            str,
            "",
            "Issuer (OpenID Connect) whose tokens open the management API: https://login.example.com/realm.",
        ),
        Option("llm_oidc_audience", str, "", "Audience that those tokens have to be for."),
        Option(
            "llm_oidc_roles",
            Sequence[str],
            [],
            "What they open: admin:CLAIM=VALUE, read:CLAIM=VALUE, project/NAME:CLAIM=VALUE. May be repeated.",
        ),
        Option(
            "llm_oidc_client_id", str, "", "Client of that issuer, with which people sign in to the page."
        ),
        Option(
            "llm_oidc_client_secret",
            str,
            "",
            "Reference to its secret: env:NAME, file:/PATH, aws-sm:ID, aws-ssm:NAME. None: a public client.",
        ),
        Option("llm_oidc_scopes", str, "openid profile email", "What its sign-ins ask for; openid is of it."),
        read=values.oidc,
    )
    """It says whose log-ins the management API takes; None: nobody's."""
    self_service: str = one(
        "llm_self_service",
        str,
        "on",
        "Whether holders of proxy tokens may ask about them, at /v1/llmproxy/me, /usage and /calls/ID: on or "
        "off.",
        choices=SELF_SERVICE,
    )
    """It tells whether holders of tokens may ask about them: on or off."""
    management_dialect: str = one(
        "llm_management_dialect",
        str,
        "own",
        "The form of the management API's answers: own, or that of the reference system (docs/migrating.md).",
        choices=DIALECTS,
    )
    """The form of its answers."""
    cache: CacheSettings = setting(
        Option(
            "llm_cache",
            str,
            "",
            "Where answers are kept to be given again: memory, and behind it sqlite:PATH or redis://HOST. "
            "Off by default.",
        ),
        Option(
            "llm_cache_for",
            str,
            CACHE.policy,
            "Whose answers: of calls that ask for it (Cache-Control: public, max-age=N), all, or off. "
            "Projects and tokens may say otherwise.",
            choices=POLICIES,
        ),
        Option(
            "llm_cache_scope",
            str,
            CACHE.scope,
            "Who shares answers: the calls of a project, of a token, or of a user.",
            choices=SCOPES,
        ),
        Option(
            "llm_cache_ttl", int, CACHE.ttl, "Seconds for which an answer is kept that states no lifetime."
        ),
        Option(
            "llm_cache_entries", int, CACHE.entries, "Answers that are kept in memory, and in a SQLite file."
        ),
        Option("llm_cache_bytes", int, CACHE.bytes, "Bytes of all answers that are kept there."),
        Option(
            "llm_cache_answer_limit", int, CACHE.answer_bytes, "Bytes of the longest answer that is kept."
        ),
        Option(
            "llm_cache_ignore",
            Sequence[str],
            [],
            "Directives of answers that are not minded: no-cache (some servers say it of all), private. "
            "May be repeated.",
        ),
        read=values.cache,
        default=CACHE,
    )
    websockets: bool = setting(read=lambda options: options.websocket, default=True)
    """mitmproxy's own option: without it, what follows an upgrade is passed as bytes of any kind."""


def declare(loader: Loader) -> None:
    """Register the options, and stop the start when one was given a value of the wrong type.

    What ``llmproxy.toml`` says is their default. Raises OptionsError for what it should not say.
    """
    try:
        configured = ConfiguredDefaults(loader.add_option, configuration.load())
        declare_all(configured)
        configured.finish()
    except Invalid as error:
        raise exceptions.OptionsError(f"llmproxy: {error}") from error
    # A value of the wrong type would otherwise surface in a task whose errors nobody reads:
    # mitmproxy would drop the addons and serve everything.
    try:
        ctx.options.process_deferred()
    except exceptions.OptionsError as error:
        raise exceptions.OptionsError(f"llmproxy: {_culprit(str(error))}{error}") from error


def declare_all(add: Add) -> None:
    """Register the options with `add`. Raises OptionsError."""
    for option in options_of(Settings):
        option.declare(add)


def _culprit(message: str) -> str:
    """Give the option that a message of mitmproxy 11 is about, which names only the value."""
    for name in ctx.options.deferred:
        if name.startswith(PREFIX) and name in ctx.options and name not in message:
            values = getattr(ctx.options.deferred[name], "val", [])
            if any(str(value) in message for value in values):
                return f"option {name}: "
    return ""


def unknown(options: Options) -> list[str]:
    """Give names that look like ours but are not declared; mitmproxy keeps them for a later script."""
    return sorted(name for name in options.deferred if name.startswith(PREFIX) and name not in options)


def parse(options: Options) -> Settings:
    """Read the options. Raises OptionsError that names the option, the value and the remedy."""
    refuse_unsafe(options)
    check_modes(options, values.upstream(options))
    return Settings(**{field.name: field.metadata["read"](options) for field in fields(Settings)})


def defaults() -> Settings:
    """Give the settings of a proxy that is given no options; takes those of the environment."""
    options = Options()
    declare_all(options.add_option)
    return parse(options)


def shown(settings: Settings) -> dict[str, object]:
    """Give the options that tell how a proxy behaves, for its status; none holds a secret."""
    return {
        "llm_store": str(settings.store),
        "llm_hosts": list(settings.destinations.hosts),
        "llm_other_hosts": settings.other_hosts.clients,
        "llm_other_ports": sorted(settings.other_hosts.ports),
        "llm_upstream": str(settings.destinations.upstream or "") or None,
        "llm_outgoing_proxy": str(settings.outgoing_proxy or "") or None,
        "llm_endpoints": sorted(settings.endpoints),
        "llm_ownership": settings.ownership,
        "llm_models": list(settings.models),
        "llm_deployments": dict(settings.deployments),
        "llm_capture": settings.capture,
        "llm_capture_limit": settings.capture_limit,
        "llm_management": str(settings.management or "") or None,
        "llm_cache": settings.cache.place and places.shown(settings.cache.place),
    }
