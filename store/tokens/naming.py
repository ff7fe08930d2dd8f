"""Read ids as people write them: a name, the beginning of a token's text, or the first characters of an id.

What nothing fits is left as it is: whoever uses it says so, and the attempt is in the audit log. What several
fit is refused, and the error names them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from store.core.errors import Invalid
from store.database.engine import Connection, Row

BEGINNING = re.compile(r"[0-9a-f][0-9a-f-]{3,35}", re.ASCII)
"""It is that of an id: four characters or more."""
NAMED = 5
"""Candidates that an error names."""
CHUNK = 500
"""Ids in one question."""
TOKENS = (
    "SELECT tokens.id AS id, tokens.name AS name, tokens.prefix AS prefix, projects.name AS project "
    "FROM tokens JOIN projects ON projects.id = project_id WHERE "
)


def project_id(connection: Connection, text: str) -> str:
    """Return the id of the project with this id or name, or the only one that begins so; else `text` itself.

    Raises Invalid where several begin so.
    """
    rows = connection.rows(
        "SELECT id FROM projects WHERE id = :key OR name = :key "
        "ORDER BY CASE WHEN id = :key THEN 0 ELSE 1 END",
        key=text,
    )
    if rows:
        return str(rows[0]["id"])
    return only_beginning(connection, "SELECT id, name FROM projects WHERE ", "id", "projects", text)


def token_id(connection: Connection, text: str, projects: Collection[str] | None = None) -> str:
    """Return the id of the token with this id, name or prefix, or the only one that begins so; else `text`.

    A name is that of a token that is not revoked. `projects`: ids of the only projects whose tokens there are
    for who asks. Raises Invalid where several are meant.
    """
    among = "" if projects is None else "project_id IN :projects AND "
    values = {} if projects is None else {"projects": [*projects]}
    for condition, what in (
        ("tokens.id = :key", ""),
        ("tokens.name = :key AND tokens.active = 1", "several projects have a token named"),
        ("tokens.prefix = :key", "several tokens begin with"),
    ):
        rows = connection.rows(
            f"{TOKENS}{among}{condition} ORDER BY tokens.id LIMIT {NAMED + 1:d}", key=text, **values
        )
        if len(rows) > 1:
            raise Invalid(f"{what} {text!r}; give its id: {candidates(rows)}.")
        if rows:
            return str(rows[0]["id"])
    return only_beginning(connection, TOKENS + among, "tokens.id", "tokens", text, **values)


def only_beginning(
    connection: Connection, query: str, column: str, what: str, text: str, **values: Any
) -> str:
    """Return the only id in `column` that begins with `text`, of the rows of `query`; else `text` itself.

    Raises Invalid, which names the candidates, where several do.
    """
    if not BEGINNING.fullmatch(text):  # no sign of one means anything to LIKE
        return text
    rows = connection.rows(
        f"{query}{column} LIKE :beginning ORDER BY {column} LIMIT {NAMED + 1:d}",
        beginning=f"{text}%",
        **values,
    )
    if len(rows) > 1:
        raise Invalid(f"the ids of several {what} begin with {text!r}; give more of it: {candidates(rows)}.")
    return str(rows[0]["id"]) if rows else text


def candidates(rows: Sequence[Row]) -> str:
    """Name the first of several rows by their ids, names and projects."""
    shown = [f"{row['id']}{_called(row)}" for row in rows[:NAMED]]
    return ", ".join([*shown, *(["and more"] if len(rows) > NAMED else [])])


def _called(row: Row) -> str:
    name, project = row.get("name") or row.get("prefix"), row.get("project")
    parts = [name, f"of {project}" if project else None]
    text = " ".join(str(part) for part in parts if part)
    return f" ({text})" if text else ""


def names(connection: Connection, rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return what people call the projects and tokens of `rows` (``project_id``, ``token_id``), by their ids.

    A token without a name is called by its prefix.
    """
    found: dict[str, str] = {}
    listed = list(rows)
    for column, query in (
        ("project_id", "SELECT id, name FROM projects WHERE id IN :ids"),
        ("token_id", "SELECT id, COALESCE(name, prefix) AS name FROM tokens WHERE id IN :ids"),
    ):
        ids = sorted({str(row[column]) for row in listed if row[column]})
        for start in range(0, len(ids), CHUNK):
            portion = connection.rows(query, ids=ids[start : start + CHUNK])
            found.update((row["id"], row["name"]) for row in portion)
    return found
