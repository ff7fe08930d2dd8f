"""Rows of the store as projects and tokens."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from uuid_utils import uuid7

from store import limits, validation
from store.engine import Row
from store.models import Project, Token, TokenOrder, rfc3339
from store.project_keys import StoredKey
from store.token_text import fingerprint, shown


def project_of(row: Row) -> Project:
    return Project(
        id=row["id"],
        name=row["name"],
        key=StoredKey(row["api_key"]),
        active=bool(row["active"]),
        created_at=datetime.fromisoformat(row["created_at"]),
        updated_at=datetime.fromisoformat(row["updated_at"]),
        limits=limits.from_json(row["limits"]),
        metadata=MappingProxyType(json.loads(row["metadata"])),
        header_metadata=tuple(json.loads(row["header_metadata"])),
    )


def token_of(row: Row) -> Token:
    return Token(
        id=row["id"],
        prefix=row["prefix"],
        project_id=row["project_id"],
        active=bool(row["active"]),
        created_at=datetime.fromisoformat(row["created_at"]),
        expires_at=_moment(row["expires_at"]),
        max_requests=row["max_requests"],
        request_count=row["request_count"],
        last_used_at=_moment(row["last_used_at"]),
        metadata=MappingProxyType(json.loads(row["metadata"])),
        last_used_from=row["last_used_from"],
        previous_prefix=row["previous_prefix"],
        previous_ends_at=_moment(row["previous_ends_at"]),
        limits=limits.from_json(row["limits"]),
        header_metadata=tuple(json.loads(row["header_metadata"])),
    )


def token_row(order: TokenOrder, project_id: str, text: str, prefix: str) -> dict[str, Any]:
    """Of a new token."""
    expiry = validation.expires_at(order.expires_at)
    return {
        "id": str(uuid7()),
        "sha256": fingerprint(text),
        "prefix": shown(text, prefix),
        "project_id": project_id,
        "active": 1,
        "created_at": rfc3339(datetime.now(UTC)),
        "expires_at": expiry and rfc3339(expiry),
        "max_requests": validation.max_requests(order.max_requests),
        "request_count": 0,
        "last_used_at": None,
        "metadata": validation.metadata(order.metadata),
        "last_used_from": None,
        "previous_sha256": None,
        "previous_prefix": None,
        "previous_ends_at": None,
        "limits": validation.token_limits(order.limits).as_json(),
        "header_metadata": validation.header_metadata(order.header_metadata),
    }


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
