"""Hold the options of the cache of answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from store.tokens.validation import CACHE_POLICIES

OFF, ASK, ALL = POLICIES = CACHE_POLICIES
PROJECT, TOKEN, USER = "project", "token", "user"
SCOPES = (PROJECT, TOKEN, USER)
"""They say who shares answers: the tokens of a project, nobody, the calls of one user."""
IGNORABLE = ("no-cache", "private")
"""Directives of answers that the operator may overrule."""


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """Holds the options ``llm_cache_...``."""

    place: str | None = None
    """It is read by :func:`store.cache.places.place_of`; with None nothing is kept."""
    policy: str = ASK
    """It holds for projects and tokens that say nothing."""
    scope: str = PROJECT
    ttl: int = 0
    """Seconds for which answers are kept that state no lifetime."""
    entries: int = 10_000
    bytes: int = 256 * 2**20
    """All answers in memory, and all in a SQLite file, have no more bytes than these."""
    answer_bytes: int = 2 * 2**20
    """A longer answer is not kept."""
    ignore: tuple[str, ...] = ()
    """Directives of answers that are not minded."""

    def policy_of(self, stated: Iterable[str | None]) -> str:
        """Return the strictest of what a token and its project say; the option's where they say nothing."""
        said = [POLICIES.index(one) for one in stated if one in POLICIES]
        return POLICIES[min(said)] if said else self.policy
