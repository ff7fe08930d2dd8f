"""What the audit log tells of a project or a token: all that somebody decided, and no piece of a secret."""

from __future__ import annotations

from typing import Any

from store.models import Project, Token

UNTOLD = {
    "id",
    "project_id",  # columns of their own
    "prefix",
    "previous_prefix",  # pieces of a secret
    "created_at",
    "updated_at",
    "request_count",
    "last_used_at",
    "last_used_from",  # nobody's decision
}


def facts(of: Project | Token) -> dict[str, Any]:
    """Its fields; those that say nothing are left out."""
    return {
        name: value
        for name, value in of.as_dict().items()
        if name not in UNTOLD and value not in (None, {}, [])
    }
