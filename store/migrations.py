"""The schema of the token store, step by step. Steps are added at the end and never changed."""

from __future__ import annotations

from sqlite_utils import Database, Migrations
from sqlite_utils.db import Table

from store.views import VIEWS

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


@migrations()
def m006_limits(db: Database) -> None:
    """Limits of tokens and projects, and the ledger of what was used of them (:mod:`store.ledger`)."""
    for table in ("projects", "tokens"):
        _table(db, table).add_column("limits", str, not_null_default="{}")
    db.execute("DROP TRIGGER revision_token_updated")
    db.execute(
        "CREATE TRIGGER revision_token_updated "
        "AFTER UPDATE OF project_id, active, expires_at, max_requests, metadata, sha256, limits ON tokens "
        "BEGIN UPDATE revision SET number = number + 1; END"
    )
    numbers = ("requests", "tokens", "nano_usd")
    holds = _ledger_table(
        db,
        "holds",
        {"call_id": str, "token_id": str, "project_id": str, "process": str},
        ("taken_at", "hour", *numbers, "counted", "running", "expires_at", "settled_at"),
        pk=("call_id",),
    )
    for columns in (["token_id", "settled_at"], ["project_id", "settled_at"], ["process"], ["settled_at"]):
        holds.create_index(columns)
    spend = {"subject": str, "period": str}
    _ledger_table(
        db, "spend", spend, ("starts_at", *numbers, "assumed"), pk=("subject", "period", "starts_at")
    )
    rates = _ledger_table(db, "rates", {"subject": str}, ("second", *numbers[:2]), pk=("subject", "second"))
    rates.create_index(["second"])
    topups = {"id": str, "subject": str, "unit": str, "period": str}
    _ledger_table(db, "topups", topups, ("amount", "at"), pk=("id",)).create_index(["subject"])
    _ledger_table(db, "rolled", {"writer": str}, ("seq",), pk=("writer",))


def _ledger_table(
    db: Database, name: str, texts: dict[str, type[str]], numbers: tuple[str, ...], *, pk: tuple[str, ...]
) -> Table:
    columns: dict[str, type] = {**texts, **dict.fromkeys(numbers, int)}
    return _table(db, name).create(columns, pk=pk, not_null=set(columns), strict=True)


@migrations()
def m007_audit(db: Database) -> None:
    """A row for each management action and for refused authentications (:mod:`store.audit`)."""
    columns: dict[str, type] = {
        "seq": int,
        "version": int,
        "at": int,
        "since": int,
        "action": str,
        "outcome": str,
        "actor": str,
        "address": str,
        "project_id": str,
        "token_id": str,
        "reason": str,
        "before": str,
        "after": str,
        "count": int,
        "previous": str,
        "hash": str,
    }
    audit = _table(db, "audit")
    # No foreign keys: the log outlives what it is about.
    audit.create(
        columns,
        pk="seq",
        not_null={"version", "at", "action", "outcome", "count", "previous", "hash"},
        strict=True,
    )
    audit.create_index(["token_id"])
    audit.create_index(["project_id"])
    # The last row, kept apart: without it rows that are missing at the end would not be missed.
    _table(db, "audit_head").insert({"id": 1, "seq": 0, "hash": "0" * 64}, pk="id", strict=True)


@migrations()
def m008_attribution(db: Database) -> None:
    """Metadata of projects, and the names of metadata that clients may add by a header."""
    _table(db, "projects").add_column("metadata", str, not_null_default="{}")
    for table in ("projects", "tokens"):
        _table(db, table).add_column("header_metadata", str, not_null_default="[]")
    # Every change of a project counts already (m003).
    db.execute(
        "CREATE TRIGGER revision_token_header_metadata AFTER UPDATE OF header_metadata ON tokens "
        "BEGIN UPDATE revision SET number = number + 1; END"
    )


@migrations()
def m010_usage_hours(db: Database) -> None:
    """Hourly sums of calls (:mod:`store.rollups`)."""
    db.execute(
        """
        CREATE TABLE usage_hours (
            hour INTEGER NOT NULL,
            project_id TEXT NOT NULL,
            token_id TEXT NOT NULL,
            user_id TEXT NOT NULL,
            model TEXT NOT NULL,
            endpoint TEXT NOT NULL,
            calls INTEGER NOT NULL DEFAULT 0,
            refused INTEGER NOT NULL DEFAULT 0,
            failed INTEGER NOT NULL DEFAULT 0,
            unreported INTEGER NOT NULL DEFAULT 0,
            unpriced INTEGER NOT NULL DEFAULT 0,
            input_tokens INTEGER NOT NULL DEFAULT 0,
            cached_tokens INTEGER NOT NULL DEFAULT 0,
            output_tokens INTEGER NOT NULL DEFAULT 0,
            reasoning_tokens INTEGER NOT NULL DEFAULT 0,
            total_tokens INTEGER NOT NULL DEFAULT 0,
            milliseconds INTEGER NOT NULL DEFAULT 0,
            nano_usd INTEGER NOT NULL DEFAULT 0,
            PRIMARY KEY (hour, project_id, user_id, token_id, model, endpoint)
        ) STRICT, WITHOUT ROWID
        """
    )


@migrations()
def m009_objects(db: Database) -> None:
    """Whose the API's objects are, and whose usage is still to be counted (:mod:`store.objects`).

    Ids that differ in case only are different ones.
    """
    texts = ("kind", "project_id", "token_id", "parent", "status", "counted_by", "counted_writer")
    numbers = ("created_at", "expires_at", "deleted_at", "due", "counted_at")
    table = _table(db, "objects").create(
        {"id": str, **dict.fromkeys(texts, str), **dict.fromkeys(numbers, int)},
        pk="id",
        not_null={"id", "kind", "created_at", "due"},
        strict=True,
    )
    table.create_index(["expires_at"])
    table.create_index(["counted_by"])
    # Of millions of rows only those that are still to be counted are in it.
    db.execute("CREATE INDEX idx_objects_due ON objects (due, created_at) WHERE due = 1")


@migrations()
def m011_budget_marks(db: Database) -> None:
    """How far budgets were used: one event for each mark (:mod:`store.ledger.soft_limits`)."""
    texts = {"id": str, "subject": str, "name": str, "event": str}
    marks = _ledger_table(db, "budget_marks", texts, ("starts_at", "percent", "at", "told"), pk=("id",))
    marks.create_index(["subject"])
    marks.create_index(["told"])


@migrations()
def m012_views(db: Database) -> None:
    """What Datasette shows (:mod:`store.views`)."""
    for name, sql in VIEWS.items():
        db.create_view(name, sql)
