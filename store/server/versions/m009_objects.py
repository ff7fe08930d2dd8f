"""Whose the API's objects are.

Revision ID: m009_objects
Revises: m010_usage_hours
"""

from __future__ import annotations

from store.server.columns import index, number, table, text

revision = "m009_objects"
down_revision = "m010_usage_hours"


def upgrade() -> None:
    """A table, and an index of what is still to be counted (in which MySQL has all rows)."""
    texts = ("project_id", "token_id", "parent", "status", "counted_by", "counted_writer")
    numbers = ("expires_at", "deleted_at", "counted_at")
    table(
        "objects",
        text("id"),
        text("kind"),
        *(text(name, null=True) for name in texts),
        number("created_at"),
        number("due"),
        *(number(name, null=True) for name in numbers),
        key=["id"],
    )
    index("objects", ["expires_at"])
    index("objects", ["counted_by"])
    index("objects", ["due", "created_at"], where="due = 1")
