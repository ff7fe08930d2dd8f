"""A row for each management action and for refused authentications.

Revision ID: m007_audit
Revises: m009_objects
"""

from __future__ import annotations

from alembic import op

from store.server.columns import document, index, number, table, text

revision = "m007_audit"
down_revision = "m009_objects"


def upgrade() -> None:
    """The log, and its head."""
    table(
        "audit",
        *map(number, ("seq", "version", "at")),
        number("since", null=True),
        *map(text, ("action", "outcome")),
        *(text(name, null=True) for name in ("actor", "address", "project_id", "token_id")),
        *(document(name, null=True) for name in ("reason", "before", "after")),
        number("count"),
        *map(text, ("previous", "hash")),
        key=["seq"],
    )
    index("audit", ["token_id"])
    index("audit", ["project_id"])
    table("audit_head", number("id"), number("seq", null=True), text("hash", null=True), key=["id"])
    head = f"SELECT 1, 0, '{'0' * 64}' WHERE NOT EXISTS (SELECT 1 FROM audit_head)"  # noqa: S608 - zeros
    op.execute(f"INSERT INTO audit_head (id, seq, hash) {head}")
