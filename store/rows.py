"""Rows of the store as projects and tokens."""

from __future__ import annotations

import json
from datetime import datetime
from types import MappingProxyType

from store import limits
from store.engine import Row
from store.models import Project, Token
from store.project_keys import StoredKey


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


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
