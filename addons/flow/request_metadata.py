"""Read what a client says of one call by headers: ``X-LLMProxy-Metadata-NAME: VALUE``.

Only names that the call's token, or its project, allows are kept, in a field of their own: they are claims,
and never change what the token says. All headers of the proxy's own namespace leave the request here,
allowed or not, so that none of them goes upstream.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from store.core.credential_patterns import CREDENTIAL
from store.tokens.validation import METADATA_KEY, METADATA_VALUE, header_name

if TYPE_CHECKING:  # the processes that read finished calls do without mitmproxy
    from mitmproxy import http

NAMESPACE = b"x-llmproxy-"
PREFIX = header_name("x-llmproxy-metadata-")
USER_NAMES = ("user_id", "app_user_id")
"""It is that of metadata that name a user, in this order."""
NAMED = 16
"""Names that were not allowed and are told; more are counted only."""
REDACTED = "[redacted]"


@dataclass(frozen=True, slots=True)
class RequestMetadata:
    """Holds what is known of one call's headers."""

    pairs: dict[str, str] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    """Names that are not allowed, at most :data:`NAMED`; then how many more there were."""
    truncated: tuple[str, ...] = ()
    """It is what is not whole, in words."""


NONE = RequestMetadata()


def take(headers: http.Headers, allowed: Collection[str]) -> RequestMetadata:
    """Take all headers of ours out of `headers`; returns what they say under the `allowed` names."""
    found = read(headers, allowed)
    if found is not NONE:
        headers.fields = tuple(one for one in headers.fields if not _is_ours(one[0]))
    return found


def read(headers: http.Headers, allowed: Collection[str]) -> RequestMetadata:
    """Read what headers of ours say under the `allowed` names."""
    found = [(name, value) for name, value in headers.fields if _is_ours(name)]
    if not found:
        return NONE
    values: dict[str, list[str]] = {}
    dropped: dict[str, None] = {}
    for raw, value in found:
        name = _shown(raw)
        if name.startswith(PREFIX) and name.removeprefix(PREFIX) in allowed:
            if text := _cleaned(value):
                values.setdefault(name.removeprefix(PREFIX), []).append(text)
        else:
            dropped[name.removeprefix(PREFIX)[:METADATA_KEY]] = None
    pairs = {name: ", ".join(texts) for name, texts in values.items()}
    return RequestMetadata(
        {name: text[:METADATA_VALUE] for name, text in pairs.items()},
        _told(list(dropped)),
        tuple(
            f"request_metadata.{name}: its first {METADATA_VALUE} of {len(text)} characters"
            for name, text in pairs.items()
            if len(text) > METADATA_VALUE
        ),
    )


def _is_ours(name: bytes) -> bool:
    # Some servers take `_` for `-`.
    return name[: len(NAMESPACE)].lower().replace(b"_", b"-") == NAMESPACE


def _shown(name: bytes) -> str:
    text = name.decode("latin-1")
    return REDACTED if CREDENTIAL.search(text) else header_name(text)


def _cleaned(value: bytes) -> str:
    """Make it one line of printable text, without anything that looks like a key."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = value.decode("latin-1")
    text = "".join(character if character.isprintable() else " " for character in text)
    return CREDENTIAL.sub(REDACTED, text.strip())


def _told(names: list[str]) -> tuple[str, ...]:
    more = len(names) - NAMED
    return tuple(names) if more <= 0 else (*names[:NAMED], f"and {more} more")
