"""Bound how long tokens live: a default for those without an expiry, and a maximum that none may exceed.

Both are set for all tokens (``token_lifetime`` and ``token_max_lifetime`` in ``llmproxy.toml``, or the
environment) and for a project. A project's default goes before the general one; of two maxima the shorter
holds. The store applies them, so that every way of making a token is bound alike.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from store.core import configuration
from store.core.errors import Invalid
from store.core.times import duration, rfc3339

VARIABLES = {"token_lifetime": "LLMPROXY_TOKEN_LIFETIME", "token_max_lifetime": "LLMPROXY_TOKEN_MAX_LIFETIME"}
"""It is that of the environment, by the settings of ``llmproxy.toml`` that they go before."""
LONGEST = timedelta(days=100 * 365)
EXPIRY = "expires_at"


def lifetime(text: str | None) -> str | None:
    """Check a lifetime such as ``30d``. Raises Invalid."""
    if text is not None and not timedelta() < duration(text) <= LONGEST:
        raise Invalid(f"lifetime {text}: use 1s to {LONGEST.days}d.")
    return text


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """Holds the lifetimes of the tokens of one project."""

    usual: timedelta | None = None
    longest: timedelta | None = None
    whose: str = ""
    """It says who set the maximum, for messages."""

    @classmethod
    def of_project(cls, fields: Mapping[str, Any]) -> Lifetimes:
        """Return those of a project with the given `fields`, within the general ones. Raises Invalid."""
        general = _general()
        usual = fields.get("token_lifetime") or general["token_lifetime"]
        own, all_ = fields.get("token_max_lifetime"), general["token_max_lifetime"]
        found = [(duration(text), whose) for text, whose in ((own, "project"), (all_, "all tokens")) if text]
        longest, whose = min(found, default=(None, ""))
        return cls(duration(usual) if usual else None, longest, whose)

    def given(self, fields: Mapping[str, Any], created_at: datetime) -> Mapping[str, Any]:
        """Return the fields of a new token with the expiry that it gets. Raises Invalid."""
        if EXPIRY in fields or self.usual is None:
            ends = fields.get(EXPIRY)
        else:
            ends = created_at + (self.usual if self.longest is None else min(self.usual, self.longest))
        self.check(ends, created_at)
        return {**fields, EXPIRY: ends}

    def check(self, ends: datetime | None, created_at: datetime) -> None:
        """Raise Invalid for a token that would live longer than the maximum, counted from its making."""
        if self.longest is None:
            return
        latest = created_at + self.longest
        if ends is None:
            raise Invalid(
                f"expires_at: tokens must end within {_shown(self.longest)} (maximum of {self.whose}); give "
                "an expiry, or set a default with token_lifetime."
            )
        if ends.tzinfo is not None and ends > latest:
            raise Invalid(
                f"expires_at {rfc3339(ends)}: tokens must end within {_shown(self.longest)} of their making "
                f"(maximum of {self.whose}); use {rfc3339(latest)} at the latest."
            )


def _general() -> Mapping[str, str | None]:
    """Read the settings of the installation. Raises Invalid, which names the setting."""
    texts = configuration.load().texts
    found = {}
    for name, variable in VARIABLES.items():
        text = os.environ.get(variable) or texts.get(name)
        try:
            found[name] = lifetime(text)
        except Invalid as error:
            raise Invalid(f"{variable if os.environ.get(variable) else name}: {error}") from error
    return found


def _shown(length: timedelta) -> str:
    """Write a length of time as options take it."""
    seconds = int(length.total_seconds())
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
