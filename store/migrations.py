"""The schema of the token store, step by step. Steps are added at the end and never changed."""

from __future__ import annotations

from sqlite_utils import Database, Migrations
from sqlite_utils.db import Table

migrations = Migrations("llmproxy")


def _table(db: Database, name: str) -> Table:
    table = db[name]
    assert isinstance(table, Table)
    return table


@migrations()
def m001_projects_and_tokens(db: Database) -> None:
    _table(db, "projects").create(
        {
            "id": str,
            "name": str,
            "api_key": str,
            "active": int,
            "created_at": str,
            "updated_at": str,
        },
        pk="id",
        not_null={"name", "api_key", "active", "created_at", "updated_at"},
        strict=True,
    )
    _table(db, "projects").create_index(["name"], unique=True)
    _table(db, "tokens").create(
        {
            "id": str,
            "sha256": str,
            "prefix": str,
            "project_id": str,
            "active": int,
            "created_at": str,
            "expires_at": str,
            "max_requests": int,
            "request_count": int,
            "last_used_at": str,
        },
        pk="id",
        not_null={"sha256", "prefix", "project_id", "active", "created_at", "request_count"},
        defaults={"request_count": 0},
        foreign_keys=[("project_id", "projects", "id")],
        strict=True,
    )
    _table(db, "tokens").create_index(["sha256"], unique=True)
    _table(db, "tokens").create_index(["project_id"])


@migrations()
def m002_token_metadata(db: Database) -> None:
    _table(db, "tokens").add_column("metadata", str, not_null_default="{}")


@migrations()
def m003_revision(db: Database) -> None:
    """A number that grows with every change of policy, but not with the counting of calls.

    Proxies watch it to know when what they hold in memory is out of date.
    """
    _table(db, "revision").insert({"id": 1, "number": 1}, pk="id", strict=True)
    bump = "BEGIN UPDATE revision SET number = number + 1; END"
    policy = "project_id, active, expires_at, max_requests, metadata, sha256"
    for trigger, event in (
        ("token_inserted", "INSERT ON tokens"),
        ("token_deleted", "DELETE ON tokens"),
        ("token_updated", f"UPDATE OF {policy} ON tokens"),
        ("project_inserted", "INSERT ON projects"),
        ("project_deleted", "DELETE ON projects"),
        ("project_updated", "UPDATE ON projects"),
    ):
        db.execute(f"CREATE TRIGGER revision_{trigger} AFTER {event} {bump}")


@migrations()
def m004_key_schemes(db: Database) -> None:
    """Keys say how they are kept: ``plain:``, ``aesgcm:v1:``, ``env:`` ... (:mod:`store.project_keys`)."""
    db.execute("UPDATE projects SET api_key = 'plain:' || api_key")


@migrations()
def m005_token_rotation(db: Database) -> None:
    """The text that a token had before it was rotated, and where it was used from last."""
    tokens = _table(db, "tokens")
    for column in ("previous_sha256", "previous_prefix", "previous_ends_at", "last_used_from"):
        tokens.add_column(column, str)
    tokens.create_index(["previous_sha256"], unique=True)
