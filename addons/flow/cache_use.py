"""Hold how one call uses the cache of answers."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from store.cache.entry import Entry

if TYPE_CHECKING:  # the processes that read finished calls do without mitmproxy
    from mitmproxy import http

NAMESPACE_HEADER = "x-llm-proxy-cache-namespace"
"""By it a client keeps the answers of its calls apart from others; it never goes upstream."""
LONGEST_NAMESPACE = 128
NOT_IN_NAMESPACE = re.compile(r"[^A-Za-z0-9\-_:]")

HIT, REVALIDATED, MISS, BYPASS = "hit", "revalidated", "miss", "bypass"


@dataclass(slots=True)
class CacheUse:
    """Says how a call uses the cache; calls that have nothing to do with it have none of these."""

    result: str
    """HIT, REVALIDATED, MISS or BYPASS, as its event says."""
    forward: str = ""
    """It says why it goes upstream, in the words of RFC 9211 section 2.2."""
    key: str = ""
    """It is that of its request; empty where its answer is neither looked for nor kept."""
    target: str = ""
    """Path and query, the parameters in order."""
    policy: str = ""
    """It is that of its token and project: ask or all."""
    wanted: int = 0
    """Seconds for which its request lets the answer be kept; 0 where it does not say."""
    entry: Entry | None = None
    """The answer that is given, or that upstream is asked to confirm."""
    answer_headers: list[tuple[str, str]] = field(default_factory=list)
    """It is that of upstream's answer, without what the proxy adds to them."""
    lifetime: int = 0
    """Seconds for which the answer is kept."""
    forced: bool = False
    """It tells whether the request or the operator set that, and not the answer."""
    checked: bool = False
    """It tells whether the answer is to be confirmed by upstream each time that it is given."""
    keeps: bool = False
    """It tells whether the answer is kept once it is whole."""


def take_namespace(headers: http.Headers) -> str:
    """Take the namespace out of a request's headers, and return it."""
    text = headers.pop(NAMESPACE_HEADER, None)
    return NOT_IN_NAMESPACE.sub("", (text or "").strip()[:LONGEST_NAMESPACE])
