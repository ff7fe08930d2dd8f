"""How far budgets were used.

Revision ID: m011_budget_marks
Revises: m007_audit
"""

from __future__ import annotations

from store.server.columns import document, index, number, table, text

revision = "m011_budget_marks"
down_revision = "m007_audit"


def upgrade() -> None:
    """A table, whose events are JSON."""
    table(
        "budget_marks",
        *map(text, ("id", "subject", "name")),
        document("event"),
        *map(number, ("starts_at", "percent", "at", "told")),
        key=["id"],
    )
    index("budget_marks", ["subject"])
    index("budget_marks", ["told"])
