"""Say in the audit log what somebody decided of a project or a token, and no piece of a secret."""

from __future__ import annotations

from typing import Any

from store.tokens.fields import as_json, fields_of
from store.tokens.models import Project, Token


def facts(of: Project | Token) -> dict[str, Any]:
    """Give its fields; those that say nothing are left out."""
    model: type = type(of)
    fields = fields_of(model)
    return {
        name: value
        for name, value in as_json(of).items()
        if fields[name].audited and value not in (None, {}, [])
    }
