"""Decide which answers are kept, for how long, and which may be given, by what request and answer say.

RFC 9111, with what a client may ask for beyond it: ``Cache-Control: public, max-age=N`` of a request has
its answer kept, which RFC 9111 knows for answers only.
"""

from __future__ import annotations

from dataclasses import dataclass

from addons.caching.settings import ALL, CacheSettings
from addons.flow.cache_use import CacheUse
from addons.openai.http.cache_control import (
    CacheControl,
    Headers,
    accepts_coding,
    accepts_identity,
    asks_anew,
    cache_control,
    stated_age,
    stated_lifetime,
    values_of,
    vary_names,
)
from store.cache.entry import LONGEST_LIFETIME, Entry

KEPT_TYPES = ("application/json", "text/event-stream")
NOT_KEPT = frozenset(
    (
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te"),
        *("trailer", "trailers", "transfer-encoding", "upgrade", "set-cookie", "set-cookie2"),
        *("content-length", "age", "cache-status", "x-request-id", "openai-processing-ms", "retry-after"),
        *("alt-svc", "server-timing", "cf-ray", "cf-cache-status"),
    )
)
"""Fields of an answer that belong to one connection, or to the call that it was made for."""
NOT_KEPT_PREFIXES = ("x-ratelimit-", "x-llmproxy-", "x-envoy-", "x-proxy-", "access-control-")


@dataclass(frozen=True, slots=True)
class Keeping:
    """Says that an answer is kept."""

    lifetime: int
    """Seconds."""
    forced: bool = False
    """It is true where the request or the operator set the time, and not the answer."""
    checked: bool = False
    """It is true where upstream has to confirm the answer each time it is given."""


def keeping_of(
    use: CacheUse, settings: CacheSettings, status: int, headers: Headers, *, method: str
) -> Keeping | None:
    """Give how long an answer is kept; None where it is not."""
    control = cache_control(headers)
    if status != 200 or method == "HEAD" or not _is_permitted(control, settings):
        return None
    if not values_of(headers, "content-type").lower().startswith(KEPT_TYPES):
        return None
    if "*" in vary_names(headers) and not use.wanted:
        return None
    # Only a list can be asked for under a condition; a POST would be answered anew.
    confirmable = method == "GET" and bool(values_of(headers, "etag") or values_of(headers, "last-modified"))
    checked = "no-cache" in control and "no-cache" not in settings.ignore
    if checked and not confirmable:
        return None
    found = _lifetime(use, settings, control, headers)
    if found is None:
        return None
    lifetime = min(found.lifetime, LONGEST_LIFETIME) - stated_age(headers)
    if lifetime <= 0 and not (confirmable and found.lifetime >= 0):
        return None
    return Keeping(max(lifetime, 0), found.forced, checked)


def _is_permitted(control: CacheControl, settings: CacheSettings) -> bool:
    if "no-store" in control:
        return False
    return "private" not in control or "private" in settings.ignore


def _lifetime(
    use: CacheUse, settings: CacheSettings, control: CacheControl, headers: Headers
) -> Keeping | None:
    """Take the answer's own lifetime, else the option's, else the request's."""
    consents = use.policy == ALL or use.wanted > 0
    # Without either the answer itself must allow it, since every call shows a credential (section 3.5).
    shared = "public" in control or bool(control.seconds("s-maxage"))
    stated = stated_lifetime(headers)
    if stated is not None:
        return Keeping(stated) if consents or shared else None
    if settings.ttl and (consents or shared):
        return Keeping(settings.ttl, forced=True)
    return Keeping(use.wanted, forced=True) if use.wanted else None


def kept_headers(headers: Headers, use: CacheUse) -> tuple[tuple[str, str], ...]:
    """Return the fields of an answer that are given with it again."""
    named = {name.strip().lower() for name in values_of(headers, "connection").split(",")}
    kept = [
        (name, value)
        for name, value in headers
        if (lower := name.lower()) not in NOT_KEPT
        and lower not in named
        and not lower.startswith(NOT_KEPT_PREFIXES)
    ]
    if use.forced and use.wanted:
        kept = [(name, value) for name, value in kept if name.lower() != "cache-control"]
        kept.append(("cache-control", f"public, max-age={use.lifetime}"))
    return tuple(kept)


def why_not_given(entry: Entry, use: CacheUse, request: Headers, now: float) -> str | None:
    """Say, as RFC 9211 does, why a kept answer is not given as it is; None where it may be."""
    coding = ", ".join(value for name, value in entry.headers if name.lower() == "content-encoding")
    if not accepts_coding(request, coding) or (not coding and not accepts_identity(request)):
        return "vary-miss"
    control = cache_control(request)
    asks = use.wanted or use.policy == ALL or "only-if-cached" in control
    if entry.forced and not asks:
        return "uri-miss"  # it is kept for those who ask for it
    if asks_anew(request):
        return "request"
    if entry.checked or not entry.is_fresh(now):
        return "stale"
    age = entry.age_at(now)
    most = control.seconds("max-age")
    if most is None and use.wanted:
        most = use.wanted
    if most is not None and age > most:
        return "request"
    fresh_for = control.seconds("min-fresh") or 0
    return "request" if entry.stored_at + entry.lifetime - now < fresh_for else None
