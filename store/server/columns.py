"""What the steps of the schema are written with. Each can be run again after it was cut off half-way.

(MySQL can't undo changes of its schema, so a step that failed has been done in part.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

LONGEST = 255


def text(name: str, *, length: int = LONGEST, null: bool = False) -> sa.Column[str]:
    """Compared byte by byte, as SQLite does."""
    kind = sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")
    return sa.Column(name, kind, nullable=null)


def document(name: str, *, default: str | None = None, null: bool = False) -> sa.Column[str]:
    """Text of any length, such as JSON; no key."""
    kind = sa.Text().with_variant(sa.Text(length=2**24 - 1), "mysql", "mariadb")
    written = None if default is None else sa.text(f"('{default}')")
    return sa.Column(name, kind, nullable=null, server_default=written)


def number(name: str, *, default: int | None = None, null: bool = False) -> sa.Column[int]:
    """A whole one, of 64 bits."""
    written = None if default is None else sa.text(str(default))
    return sa.Column(name, sa.BigInteger(), nullable=null, server_default=written, autoincrement=False)


def table(name: str, *parts: sa.Column[Any] | sa.Constraint, key: Sequence[str]) -> None:
    """Make a table."""
    mariadb = getattr(op.get_bind().dialect, "is_mariadb", False)
    op.create_table(
        name,
        *parts,
        sa.PrimaryKeyConstraint(*key),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        # Without padding: "a" is not "a ".
        mysql_collate="utf8mb4_nopad_bin" if mariadb else "utf8mb4_0900_bin",
        if_not_exists=True,
    )


def column(table_name: str, new: sa.Column[Any]) -> None:
    """Add a column to a table."""
    if new.name not in {found["name"] for found in sa.inspect(op.get_bind()).get_columns(table_name)}:
        op.add_column(table_name, new)


def index(table_name: str, columns: Sequence[str], *, unique: bool = False, where: str | None = None) -> None:
    """Add an index, named as sqlite-utils does. On PostgreSQL `where` leaves out the rows that do not fit."""
    name = f"idx_{table_name}_{'_'.join(columns)}"
    if name not in {found["name"] for found in sa.inspect(op.get_bind()).get_indexes(table_name)}:
        only = None if where is None else sa.text(where)
        op.create_index(name, table_name, list(columns), unique=unique, postgresql_where=only)


def is_mysql() -> bool:
    """Or MariaDB."""
    return op.get_bind().dialect.name in ("mysql", "mariadb")


def revision_trigger(table_name: str, columns: Sequence[str] = ()) -> None:
    """Raise the revision with every row of the table that is made, removed, or changed in these columns.

    No columns: in any. A trigger that is there already is made anew.
    """
    for event in ("INSERT", "DELETE", "UPDATE"):
        name = f"revision_{table_name}_{event.lower()}"
        changed = columns if event == "UPDATE" else ()
        if is_mysql():
            same = " AND ".join(f"OLD.{one} <=> NEW.{one}" for one in changed)
            bump = "UPDATE revision SET number = number + 1"
            body = f"IF NOT ({same}) THEN {bump}; END IF" if changed else bump
            op.execute(f"DROP TRIGGER IF EXISTS {name}")
            op.execute(f"CREATE TRIGGER {name} AFTER {event} ON {table_name} FOR EACH ROW {body}")
        else:
            of = f" OF {', '.join(changed)}" if changed else ""
            op.execute(f"DROP TRIGGER IF EXISTS {name} ON {table_name}")
            op.execute(
                f"CREATE TRIGGER {name} AFTER {event}{of} ON {table_name} "
                "FOR EACH ROW EXECUTE FUNCTION raise_revision()"
            )
