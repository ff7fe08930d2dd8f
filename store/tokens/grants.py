"""Read what tokens grant, by the fingerprints of their texts."""

from __future__ import annotations

from collections.abc import Sequence

from store.core.errors import DamagedRow
from store.database.engine import Connection
from store.tokens.models import Grant, Project, Token
from store.tokens.rows import project_of, token_of


def revision(connection: Connection) -> int:
    """Give another number after each change of what tokens grant: triggers raise it."""
    number: int = connection.rows("SELECT number FROM revision")[0]["number"]
    return number


def load(
    connection: Connection, keys: Sequence[str], projects: dict[str, Project]
) -> tuple[dict[str, Grant], dict[str, DamagedRow]]:
    """Read what the tokens with the fingerprints `keys` grant, and which of them cannot be read.

    `projects` are known already, and added to.
    """
    found: dict[str, tuple[Token, bool]] = {}
    damaged: dict[str, DamagedRow] = {}
    for column, current in (("sha256", True), ("previous_sha256", False)):
        rest = [key for key in keys if key not in found and key not in damaged]
        query = f"SELECT * FROM tokens WHERE {column} IN :keys"  # noqa: S608 - one of two names
        for row in connection.rows(query, keys=rest) if rest else ():
            try:
                found[row[column]] = token_of(row), current
            except DamagedRow as error:
                damaged[row[column]] = error
    broken: dict[str, DamagedRow] = {}
    if owners := list({token.project_id for token, _ in found.values()} - projects.keys()):
        for row in connection.rows("SELECT * FROM projects WHERE id IN :ids", ids=owners):
            try:
                projects[row["id"]] = project_of(row)
            except DamagedRow as error:
                broken[row["id"]] = error
    damaged |= {
        key: broken[token.project_id] for key, (token, _) in found.items() if token.project_id in broken
    }
    granted = {
        key: Grant(projects[token.project_id], token, None if current else token.previous_ends_at)
        for key, (token, current) in found.items()
        if token.project_id in projects
    }
    return granted, damaged
