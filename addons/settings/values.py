"""Read the values of options that have a form of their own. All raise OptionsError, with the remedy."""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mitmproxy import exceptions
from mitmproxy.options import Options
from mitmproxy.proxy import mode_specs

from addons.caching.settings import IGNORABLE, OFF, POLICIES, SCOPES, CacheSettings
from addons.flow.bounds import Bounds
from addons.flow.include_usage_hosts import Policy
from addons.flow.network.addresses import is_loopback
from addons.flow.network.circuit_breaker import BreakerRule
from addons.flow.network.destination import Destinations, Upstream, parse_upstream
from addons.flow.network.other_hosts import OtherHosts
from addons.management_api.access import management_token
from addons.management_api.oidc.settings import OidcClient, OidcSettings, Rule, check_issuer
from addons.mitm.outgoing_proxy import OutgoingProxy, parse_outgoing_proxy
from addons.openai.endpoints import KNOWN_NAMES, RISK_CLASSES
from addons.openai.providers import parse_deployments
from addons.recording.cost import BUNDLED, BadPrices, Prices, read_prices
from addons.recording.reading.readers import VARIABLE as SHARED_READERS
from addons.recording.reading.readers import Readers
from addons.settings.option import choice, not_negative, positive
from store.cache.places import place_of
from store.core.errors import Invalid, KeyUnavailable
from store.core.secret import Secret
from store.database.location import StoreLocation
from store.keys import key_references
from store.tokens import validation
from store.usage.recent_calls import Bounds as RecentBounds

OTHER_HOSTS = ("pass", "open", "refuse")
HOST = re.compile(r"(?:\*\.)?[a-z0-9_.-]+")
SMALLEST_LIMIT = 64 * 1024
SMALLEST_SPOOL = 1024 * 1024
LONGEST_GRACE = 24 * 3600


@dataclass(frozen=True, slots=True)
class Address:
    """Names a place to listen at."""

    host: str
    port: int

    def covers(self, host: str, port: int) -> bool:
        """Tell whether a connection to `host` might arrive here."""
        mine = self.host in ("0.0.0.0", "::") or host == self.host or is_loopback(host)  # noqa: S104
        return port == self.port and mine

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _split(values: Sequence[str]) -> list[str]:
    return [part.strip() for value in values for part in value.split(",") if part.strip()]


def management_keys(_: str, globs: Sequence[str]) -> tuple[str, ...]:
    for glob in globs:
        if not key_references.is_reference(glob):
            raise exceptions.OptionsError(
                f"llmproxy: option llm_management_keys={glob!r}: write a reference such as env:*_KEY or "
                "file:/run/secrets/*."
            )
    return tuple(globs)


def cors_origins(name: str, patterns: Sequence[str]) -> tuple[str, ...]:
    """Read origins, exact or as globs."""
    found = _split(patterns)
    try:
        validation.origins(found)
    except Invalid as error:
        raise exceptions.OptionsError(f"llmproxy: option {name}: {error}") from error
    return tuple(found)


def circuit_breaker(name: str, text: str) -> BreakerRule | None:
    """Read so many failures within a time."""
    if not text:
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,3})/([1-9][0-9]{0,3})([sm])", text)
    if match is None:
        raise exceptions.OptionsError(
            f"llmproxy: option {name}={text!r}: write failures and a time, such as 5/30s or 10/1m."
        )
    return BreakerRule(int(match[1]), int(match[2]) * (60 if match[3] == "m" else 1))


def workers(_: str, text: str) -> Readers:
    """Read who reads finished calls."""
    shared = os.environ.get(SHARED_READERS)
    if text == "auto":
        if len(os.sched_getaffinity(0)) == 1:
            return Readers()
        return Readers(shared=Path(shared)) if shared else Readers(processes=1)
    if text == "thread":
        return Readers()
    if text == "shared" and shared:
        return Readers(shared=Path(shared))
    match = re.fullmatch(r"process(?::([1-9][0-9]?))?", text)
    if match is None:
        raise exceptions.OptionsError(
            f"llmproxy: option llm_workers={text!r}: use auto, thread, process, process:N with N up to 99, "
            "or, for the proxies of `llmproxy serve`, shared."
        )
    return Readers(processes=int(match[1] or 1))


