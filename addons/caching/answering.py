"""Answer from the cache, with the header fields that say so (RFC 9211, and ``X-Proxy-Cache``)."""

from __future__ import annotations

from mitmproxy import http

from addons.flow.cache_use import BYPASS, HIT, REVALIDATED, CacheUse
from addons.openai.http.cache_control import Headers, values_of
from addons.openai.http.parsed_events import ParsedEvents
from addons.openai.usage.usage_cutter import UsageCutter
from store.cache.entry import Entry

NAME = "llm-proxy"
"""It names this cache in ``Cache-Status``."""
CONDITIONAL = "conditional-hit"
OF_NOT_MODIFIED = ("etag", "last-modified", "cache-control", "expires", "vary", "date", "content-location")
"""Fields that a 304 has (RFC 9110 section 15.4.5)."""


def response_of(entry: Entry, use: CacheUse, now: float) -> http.Response:
    """Make the answer that is given again: as it came, still coded, with its age."""
    body = entry.body if entry.shown is None else entry.shown
    return _response(200, b"OK", entry.headers, body, entry, use, now)


def not_modified(entry: Entry, use: CacheUse, now: float) -> http.Response:
    """Tell a client that it has the answer already."""
    kept = tuple((name, value) for name, value in entry.headers if name.lower() in OF_NOT_MODIFIED)
    response = _response(304, b"Not Modified", kept, b"", entry, use, now)
    del response.headers["content-length"]
    response.headers["x-proxy-cache"] = CONDITIONAL
    return response


def shown_of(headers: Headers, body: bytes, parsed: ParsedEvents) -> bytes | None:
    """Return a body without the usage that the proxy has asked for, as its client got it; None for all of it.

    Takes milliseconds for each hundred events. `parsed` has those that were read on their way.
    """
    is_stream = values_of(headers, "content-type").lower().startswith("text/event-stream")
    if not is_stream or values_of(headers, "content-encoding"):
        return None  # nothing was cut out of it
    cutter = UsageCutter(parsed)
    return cutter.feed(body) + cutter.finish()


def mark(headers: http.Headers, use: CacheUse, now: float) -> None:
    """Add to an answer's header what the cache did for it."""
    status = [NAME]
    if use.result == HIT and use.entry is not None:
        left = use.entry.lifetime - (now - use.entry.stored_at)
        status += ["hit", f"ttl={int(left)}"]
    else:
        status.append(f"fwd={use.forward}")
        if use.result == REVALIDATED:
            status.append("fwd-status=304")
        if use.keeps:
            status += ["stored", f"ttl={use.lifetime}"]
    if use.key:
        status.append(f'key="{use.key}"')
        headers["x-proxy-cache-key"] = use.key
    headers.add("cache-status", "; ".join(status))
    if use.result in (HIT, BYPASS):
        headers["x-proxy-cache"] = use.result
    elif use.result == REVALIDATED:
        headers["x-proxy-cache"] = CONDITIONAL
    elif use.keeps:
        headers["x-proxy-cache"] = "stored"


def _response(
    status: int,
    reason: bytes,
    fields: tuple[tuple[str, str], ...],
    body: bytes,
    entry: Entry,
    use: CacheUse,
    now: float,
) -> http.Response:
    headers = http.Headers([(_bytes(name), _bytes(value)) for name, value in fields])
    headers["age"] = str(int(entry.age_at(now)))
    headers["content-length"] = str(len(body))
    mark(headers, use, now)
    return http.Response(b"HTTP/1.1", status, reason, headers, body, None, now, now)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")  # as mitmproxy decodes headers
