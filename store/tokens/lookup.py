"""Define how a token is looked up, and the checks that need nothing but the answer.

:mod:`store.tokens.lookups` opens the one for a store.
"""

from __future__ import annotations

from concurrent.futures import Future
from datetime import datetime
from enum import Enum
from typing import Protocol

from store.core.errors import StoreError
from store.tokens.models import Grant

LONGEST = 512
"""Characters; a longer text is no token of ours."""


class Reason(Enum):
    """Says why a token may not make this call, in the order in which the reasons are looked for."""

    MISSING = "missing"
    UNKNOWN = "unknown"
    REVOKED = "revoked"
    EXPIRED = "expired"
    REPLACED = "replaced"
    PROJECT_INACTIVE = "project_inactive"
    ENDPOINT_NOT_ALLOWED = "endpoint_not_allowed"


def check(grant: Grant, now: datetime) -> Reason | None:
    """Give what of the grant's own state stands against a call; None where nothing does."""
    if not grant.token.active:
        return Reason.REVOKED
    ends = (grant.token.expires_at, grant.project.limits.expires_at)
    if any(end is not None and end <= now for end in ends):
        return Reason.EXPIRED
    if grant.secret_ends_at is not None and grant.secret_ends_at <= now:
        return Reason.REPLACED
    if not grant.project.active:
        return Reason.PROJECT_INACTIVE
    return None


Found = Grant | None
"""None: the text is no token's."""


class Lookup(Protocol):
    """Finds what tokens grant, for one thread, the event loop's."""

    @property
    def trouble(self) -> str | None:
        """Say why calls are refused for the store's sake, as far as that was noticed. For any thread."""
        ...

    def find(self, text: str) -> Found | Future[Found]:
        """Give what is found, or will be.

        Raises StoreUnavailable, or DamagedRow, by itself or by its future.
        """
        ...

    def find_fingerprint(self, key: str) -> Found | Future[Found]:
        """Find a token by its text's fingerprint (:func:`store.tokens.token_text.fingerprint`)."""
        ...

    def away(self) -> StoreError | None:
        """Say why the store counts as away; None while it answers, or where only a question can tell."""
        ...

    def ready(self) -> None:
        """Raise StoreUnavailable where calls are refused because the store is away."""
        ...

    def close(self) -> None: ...