def keep_flows(_: str, value: int) -> int:
    if value < 0:
        raise exceptions.OptionsError(
            f"llmproxy: option llm_keep_flows={value}: use a number from 1 on, or 0 to keep all flows."
        )
    return value


def store(_: str, text: str) -> StoreLocation:
    try:
        return StoreLocation.named(text)
    except Invalid as error:
        raise exceptions.OptionsError(f"llmproxy: option llm_store: {error}") from error


def store_grace(_: str, seconds: int) -> int:
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


def other_hosts(options: Options) -> OtherHosts:
    clients = choice("llm_other_hosts", options.llm_other_hosts, OTHER_HOSTS)
    ports = _split(options.llm_other_ports)
    for port in ports:
        if not port.isdecimal() or not 0 < int(port) < 65536:
            raise exceptions.OptionsError(
                f"llmproxy: option llm_other_ports holds {port!r}; use numbers of ports, such as 443."
            )
    return OtherHosts(clients, frozenset(map(int, ports)))


def bounds(options: Options) -> Bounds:
    connections: int = options.llm_client_connections
    if connections < 0:
        raise exceptions.OptionsError(
            f"llmproxy: option llm_client_connections={connections}: use a number from 1 on, "
            "or 0 for any number."
        )
    names = ("llm_head_limit", "llm_head_timeout", "llm_body_limit", "llm_message_limit", "llm_body_timeout")
    return Bounds(connections, *(positive(name, getattr(options, name)) for name in names))


def outgoing_proxy(options: Options) -> OutgoingProxy | None:
    if not options.llm_outgoing_proxy:
        return None
    if any(isinstance(mode_specs.ProxyMode.parse(spec), mode_specs.UpstreamMode) for spec in options.mode):
        raise exceptions.OptionsError(
            "llmproxy: option llm_outgoing_proxy and a listener of mode upstream: both name a proxy; "
            "make the listener a regular one."
        )
    try:
        return parse_outgoing_proxy(options.llm_outgoing_proxy)
    except (Invalid, ValueError) as error:
        raise exceptions.OptionsError(f"llmproxy: option llm_outgoing_proxy: {error}.") from error


def upstream(options: Options) -> Upstream | None:
    if not options.llm_upstream:
        return None
    try:
        return parse_upstream(options.llm_upstream)
    except ValueError as error:
        raise exceptions.OptionsError(f"llmproxy: option llm_upstream: {error}.") from error


def endpoints(_: str, given: Sequence[str]) -> frozenset[str]:
    named = frozenset(_split(given))
    if strange := named - KNOWN_NAMES - RISK_CLASSES.keys():
        raise exceptions.OptionsError(
            f"llmproxy: option llm_endpoints holds {sorted(strange)[0]!r}; "
            f"use a risk class ({', '.join(sorted(RISK_CLASSES))}) or an endpoint name."
        )
    return named


def include_usage(_: str, given: Sequence[str]) -> Policy:
    words = [word.lower() for word in _split(given)]
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


def models(_: str, given: Sequence[str]) -> tuple[str, ...]:
    globs = tuple(_split(given))
    if not globs:
        raise exceptions.OptionsError("llmproxy: option llm_models is empty; write * to allow all models.")
    return ("*",) if "*" in globs else globs


def deployments(_: str, given: Sequence[str]) -> dict[str, str]:
    try:
        return parse_deployments(_split(given))
    except ValueError as error:
        raise exceptions.OptionsError(f"llmproxy: option llm_deployments holds {error}") from error


def management(options: Options) -> Address | None:
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
    target = upstream(options)
    if target and address.covers(target.host, target.port):
        raise exceptions.OptionsError(
            f"llmproxy: option llm_upstream leads to llm_management={text}; use another port."
        )
    return address


def capture_limit(_: str, limit: int) -> int:
    if limit < SMALLEST_LIMIT:
        raise exceptions.OptionsError(
            f"llmproxy: option llm_capture_limit={limit} is too small to find the usage in; "
            f"use at least {SMALLEST_LIMIT}, or llm_capture=none to keep no bodies."
        )
    return limit


def prices(_: str, file: str) -> Prices:
    if not file:
        return BUNDLED
    try:
        return read_prices(Path(file))
    except BadPrices as error:
        raise exceptions.OptionsError(f"llmproxy: option llm_prices: {error}.") from error


