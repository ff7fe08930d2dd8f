"""Make ETags of projects and tokens: a change is made only to what its sender saw (RFC 9110, If-Match)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

from addons.management_api.errors import ApiError
from store.audit.log import LOCK
from store.tokens.models import Project, Token
from store.tokens.store import TokenStore

COUNTED = ("request_count", "cache_hit_count", "last_used_at", "last_used_from", "updated_at")
"""Fields that calls change, and no person."""


def etag_of(found: Project | Token) -> str:
    """Return the tag of what people decide of it."""
    decided = {name: value for name, value in found.as_dict().items() if name not in COUNTED}
    text = json.dumps(decided, sort_keys=True, default=str)
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


def hold(store: TokenStore, match: str | None, find: Callable[[], Project | Token]) -> None:
    """Raise ApiError, within a transaction, unless what is there fits a header If-Match; it then stays so."""
    if match is None:
        return
    store.connection.lock(LOCK)
    found = find()
    if match.strip() != "*" and etag_of(found) not in [tag.strip() for tag in match.split(",")]:
        raise ApiError(
            412, "precondition_failed", "It was changed since you read it; read it again, then change it."
        )
