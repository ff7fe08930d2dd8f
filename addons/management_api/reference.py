"""Write as the reference system does what we write otherwise (docs/migrating.md).

Its requests are taken as they are. Its answers, where ours have another form, come with option
``llm_management_dialect=reference``; our own have its fields beside ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from addons.management_api.errors import ApiError
from addons.management_api.fields import Fields, invalid
from store.audit.record import Record, moment
from store.tokens.models import Project, Token

LONGEST_MINUTES = 365 * 24 * 60
MASK = "********"


def lifetime(fields: Fields) -> dict[str, Any]:
    """Read ``duration_minutes``: the expiry that it stands for."""
    minutes = fields.whole("duration_minutes")
    if minutes is None:
        return {}
    if "expires_at" in fields:
        raise invalid("duration_minutes", "give it or expires_at, not both")
    if minutes > LONGEST_MINUTES:
        raise invalid("duration_minutes", f"exceeds maximum allowed ({LONGEST_MINUTES}, a year)")
    if minutes <= 0:
        raise invalid("duration_minutes", f"use 1 to {LONGEST_MINUTES}")
    return {"expires_at": datetime.now(UTC) + timedelta(minutes=minutes)}


def shown(found: Project | Token) -> dict[str, Any]:
    """Show a project or a token with all fields that the reference system's have."""
    masked = {"api_key": MASK} if isinstance(found, Project) else {"token": f"{found.prefix}{MASK}"}
    return {**found.as_dict(), **masked}


def revoked_counts(revoked: int, total: int) -> dict[str, int]:
    """Count what revoking all tokens of a project did."""
    return {
        "revoked_count": revoked,
        "already_revoked_count": total - revoked,
        "total_tokens": total,
    }


def audit_event(record: Record, request: Mapping[str, Any] | None) -> dict[str, Any]:
    """Show a row of the audit log as the reference system does; what it has not is left out."""
    details = {
        "before": record.as_dict()["before"],
        "after": record.as_dict()["after"],
        "count": record.count,
    }
    event = {
        "id": str(record.seq),
        "timestamp": moment(record.at),
        "action": record.action,
        "actor": record.actor or "anonymous",
        "project_id": record.project_id,
        "request_id": None,
        "correlation_id": None,
        "client_ip": record.address,
        "method": None,
        "path": None,
        "user_agent": None,
        "outcome": record.outcome,
        "reason": record.reason,
        "token_id": record.token_id,
        "metadata": {name: value for name, value in details.items() if value is not None},
    } | dict(request or {})
    return {name: value for name, value in event.items() if value is not None}


def error(raised: ApiError) -> dict[str, Any]:
    """Show an error as the reference system does: as a text."""
    return {"error": raised.message, "code": raised.code}