def spool_limit(_: str, limit: int) -> int:
    if limit and limit < SMALLEST_SPOOL:
        raise exceptions.OptionsError(
            f"llmproxy: option llm_spool_limit={limit} is too small to work with; "
            f"use at least {SMALLEST_SPOOL}, or 0 for no limit."
        )
    return limit


def recent_calls(options: Options) -> RecentBounds:
    return RecentBounds(
        not_negative("llm_recent_calls", options.llm_recent_calls),
        positive("llm_recent_calls_days", options.llm_recent_calls_days),
    )


def cache(options: Options) -> CacheSettings:
    ignore = _split(options.llm_cache_ignore)
    for name in ignore:
        choice("llm_cache_ignore", name, IGNORABLE)
    return CacheSettings(
        place=_cache_place(options.llm_cache.strip()),
        policy=choice("llm_cache_for", options.llm_cache_for, POLICIES),
        scope=choice("llm_cache_scope", options.llm_cache_scope, SCOPES),
        ttl=not_negative("llm_cache_ttl", options.llm_cache_ttl),
        entries=positive("llm_cache_entries", options.llm_cache_entries),
        bytes=positive("llm_cache_bytes", options.llm_cache_bytes),
        answer_bytes=positive("llm_cache_answer_limit", options.llm_cache_answer_limit),
        ignore=tuple(ignore),
    )


def _cache_place(text: str) -> str | None:
    if not text or text == OFF:
        return None
    try:
        place_of(text, most_entries=1, most_bytes=1)
    except Invalid as error:
        raise exceptions.OptionsError(f"llmproxy: option llm_cache: {error}") from error
    return text


def destinations(options: Options) -> Destinations:
    return Destinations(_hosts(options), upstream(options))


def spool(_: str, folder: str) -> Path:
    return Path(folder).expanduser()


def if_set(_: str, text: str) -> str | None:
    return text or None


def oidc(options: Options) -> OidcSettings | None:
    """Read the options for log-ins by OpenID Connect; None for none."""
    issuer, audience = options.llm_oidc_issuer.strip(), options.llm_oidc_audience.strip()
    client = _oidc_client(options)
    if not issuer:
        if audience or options.llm_oidc_roles or client:
            raise exceptions.OptionsError("llmproxy: options llm_oidc_...: set llm_oidc_issuer, too.")
        return None
    if not (audience or client) or not options.llm_oidc_roles:
        raise exceptions.OptionsError(
            "llmproxy: option llm_oidc_issuer wants llm_oidc_audience, llm_oidc_client_id or both, and "
            "llm_oidc_roles: who may do what."
        )
    try:
        check_issuer(issuer)
        rules = tuple(Rule.parse(text) for text in options.llm_oidc_roles)
    except Invalid as error:
        raise exceptions.OptionsError(f"llmproxy: options llm_oidc_...: {error}") from error
    if any(importlib.util.find_spec(name) is None for name in ("jwt", "authlib", "requests")):
        raise exceptions.OptionsError("llmproxy: option llm_oidc_issuer needs `pip install llmproxy[oidc]`.")
    return OidcSettings(issuer, audience or None, rules, client)


def _oidc_client(options: Options) -> OidcClient | None:
    """Read with which client people sign in to the page. Its secret is never part of a message."""
    name, reference = options.llm_oidc_client_id.strip(), options.llm_oidc_client_secret.strip()
    scopes = options.llm_oidc_scopes.split()
    if not name:
        if reference:
            raise exceptions.OptionsError(
                "llmproxy: option llm_oidc_client_secret: set llm_oidc_client_id, too."
            )
        return None
    if "openid" not in scopes:
        raise exceptions.OptionsError("llmproxy: option llm_oidc_scopes: openid has to be one of them.")
    if reference:
        if not key_references.is_reference(reference):
            raise exceptions.OptionsError(
                "llmproxy: option llm_oidc_client_secret holds no reference: write env:NAME or file:/PATH, "
                "where the secret is."
            )
        try:
            key_references.check(reference)
            if reference.startswith(("env:", "file:")):
                key_references.read_text(reference)
        except (Invalid, KeyUnavailable) as error:
            raise exceptions.OptionsError(f"llmproxy: option llm_oidc_client_secret: {error}") from error
    return OidcClient(name, reference or None, " ".join(scopes))


def api_token(options: Options) -> Secret | None:
    return management_token(os.environ) if options.llm_management.strip() else None
