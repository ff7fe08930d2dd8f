"""Check values that the store takes. Every function returns the value to keep, or raises Invalid."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from store.core.errors import Invalid
from store.core.times import rfc3339
from store.tokens.calendar import TOTAL
from store.tokens.limits import Limits

TOKEN_PREFIX = "sk-llmp-"  # noqa: S105 - the part that tokens share
"""It says how new tokens begin, unless another is asked for. ``sk-`` contents SDKs and secret scanners."""
EARLIER_TOKEN_PREFIX = "sk-proxy-"  # noqa: S105
"""It says how those of earlier versions do; they go on working."""

# The limits of the API's own `metadata` parameter, so that a map fits both.
METADATA_PAIRS = 16
METADATA_KEY = 64
METADATA_VALUE = 512
CACHE_POLICIES = ("off", "ask", "all")
"""It says whose answers are kept: nobody's, those of calls that ask for it, all. The strictest first."""
HEADER_NAMES = 16
"""Names of metadata that one token, or one project, lets its clients add."""

ORIGINS = 32
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[A-Za-z0-9._*?\[\]:-]{1,200}|\*|null")
"""As browsers write it (RFC 6454), or a glob of such."""

MASKED = re.compile(r"\.{3}|\*{2}|[…•]")
"""In place of the middle of a key: ``sk-...xyz``, ``sk-proj-****``."""

NAME_LENGTH = 100
TOKEN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}", re.ASCII)
AN_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}", re.ASCII)
LONGEST_OVERLAP = timedelta(days=90)


def name(value: str) -> str:
    if not value or len(value) > NAME_LENGTH or not value.isprintable() or value != value.strip():
        raise Invalid(
            f"project name {value[:NAME_LENGTH]!r}: use 1 to {NAME_LENGTH} printable characters "
            "without space at the ends."
        )
    return value


def token_name(value: str | None) -> str | None:
    """Check a name: it is no id and no beginning of a token, so that commands can take either."""
    if value is None:
        return None
    if not TOKEN_NAME.fullmatch(value) or is_token(value) or AN_ID.fullmatch(value):
        raise Invalid(
            f"token name {value[:NAME_LENGTH]!r}: use 1 to 64 letters, digits, dots, dashes, underscores; a "
            "letter first, and nothing that looks like an id or a token."
        )
    return value


def api_key(value: str) -> str:
    """Check a key, which is never part of the message."""
    if MASKED.search(value):
        raise Invalid("the API key is masked, as pages and logs show keys; give the whole key.")
    if not value or not value.isascii() or not value.isprintable() or " " in value:
        raise Invalid("the API key is empty, or holds characters that an HTTP header cannot carry.")
    if is_token(value):
        raise Invalid("the API key begins as a proxy token does; give the real key.")
    return value


def is_token(text: str) -> bool:
    """Tell whether `text` looks like a proxy token with the usual prefix."""
    return text.startswith((TOKEN_PREFIX, EARLIER_TOKEN_PREFIX))


