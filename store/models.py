"""Projects, tokens and what a token grants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from store.limits import NONE, Limits
from store.project_keys import StoredKey


def rfc3339(moment: datetime) -> str:
    """UTC with milliseconds and ``Z`` (RFC 3339), which sorts as text."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _shown(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)


@dataclass(frozen=True, slots=True)
class Project:
    """Who pays: the holder of a real key."""

    id: str
    name: str
    key: StoredKey
    """As the store has it: encrypted, or a reference (see :class:`~store.key_cache.KeyCache`)."""
    active: bool
    created_at: datetime
    updated_at: datetime
    limits: Limits = NONE
    """For all its tokens together."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Of all its tokens' calls, where the token itself has no such key. Read-only."""
    header_metadata: Sequence[str] = ()
    """Names of metadata that clients of all its tokens may add by a header."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON output; the key is left out."""
        return {
            "id": self.id,
            "name": self.name,
            "active": self.active,
            "key": self.key.kind,
            "created_at": rfc3339(self.created_at),
            "updated_at": rfc3339(self.updated_at),
            "limits": self.limits.as_dict(),
            "metadata": dict(self.metadata),
            "header_metadata": list(self.header_metadata),
        }


@dataclass(frozen=True, slots=True)
class Token:
    """One proxy token. Its text is not here: the store keeps only the text's SHA-256."""

    id: str
    prefix: str
    """The first characters of the text, to tell tokens apart."""
    project_id: str
    active: bool
    created_at: datetime
    expires_at: datetime | None
    max_requests: int | None
    """Calls that the token may make in all; None for any number."""
    request_count: int
    last_used_at: datetime | None
    metadata: Mapping[str, str]
    """Read-only."""
    last_used_from: str | None = None
    """Address of the client that used it last."""
    previous_prefix: str | None = None
    """Of the text that the token had before it was rotated."""
    previous_ends_at: datetime | None = None
    """Until when that one is good, too."""
    limits: Limits = NONE
    header_metadata: Sequence[str] = ()
    """Names of metadata that its clients may add by a header."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON output."""
        return {
            "id": self.id,
            "prefix": self.prefix,
            "project_id": self.project_id,
            "active": self.active,
            "created_at": rfc3339(self.created_at),
            "expires_at": _shown(self.expires_at),
            "max_requests": self.max_requests,
            "request_count": self.request_count,
            "last_used_at": _shown(self.last_used_at),
            "metadata": dict(self.metadata),
            "last_used_from": self.last_used_from,
            "previous_prefix": self.previous_prefix,
            "previous_ends_at": _shown(self.previous_ends_at),
            "limits": self.limits.as_dict(),
            "header_metadata": list(self.header_metadata),
        }


@dataclass(frozen=True, slots=True)
class Grant:
    """What a known token stands for."""

    project: Project
    token: Token
    secret_ends_at: datetime | None = None
    """When the text that was presented ends: the token was rotated, and this is its previous one."""

    @property
    def limits(self) -> tuple[Limits, Limits]:
        """The token's and its project's; the stricter holds."""
        return self.token.limits, self.project.limits

    @property
    def needs_claim(self) -> bool:
        """Whether its calls have to ask the ledger before they may pass."""
        return self.token.max_requests is not None or any(each.need_claims for each in self.limits)

    @property
    def metadata(self) -> dict[str, str]:
        """The project's pairs, and over them the token's own."""
        return {**self.project.metadata, **self.token.metadata}

    @property
    def header_metadata(self) -> frozenset[str]:
        """Names of metadata that its clients may add by a header."""
        return frozenset((*self.project.header_metadata, *self.token.header_metadata))


@dataclass(frozen=True, slots=True)
class TokenOrder:
    """A token to make; see :meth:`store.tokens.TokenStore.create_tokens`."""

    project: str
    """Id or name."""
    expires_at: datetime | None = None
    max_requests: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = NONE
    header_metadata: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Selection:
    """Tokens that fit everything that is given."""

    project: str | None = None
    """Id or name."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Pairs that they have, among others."""
    created_before: datetime | None = None
    unused_since: datetime | None = None
    """Neither made nor used since."""

    def __str__(self) -> str:
        """``project=search, metadata.team=a``: what was given."""
        given: dict[str, Any] = {
            "project": self.project,
            **{f"metadata.{key}": text for key, text in self.metadata.items()},
            "created_before": _shown(self.created_before),
            "unused_since": _shown(self.unused_since),
        }
        return ", ".join(f"{name}={value}" for name, value in given.items() if value is not None)
