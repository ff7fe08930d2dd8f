"""Which servers are asked for the usage of streams (option ``llm_include_usage``).

A server that does not know ``stream_options`` may refuse the call, and one that reports usage unasked gains
nothing by being asked. So only those are asked that are known to support it and to need it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import parse_qs, urlsplit

from addons.destination import normalise
from addons.openai import azure

OPENAI_HOSTS = ("api.openai.com", "*.api.openai.com")
AZURE_SINCE = "2024-09-01"
"""Azure's first ``api-version`` that documents ``stream_options``; older ones refuse what they don't know."""
AZURE_OWN_DATA = "data_sources"
"""Azure refuses ``stream_options`` beside it ("On Your Data")."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Who is asked (option ``llm_include_usage``)."""

    known: bool
    """Whether the hosts that are known to support it are."""
    hosts: Sequence[str] = ()
    """Others, by name; ``*.example.com`` is any name below."""

    def asks(self, host: str, url: str, keys: Collection[str] = ()) -> bool:
        """Whether `host` is asked, in a request with this path and query and these keys in its body."""
        host = normalise(host)
        if any(fnmatchcase(host, pattern) for pattern in self.hosts):
            return True
        if not self.known:
            return False
        if host.endswith(azure.SUFFIXES):
            return AZURE_OWN_DATA not in keys and _azure_supports(url)
        return is_openai(host)


def is_openai(host: str) -> bool:
    """Whether `host` is OpenAI's own."""
    return any(fnmatchcase(normalise(host), pattern) for pattern in OPENAI_HOSTS)


def _azure_supports(url: str) -> bool:
    parts = urlsplit(url)
    version = parse_qs(parts.query).get("api-version", [""])[-1]
    if re.match(r"\d{4}-\d\d-\d\d", version):
        return version >= AZURE_SINCE
    return "/openai/v1/" in parts.path
