"""Choose the servers that are asked for the usage of streams (option ``llm_include_usage``).

A server that does not know ``stream_options`` may refuse the call, and one that reports usage unasked gains
nothing by being asked. So only those are asked that are known to support it and to need it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from addons.flow.network.addresses import normalise
from addons.openai.providers import OPENAI, provider_of

OPENAI_HOSTS = ("api.openai.com", "*.api.openai.com")


@dataclass(frozen=True, slots=True)
class Policy:
    """Says who is asked (option ``llm_include_usage``)."""

    known: bool
    """It tells whether the hosts that are known to support it are."""
    hosts: Sequence[str] = ()
    """Others, by name; ``*.example.com`` is any name below."""

    def asks(self, host: str, url: str, keys: Collection[str] = ()) -> bool:
        """Tell whether `host` is asked, in a request with this path and query and these keys in its body."""
        host = normalise(host)
        if any(fnmatchcase(host, pattern) for pattern in self.hosts):
            return True
        if not self.known:
            return False
        provider = provider_of(host)
        return (provider is not OPENAI or is_openai(host)) and provider.takes_stream_options(url, keys)


def is_openai(host: str) -> bool:
    """Tell whether `host` is OpenAI's own."""
    return any(fnmatchcase(normalise(host), pattern) for pattern in OPENAI_HOSTS)
