"""Serve cross-origin calls of browsers: preflights, and the headers that let a page read an answer.

Fetch Standard, "CORS protocol". Which origins may read answers is option ``llm_cors_origins``; a page on any
other gets none of these headers, and its browser keeps the answer from it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from itertools import product

from mitmproxy import http

ORIGIN = "origin"
BEGINNING = "access-control-"
METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE"
USUAL_HEADERS = "authorization, content-type"
HEADER_NAMES = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+(?: *, *[A-Za-z0-9!#$%&'*+.^_`|~-]+)*")
MAX_AGE = 7200
"""Seconds for which a browser may remember a preflight; Chromium allows no more."""
AN_ORIGIN = re.compile(
    r"[a-z][a-z0-9+.-]*://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?|null", re.IGNORECASE
)
EXPOSED = ", ".join(
    (
        *("x-request-id", "x-llmproxy-request-id", "cache-status", "age", "retry-after", "x-should-retry"),
        *(
            f"{beginning}-{what}-{unit}"
            for beginning, what, unit in product(
                ("x-ratelimit", "x-llmproxy-ratelimit"),
                ("limit", "remaining", "reset"),
                ("requests", "tokens"),
            )
        ),
    )
)
"""Headers of answers that pages may read, beside those that they always may."""


def is_allowed(origin: str, patterns: Sequence[str]) -> bool:
    """Tell whether an origin fits one of the patterns; an odd one fits none.

    >>> is_allowed("https://app.example.com", ["https://*.example.com"])
    True
    >>> is_allowed("https://evil.com/.example.com", ["https://*.example.com"])
    False
    """
    shown = origin.lower()
    return bool(AN_ORIGIN.fullmatch(origin)) and any(
        fnmatchcase(shown, pattern.lower()) for pattern in patterns
    )


def is_preflight(request: http.Request) -> bool:
    """Tell whether a browser asks whether it may send a request."""
    headers = request.headers
    return request.method == "OPTIONS" and ORIGIN in headers and f"{BEGINNING}request-method" in headers


def preflight_answer(request: http.Request) -> http.Response:
    """Let the browser of an allowed origin send the request that it asks about."""
    wanted = request.headers.get(f"{BEGINNING}request-headers", "")
    headers = {
        f"{BEGINNING}allow-methods": METHODS,
        f"{BEGINNING}allow-headers": wanted if HEADER_NAMES.fullmatch(wanted) else USUAL_HEADERS,
        f"{BEGINNING}max-age": str(MAX_AGE),
        "vary": "Access-Control-Request-Method, Access-Control-Request-Headers",
    }
    return http.Response.make(204, b"", headers)


def let_read(request: http.Request, response: http.Response, patterns: Sequence[str]) -> None:
    """Give an answer the headers by which pages of allowed origins may read it, not upstream's."""
    if not patterns:
        return
    headers = response.headers
    if not is_preflight(request):
        for name in [name for name in headers if name.lower().startswith(BEGINNING)]:
            del headers[name]
    headers.add("vary", "Origin")
    origin = request.headers.get(ORIGIN)
    if origin is not None and is_allowed(origin, patterns):
        headers[f"{BEGINNING}allow-origin"] = origin
        headers[f"{BEGINNING}expose-headers"] = EXPOSED
