"""Projects, tokens and the ledger: the first schema that there was on servers.

Revision ID: m006_limits
Revises:
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from store.server.columns import document, index, is_mysql, number, revision_trigger, table, text

revision = "m006_limits"
down_revision = None

NUMBERS = ("requests", "tokens", "nano_usd")


def upgrade() -> None:
    """Make what store/migrations.py has made up to there."""
    table("revision", number("id"), number("number", null=True), key=["id"])
    op.execute("INSERT INTO revision (id, number) SELECT 1, 1 WHERE NOT EXISTS (SELECT 1 FROM revision)")
    if is_mysql():
        table("store_locks", text("name"), key=["name"])
    else:
        op.execute(
            "CREATE OR REPLACE FUNCTION raise_revision() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN UPDATE revision SET number = number + 1; RETURN NULL; END $$"
        )
    _projects_and_tokens()
    _ledger()


def _projects_and_tokens() -> None:
    table(
        "projects",
        text("id"),
        text("name"),
        document("api_key"),
        number("active"),
        text("created_at"),
        text("updated_at"),
        document("limits", default="{}"),
        key=["id"],
    )
    index("projects", ["name"], unique=True)
    table(
        "tokens",
        text("id"),
        text("sha256"),
        text("prefix"),
        text("project_id"),
        number("active"),
        text("created_at"),
        text("expires_at", null=True),
        number("max_requests", null=True),
        number("request_count", default=0),
        text("last_used_at", null=True),
        document("metadata", default="{}"),
        text("previous_sha256", null=True),
        text("previous_prefix", null=True),
        text("previous_ends_at", null=True),
        text("last_used_from", null=True),
        document("limits", default="{}"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"]),
        key=["id"],
    )
    index("tokens", ["sha256"], unique=True)
    index("tokens", ["project_id"])
    index("tokens", ["previous_sha256"], unique=True)
    revision_trigger("projects")
    revision_trigger(
        "tokens",
        [
            "project_id",
            "active",
            "expires_at",
            "max_requests",
            "metadata",
            "sha256",
            "limits",
        ],
    )


def _ledger() -> None:
    table(
        "holds",
        *map(text, ("call_id", "token_id", "project_id", "process")),
        *map(number, ("taken_at", "hour", *NUMBERS, "counted", "running", "expires_at", "settled_at")),
        key=["call_id"],
    )
    for columns in (["token_id", "settled_at"], ["project_id", "settled_at"], ["process"], ["settled_at"]):
        index("holds", columns)
    table(
        "spend",
        *map(text, ("subject", "period")),
        *map(number, ("starts_at", *NUMBERS, "assumed")),
        key=["subject", "period", "starts_at"],
    )
    table("rates", text("subject"), *map(number, ("second", *NUMBERS[:2])), key=["subject", "second"])
    index("rates", ["second"])
    table(
        "topups",
        *map(text, ("id", "subject", "unit", "period")),
        *map(number, ("amount", "at")),
        key=["id"],
    )
    index("topups", ["subject"])
    table("rolled", text("writer"), number("seq"), key=["writer"])
