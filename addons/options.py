"""The ``llm_*`` options of mitmproxy, checked and read once; :mod:`addons.declared` lists them."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mitmproxy import exceptions, version
from mitmproxy.options import Options
from mitmproxy.proxy import mode_specs

from addons.cost import BUNDLED, BadPrices, Prices, read_prices
from addons.declared import CAPTURE, DURABILITY, ON_ABORT, OTHER_HOSTS, OWNERSHIP, SPOOL_FULL
from addons.destination import Destinations, Upstream, is_loopback, parse_upstream
from addons.management_api.access import management_token
from addons.openai.azure import parse_deployments
from addons.openai.endpoints import KNOWN_NAMES, RISK_CLASSES
from addons.usage_policy import Policy
from store.errors import Invalid
from store.location import StoreLocation
from store.secret import Secret

HOST = re.compile(r"(?:\*\.)?[a-z0-9_.-]+")
SMALLEST_LIMIT = 64 * 1024
SMALLEST_SPOOL = 1024 * 1024
LONGEST_GRACE = 24 * 3600

UNSAFE = (
    "ssl_insecure",
    "map_remote",
    "map_local",
    "modify_headers",
    "modify_body",
    "stickyauth",
    "stickycookie",
    "stream_large_bodies",
)
"""Options of mitmproxy that act behind the gate and could lead a key, or a checked call, elsewhere; the last
one passes on what is not checked yet."""


@dataclass(frozen=True, slots=True)
class Address:
    """A place to listen at."""

    host: str
    port: int

    def covers(self, host: str, port: int) -> bool:
        """Whether a connection to `host` might arrive here."""
        mine = self.host in ("0.0.0.0", "::") or host == self.host or is_loopback(host)  # noqa: S104
        return port == self.port and mine

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Settings:
    """The options, parsed."""

    store: StoreLocation
    store_grace: int
    """Seconds for which calls go on after a server's store went away."""
    spool: Path
    destinations: Destinations
    other_hosts: str
    endpoints: frozenset[str]
    """Endpoint names and risk classes that are allowed."""
    ownership: str
    """Who may use an object: project, token, or off for anyone."""
    include_usage: Policy
    models: tuple[str, ...]
    """Globs of the models that are allowed."""
    deployments: Mapping[str, str]
    """The model of each Azure deployment."""
    management: Address | None
    """Where health, metrics and the management API are served."""
    management_token: Secret | None
    """Who shows it may use that API; None: nobody."""
    on_abort: str
    """What becomes of an answer whose client has left: cancel or drain."""
    drain_calls: int
    """Most answers that are read on at the same time."""
    drain_seconds: int
    """Longest time for which one is."""
    capture: str
    capture_limit: int
    """Bytes of one body that are kept; the first and the last half of it."""
    bus: str | None
    durability: str
    spool_limit: int
    """Bytes; 0 for none."""
    spool_full: str
    """What happens at that limit."""
    keep_flows: int
    """Finished flows that mitmweb and mitmproxy keep; 0: all."""
    prices: Prices = BUNDLED
    """What comes with the program, and before it what the operator's file holds."""


def parse(options: Options) -> Settings:
    """Read the options. Raises OptionsError that names the option, the value and the remedy."""
    refuse_unsafe(options)
    upstream = _upstream(options)
    _check_modes(options, upstream)
    return Settings(
        store=_store(options),
        store_grace=_grace(options.llm_store_grace),
        spool=Path(options.llm_spool).expanduser(),
        destinations=Destinations(_hosts(options), upstream),
        other_hosts=_choice("llm_other_hosts", options.llm_other_hosts, OTHER_HOSTS),
        endpoints=_endpoints(options),
        ownership=_choice("llm_ownership", options.llm_ownership, OWNERSHIP),
        on_abort=_choice("llm_on_abort", options.llm_on_abort, ON_ABORT),
        drain_calls=_positive("llm_drain_calls", options.llm_drain_calls),
        drain_seconds=_positive("llm_drain_seconds", options.llm_drain_seconds),
        include_usage=_include_usage(options),
        models=_models(options),
        deployments=_deployments(options),
        management=(management := _management(options, upstream)),
        management_token=management_token(os.environ) if management else None,
        capture=_choice("llm_capture", options.llm_capture, CAPTURE),
        capture_limit=_limit(options),
        bus=options.llm_bus or None,
        durability=_choice("llm_durability", options.llm_durability, DURABILITY),
        spool_limit=_spool_limit(options),
        spool_full=_choice("llm_spool_full", options.llm_spool_full, SPOOL_FULL),
        keep_flows=_keep_flows(options.llm_keep_flows),
        prices=_prices(options),
    )


