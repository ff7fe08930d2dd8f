"""Read what tokens grant, by the fingerprints of their texts."""

from __future__ import annotations

from collections.abc import Sequence

from store.engine import Connection
from store.models import Grant, Project
from store.rows import project_of, token_of


def revision(connection: Connection) -> int:
    """Another number after each change of what tokens grant (m003)."""
    number: int = connection.rows("SELECT number FROM revision")[0]["number"]
    return number


def load(connection: Connection, keys: Sequence[str], projects: dict[str, Project]) -> dict[str, Grant]:
    """The grants of those that are tokens' fingerprints. `projects` are known already, and added to."""
    if not keys:
        return {}
    found = {
        row["sha256"]: (token_of(row), True)
        for row in connection.rows("SELECT * FROM tokens WHERE sha256 IN :keys", keys=keys)
    }
    if rest := [key for key in keys if key not in found]:
        rows = connection.rows("SELECT * FROM tokens WHERE previous_sha256 IN :keys", keys=rest)
        found |= {row["previous_sha256"]: (token_of(row), False) for row in rows}
    if owners := list({token.project_id for token, _ in found.values()} - projects.keys()):
        rows = connection.rows("SELECT * FROM projects WHERE id IN :ids", ids=owners)
        projects.update({row["id"]: project_of(row) for row in rows})
    return {
        key: Grant(projects[token.project_id], token, None if current else token.previous_ends_at)
        for key, (token, current) in found.items()
        if token.project_id in projects
    }
