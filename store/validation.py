"""Values that the store takes. Every function returns the value to keep, or raises Invalid."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from store.errors import Invalid
from store.limits import Limits

TOKEN_PREFIX = "sk-llmp-"  # noqa: S105 - the part that tokens share
"""How new tokens begin, unless another is asked for. ``sk-`` contents SDKs and secret scanners."""
EARLIER_TOKEN_PREFIX = "sk-proxy-"  # noqa: S105
"""How those of earlier versions do; they go on working."""

# The limits of the API's own `metadata` parameter, so that a map fits both.
METADATA_PAIRS = 16
METADATA_KEY = 64
METADATA_VALUE = 512
HEADER_NAMES = 16
"""Names of metadata that one token, or one project, lets its clients add."""

NAME_LENGTH = 100
LONGEST_OVERLAP = timedelta(days=90)


def name(value: str) -> str:
    if not value or len(value) > NAME_LENGTH or not value.isprintable() or value != value.strip():
        raise Invalid(
            f"project name {value[:NAME_LENGTH]!r}: use 1 to {NAME_LENGTH} printable characters "
            "without space at the ends."
        )
    return value


def api_key(value: str) -> str:
    """The key is never part of the message."""
    if not value or not value.isascii() or not value.isprintable() or " " in value:
        raise Invalid("the API key is empty, or holds characters that an HTTP header cannot carry.")
    if is_token(value):
        raise Invalid("the API key begins as a proxy token does; give the real key.")
    return value


def is_token(text: str) -> bool:
    """Whether `text` looks like a proxy token with the usual prefix."""
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


def token_limits(value: Limits) -> Limits:
    if value.expires_at is not None:
        raise Invalid("limits.expires_at is for projects; a token has expires_at of its own.")
    if value.max_requests is not None:
        raise Invalid("limits.max_requests is for projects; a token has max_requests of its own.")
    return value


def expires_at(value: datetime | None) -> datetime | None:
    if value is None:
        return None
    if value.tzinfo is None:
        raise Invalid(f"expires_at {value}: name a time zone.")
    return value.astimezone(UTC)


def metadata(value: Mapping[str, str] | None) -> str:
    """A flat map of strings, as JSON text."""
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
    """How a name of request metadata is kept: headers know no case, and mostly have ``-`` for ``_``."""
    return name.lower().replace("-", "_")


def header_metadata(names: Iterable[str]) -> str:
    """Names that clients may add by ``X-LLMProxy-Metadata-NAME``, as JSON text, sorted."""
    kept = sorted({header_name(name) for name in names})
    for name in kept:
        if not re.fullmatch(f"[a-z0-9_]{{1,{METADATA_KEY}}}", name):
            raise Invalid(
                f"header metadata {name[:METADATA_KEY]!r}: use 1 to {METADATA_KEY} letters, digits, - and _."
            )
    if len(kept) > HEADER_NAMES:
        raise Invalid(f"header metadata has {len(kept)} names; at most {HEADER_NAMES} are kept.")
    return json.dumps(kept)


def object_id(text: str) -> str:
    """An id of the API's. Raises Invalid."""
    if not 1 <= len(text) <= 200 or not text.isprintable() or " " in text:
        raise Invalid(f"object {text[:60]!r}: write an id as the API gives it, of at most 200 characters.")
    return text