def shown(settings: Settings) -> dict[str, object]:
    """The options that tell how a proxy behaves, for its status; none holds a secret."""
    return {
        "llm_store": str(settings.store),
        "llm_hosts": list(settings.destinations.hosts),
        "llm_other_hosts": settings.other_hosts,
        "llm_upstream": str(settings.destinations.upstream or "") or None,
        "llm_endpoints": sorted(settings.endpoints),
        "llm_ownership": settings.ownership,
        "llm_models": list(settings.models),
        "llm_deployments": dict(settings.deployments),
        "llm_capture": settings.capture,
        "llm_capture_limit": settings.capture_limit,
        "llm_management": str(settings.management or "") or None,
    }


def unsafe(options: Options) -> list[str]:
    """Those of :data:`UNSAFE` that are set."""
    return [name for name in UNSAFE if getattr(options, name, None)]


def refuse_unsafe(options: Options) -> None:
    for name in unsafe(options):
        raise exceptions.OptionsError(
            f"llmproxy: option {name}={getattr(options, name)!r} could lead keys elsewhere, "
            "or calls past the checks; unset it."
        )


def _choice(name: str, value: str, choices: Sequence[str]) -> str:
    """mitmproxy does not check choices that were given on the command line."""
    if value not in choices:
        raise exceptions.OptionsError(f"llmproxy: option {name}={value!r}: use one of {', '.join(choices)}.")
    return value


def _positive(name: str, value: int) -> int:
    if value < 1:
        raise exceptions.OptionsError(f"llmproxy: option {name}={value}: use a number from 1 on.")
    return value


def _keep_flows(value: int) -> int:
    if value < 0:
        raise exceptions.OptionsError(
            f"llmproxy: option llm_keep_flows={value}: use a number from 1 on, or 0 to keep all flows."
        )
    return value


def _split(values: Sequence[str]) -> list[str]:
    return [part.strip() for value in values for part in value.split(",") if part.strip()]


def _store(options: Options) -> StoreLocation:
    try:
        return StoreLocation.named(options.llm_store)
    except Invalid as error:
        raise exceptions.OptionsError(f"llmproxy: option llm_store: {error}") from error


def _grace(seconds: int) -> int:
    if not 0 <= seconds <= LONGEST_GRACE:
        raise exceptions.OptionsError(
            f"llmproxy: option llm_store_grace={seconds}: use a number of seconds from 0 to {LONGEST_GRACE}."
        )
    return seconds


def _hosts(options: Options) -> list[str]:
    hosts = [host.lower() for host in _split(options.llm_hosts)]
    if not hosts:
        raise exceptions.OptionsError("llmproxy: option llm_hosts is empty; name at least one host.")
    for host in hosts:
        if (
            "/" in host
            or ":" in host
            or "*" in host.removeprefix("*.")
            or host.removeprefix("*.").count(".") < 1
        ):
            raise exceptions.OptionsError(
                f"llmproxy: option llm_hosts holds {host!r}; write a host name, or *.name for any below it."
            )
    return hosts


def _upstream(options: Options) -> Upstream | None:
    if not options.llm_upstream:
        return None
    try:
        return parse_upstream(options.llm_upstream)
    except ValueError as error:
        raise exceptions.OptionsError(f"llmproxy: option llm_upstream: {error}.") from error


