"""Sum up the sessions of agents: table ``sessions``, a row for each session that a token's calls have named.

Names are what clients write, so there could be any number: those that were not used for KEEP_SECONDS go, and
of more than MOST those that were used the longest ago. A budget of theirs then begins anew.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import floor
from typing import Any

from store.core.errors import Conflict, NotFound
from store.core.times import rfc3339
from store.database.engine import Connection, Row
from store.ledger.messages import Finished
from store.tokens import naming
from store.tokens.subjects import LONGEST_NAME, session_id
from store.usage.rollups import usd_text

TABLE = "sessions"
KEY = ("project_id", "token_id", "name")
FIGURES = ("calls", "refused", "failed", "tokens", "nano_usd")
MOST = 100_000
KEEP_SECONDS = 31 * 86400
CHUNK = 500
SHORTEST_BEGINNING = 4
"""Characters of a name by which a session is found."""


def add(connection: Connection, calls: Iterable[Finished]) -> None:
    """Add calls to the sessions that they name, in the transaction that counts them."""
    sums: dict[tuple[str, str, str], list[int]] = {}
    times: dict[tuple[str, str, str], list[int]] = {}
    for call in calls:
        if not call.session or not call.token_id or call.line is None:
            continue
        key = (call.project_id, call.token_id, _printable(call.session))
        figures = call.line.figures
        more = (1, figures["refused"], figures["failed"], figures["total_tokens"], figures["nano_usd"])
        sums[key] = [a + b for a, b in zip(sums.get(key, [0] * 5), more, strict=True)]
        times.setdefault(key, []).append(floor(call.at))
    keys = sorted(sums)
    connection.add(TABLE, KEY, [dict(zip((*KEY, *FIGURES), (*key, *sums[key]), strict=True)) for key in keys])
    for key in keys:
        place = dict(zip(KEY, key, strict=True))
        connection.run(
            f"UPDATE {TABLE} SET last_at = CASE WHEN last_at < :last THEN :last ELSE last_at END, "  # noqa: S608
            "first_at = CASE WHEN first_at = 0 OR first_at > :first THEN :first ELSE first_at END "
            "WHERE project_id = :project_id AND token_id = :token_id AND name = :name",
            first=min(times[key]),
            last=max(times[key]),
            **place,
        )


def clean_up(connection: Connection, now: float) -> None:
    """Forget sessions that nobody goes on with."""
    before = floor(now) - KEEP_SECONDS
    newest = connection.rows(
        f"SELECT last_at FROM {TABLE} ORDER BY last_at DESC LIMIT 1 OFFSET {MOST:d}"  # noqa: S608
    )
    if newest:
        before = max(before, newest[0]["last_at"] + 1)
    rows = connection.rows(
        f"SELECT token_id, name FROM {TABLE} WHERE last_at < :before LIMIT {CHUNK:d}",  # noqa: S608
        before=before,
    )
    if not rows:
        return
    ids = [session_id(row["token_id"], row["name"]) for row in rows]
    for table in ("spend", "topups", "budget_marks"):
        connection.run(f"DELETE FROM {table} WHERE subject IN :ids", ids=ids)  # noqa: S608
    for row in rows:
        connection.run(
            f"DELETE FROM {TABLE} WHERE token_id = :token_id AND name = :name",  # noqa: S608
            **row,
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """Describes sessions that fit everything that is given."""

    project_id: str | None = None
    token_id: str | None = None
    name: str | None = None
    beginning: str | None = None
    """It is what their names begin with."""
    since: int | None = None
    """Used from then on."""
    until: int | None = None
    """Used last before then."""
    after: tuple[int, str, str] | None = None
    """Behind this one, by its last use, its token and its name."""
    projects: Sequence[str] | None = None
    """Ids of the only projects whose sessions may be told; None for all."""


EVERY = Wanted()


def newest(connection: Connection, wanted: Wanted = EVERY, limit: int = MOST) -> Iterator[Row]:
    """Give the sessions that were used last, with the names of their projects."""
    conditions, values = _conditions(wanted)
    yield from connection.each(
        f"SELECT {TABLE}.*, projects.name AS project_name, tokens.name AS token_name FROM {TABLE} "  # noqa: S608
        f"LEFT JOIN projects ON projects.id = {TABLE}.project_id LEFT JOIN tokens ON tokens.id = token_id "
        f"{'WHERE ' if conditions else ''}{' AND '.join(conditions)} "
        f"ORDER BY last_at DESC, token_id, {TABLE}.name LIMIT {limit:d}",
        **values,
    )


def _conditions(wanted: Wanted) -> tuple[list[str], dict[str, Any]]:
    given = {
        f"{TABLE}.project_id = :project_id": wanted.project_id,
        "token_id = :token_id": wanted.token_id,
        f"{TABLE}.name = :name": wanted.name,
        f"SUBSTR({TABLE}.name, 1, {len(wanted.beginning or ''):d}) = :beginning": wanted.beginning,
        "last_at >= :since": wanted.since,
        "last_at < :until": wanted.until,
        f"{TABLE}.project_id IN :projects": None if wanted.projects is None else list(wanted.projects),
    }
    conditions = [sql for sql, value in given.items() if value is not None]
    values = {sql.rpartition(":")[2]: value for sql, value in given.items() if value is not None}
    if wanted.after is not None:
        behind = f"(token_id > :last_token OR (token_id = :last_token AND {TABLE}.name > :last_name))"
        conditions.append(f"(last_at < :last_use OR (last_at = :last_use AND {behind}))")
        values |= dict(zip(("last_use", "last_token", "last_name"), wanted.after, strict=True))
    return conditions, values


def as_dict(row: Row) -> dict[str, Any]:
    """Give a session's sums for JSON output."""
    return {
        "id": f"{row['token_id']}/{row['name']}",
        "session": row["name"],
        "project": row["project_id"],
        "project_name": row["project_name"],
        "token": row["token_id"],
        "token_name": row["token_name"],
        **{name: rfc3339(datetime.fromtimestamp(row[name], UTC)) for name in ("first_at", "last_at")},
        **{name: row[name] for name in ("calls", "refused", "failed", "tokens")},
        "usd": usd_text(row["nano_usd"]),
    }


def find(connection: Connection, text: str, projects: Collection[str] | None = None) -> tuple[str, str]:
    """Find a session by ``TOKEN/NAME``, its name alone, or its beginning; return its token's id and its name.

    The id of a token stands for its calls that name no session. `projects`: only theirs are there, given by
    their ids. Raises NotFound, or Conflict where several sessions are meant.
    """
    token, divided, name = text.partition("/")
    token_id = naming.token_id(connection, token, projects) if divided else token
    if connection.rows("SELECT id FROM tokens WHERE id = :id", id=token_id):
        return token_id, name
    theirs = None if projects is None else sorted(projects)
    text = text[:LONGEST_NAME]
    found = list(newest(connection, Wanted(name=text, projects=theirs), 10))
    if not found and len(text) >= SHORTEST_BEGINNING:
        found = list(newest(connection, Wanted(beginning=text, projects=theirs), 10))
    if not found:
        raise NotFound(
            f"session {text[:60]!r}: there is none; `llmproxy sessions list` shows those there are."
        )
    if len(found) > 1:
        ids = ", ".join(f"{row['token_id']}/{row['name']}" for row in found)
        raise Conflict(f"session {text[:60]!r}: there are several; say which: {ids}.")
    return found[0]["token_id"], found[0]["name"]


def _printable(name: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in name)[:LONGEST_NAME]