def token_prefix(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{1,30}[-_]", value):
        raise Invalid(
            f"token prefix {value[:40]!r}: use 3 to 32 letters, digits, - and _; a letter first, - or _ last."
        )
    return value


def overlap(value: timedelta) -> timedelta:
    if not timedelta() <= value <= LONGEST_OVERLAP:
        raise Invalid(f"overlap {value}: use 0 to {LONGEST_OVERLAP.days} days.")
    return value


def max_requests(value: int | None) -> int | None:
    if value is not None and not 0 <= value < 2**53:
        raise Invalid(f"max_requests {value}: use 0 or more, or none for any number.")
    return value


def token_limits(value: Limits) -> str:
    """Check limits of a token, and give them as JSON text."""
    if value.expires_at is not None:
        raise Invalid("limits.expires_at is for projects; a token has expires_at of its own.")
    if value.max_requests is not None:
        raise Invalid("limits.max_requests is for projects; a token has max_requests of its own.")
    return value.as_json()


OF_SESSIONS = ("budgets",)
OF_USERS = (
    "requests_per_minute",
    "tokens_per_minute",
    "max_concurrent",
    "budgets",
    "time_zone",
    "week_start",
)
"""Limits that those can have who only their calls name."""


def session_limits(value: Limits) -> str:
    """Check limits of each session, and give them as JSON text.

    They are budgets in all, since nobody knows when a session ends.
    """
    _only("session_limits", value, OF_SESSIONS)
    if wrong := [budget.name for budget in value.budgets if budget.period != TOTAL]:
        raise Invalid(f"session_limits {wrong[0]}: a session has budgets in all only, such as 5usd/total.")
    return value.as_json()


def user_limits(value: Limits) -> str:
    """Check limits of each user, and give them as JSON text."""
    return limits_of_each("user_limits", value)


def address_limits(value: Limits) -> str:
    """Check limits of each client address, and give them as JSON text."""
    return limits_of_each("address_limits", value)


def limits_of_each(called: str, value: Limits) -> str:
    """Check limits of each of those whom calls name, and give them as JSON text."""
    _only(called, value, OF_USERS)
    if any(budget.period == TOTAL for budget in value.budgets):
        raise Invalid(
            f"{called}: use a period that begins anew, such as 2usd/day; what is past is forgotten."
        )
    return value.as_json()


def _only(called: str, value: Limits, names: Sequence[str]) -> None:
    if others := sorted(value.as_dict().keys() - set(names)):
        raise Invalid(f"{called}.{others[0]}: use {', '.join(names)}.")


def expires_at(value: datetime | None) -> str | None:
    """Give a moment, in UTC, as text (RFC 3339)."""
    if value is None:
        return None
    if value.tzinfo is None:
        raise Invalid(f"expires_at {value}: name a time zone.")
    return rfc3339(value)


def metadata(value: Mapping[str, str] | None) -> str:
    """Give a flat map of strings, as JSON text."""
    pairs = dict(value or {})
    if len(pairs) > METADATA_PAIRS:
        raise Invalid(f"metadata has {len(pairs)} pairs; at most {METADATA_PAIRS} are kept.")
    for key, text in pairs.items():
        if not isinstance(key, str) or not isinstance(text, str):
            raise Invalid(f"metadata {key!r}: keys and values must be strings, not {type(text).__name__}.")
        if not 0 < len(key) <= METADATA_KEY or not key.isprintable():
            raise Invalid(
                f"metadata key {key[:METADATA_KEY]!r}: use 1 to {METADATA_KEY} printable characters."
            )
        if len(text) > METADATA_VALUE or not text.isprintable():
            raise Invalid(
                f"metadata {key!r}: use at most {METADATA_VALUE} printable characters as its value."
            )
    return json.dumps(pairs, ensure_ascii=False, sort_keys=True)


def header_name(name: str) -> str:
    """Say how a name of request metadata is kept: headers know no case, and mostly have ``-`` for ``_``."""
    return name.lower().replace("-", "_")


def header_metadata(names: Iterable[str]) -> str:
    """Give the names that clients may add by ``X-LLMProxy-Metadata-NAME``, as JSON text, sorted."""
    kept = sorted({header_name(name) for name in names})
    for name in kept:
        if not re.fullmatch(f"[a-z0-9_]{{1,{METADATA_KEY}}}", name):
            raise Invalid(
                f"header metadata {name[:METADATA_KEY]!r}: use 1 to {METADATA_KEY} letters, digits, - and _."
            )
    if len(kept) > HEADER_NAMES:
        raise Invalid(f"header metadata has {len(kept)} names; at most {HEADER_NAMES} are kept.")
    return json.dumps(kept)


def origins(patterns: Iterable[str]) -> str:
    """Give origins of pages, exact or as globs, as JSON text, sorted."""
    kept = sorted({pattern.strip() for pattern in patterns})
    for pattern in kept:
        if not ORIGIN.fullmatch(pattern):
            raise Invalid(
                f"origin {pattern[:80]!r}: write a scheme, a host and a port where it is not the usual one, "
                "such as https://app.example.com or https://*.example.com; or * for all."
            )
    if len(kept) > ORIGINS:
        raise Invalid(f"there are {len(kept)} origins; at most {ORIGINS} are kept.")
    return json.dumps(kept)


def cache(value: str | None) -> str | None:
    if value is not None and value not in CACHE_POLICIES:
        raise Invalid(f"cache {value[:40]!r}: use {', '.join(CACHE_POLICIES)}.")
    return value


def object_id(text: str) -> str:
    """Give an id of the API's. Raises Invalid."""
    if not 1 <= len(text) <= 200 or not text.isprintable() or " " in text:
        raise Invalid(f"object {text[:60]!r}: write an id as the API gives it, of at most 200 characters.")
    return text