def _endpoints(options: Options) -> frozenset[str]:
    endpoints = frozenset(_split(options.llm_endpoints))
    if strange := endpoints - KNOWN_NAMES - RISK_CLASSES.keys():
        raise exceptions.OptionsError(
            f"llmproxy: option llm_endpoints holds {sorted(strange)[0]!r}; "
            f"use a risk class ({', '.join(sorted(RISK_CLASSES))}) or an endpoint name."
        )
    return endpoints


def _include_usage(options: Options) -> Policy:
    words = [word.lower() for word in _split(options.llm_include_usage)]
    for word in words:
        if word not in ("auto", "off") and not HOST.fullmatch(word):
            raise exceptions.OptionsError(
                f"llmproxy: option llm_include_usage holds {word!r}; use auto, off or host names."
            )
    if not words or ("off" in words and len(words) > 1):
        raise exceptions.OptionsError(
            f"llmproxy: option llm_include_usage={','.join(words)!r}: use off alone, or auto and host names."
        )
    return Policy("auto" in words, tuple(word for word in words if word not in ("auto", "off")))


def _models(options: Options) -> tuple[str, ...]:
    models = tuple(_split(options.llm_models))
    if not models:
        raise exceptions.OptionsError("llmproxy: option llm_models is empty; write * to allow all models.")
    return ("*",) if "*" in models else models


def _deployments(options: Options) -> dict[str, str]:
    try:
        return parse_deployments(_split(options.llm_deployments))
    except ValueError as error:
        raise exceptions.OptionsError(f"llmproxy: option llm_deployments holds {error}") from error


def _management(options: Options, upstream: Upstream | None) -> Address | None:
    text = options.llm_management.strip()
    if not text:
        return None
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    try:
        ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        host = ""
    if not host or not port.isdecimal() or int(port) > 65535:
        raise exceptions.OptionsError(
            f"llmproxy: option llm_management={text!r}: write an address and a port, such as 127.0.0.1:9090."
        )
    address = Address(host, int(port))
    if upstream and address.covers(upstream.host, upstream.port):
        raise exceptions.OptionsError(
            f"llmproxy: option llm_upstream leads to llm_management={text}; use another port."
        )
    return address


def _limit(options: Options) -> int:
    limit: int = options.llm_capture_limit
    if limit < SMALLEST_LIMIT:
        raise exceptions.OptionsError(
            f"llmproxy: option llm_capture_limit={limit} is too small to find the usage in; "
            f"use at least {SMALLEST_LIMIT}, or llm_capture=none to keep no bodies."
        )
    return limit


def _prices(options: Options) -> Prices:
    if not options.llm_prices:
        return BUNDLED
    try:
        return read_prices(Path(options.llm_prices))
    except BadPrices as error:
        raise exceptions.OptionsError(f"llmproxy: option llm_prices: {error}.") from error


def _spool_limit(options: Options) -> int:
    limit: int = options.llm_spool_limit
    if limit and limit < SMALLEST_SPOOL:
        raise exceptions.OptionsError(
            f"llmproxy: option llm_spool_limit={limit} is too small to work with; "
            f"use at least {SMALLEST_SPOOL}, or 0 for no limit."
        )
    return limit


def _check_modes(options: Options, upstream: Upstream | None) -> None:
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
    """mitmweb before 11.1.2 can be steered by anyone who can use the proxy (CVE-2025-23217)."""
    numbers = tuple(int(part) for part in version.VERSION.split(".")[:3] if part.isdigit())
    if master_name == "WebMaster" and numbers < (11, 1, 2):
        raise exceptions.OptionsError(
            f"llmproxy: mitmweb {version.VERSION} lets every client of the proxy read and steer it "
            "(CVE-2025-23217); use Python >= 3.12 with mitmproxy >= 12, or mitmdump."
        )
