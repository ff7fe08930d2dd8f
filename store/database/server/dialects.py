"""Hide what differs between the servers."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from sqlalchemy import URL, Connection, text

from store.database.server.watchdog import Watchdog

CONNECT_SECONDS = 5
"""Longest that a connection takes to be made; less for who waits less."""
LEAST_CONNECT_SECONDS = 2
SCHEMA_SECONDS = 60
"""Longest that one process waits for another that is changing the schema."""


class Dialect(Protocol):
    """Describes a kind of server."""

    driver: str
    extra: str
    """It is that of pyproject.toml."""
    exists_already: frozenset[Any]
    """Codes of errors: the key is there."""
    try_again: frozenset[Any]
    """Codes of errors that pass, although the connection stands."""
    remedies: Mapping[Any, str]
    """It is what to do about errors when the schema is made."""
    begin: str
    """A statement."""
    snapshot: Sequence[str]
    """Statements that begin a transaction for :meth:`store.database.engine.Connection.snapshot`."""

    def connect_arguments(self, url: URL, busy_seconds: float) -> dict[str, Any]: ...

    def code(self, error: BaseException | None) -> Any:
        """Give the code of the driver's error."""
        ...

    def made(self, driver: Any) -> None:
        """Set up a new connection of the driver's."""
        ...

    def limited(self, driver: Any, seconds: float) -> AbstractContextManager[None]:
        """Give a block in which the driver's connection fails where the server does not answer in time."""
        ...

    def upsert(self, table: str, key: Sequence[str], amounts: Sequence[str]) -> str: ...

    def skip(self, names: Sequence[str]) -> str:
        """Write the end of an INSERT into these columns that leaves rows as they are whose key is there."""
        ...

    def lock(self, connection: Connection, name: str) -> None: ...

    def lock_schema(self, connection: Connection) -> bool:
        """Lock the schema beyond transactions, until the connection is closed."""
        ...

    def wipe(self, table: str) -> str: ...


class PostgreSQL:
    """Speaks to PostgreSQL by psycopg."""

    driver = "postgresql+psycopg"
    extra = "postgresql"
    exists_already = frozenset({"23505"})
    # Deadlock, serialisation, lock and statement timeouts; read-only, as a standby is in a failover.
    try_again = frozenset({"40P01", "40001", "55P03", "57014", "25006"})
    remedies: Mapping[Any, str] = {
        "3D000": "make it with `createdb`",
        "42501": "let the account own the database",
    }
    begin = "BEGIN ISOLATION LEVEL READ COMMITTED"
    snapshot: Sequence[str] = ("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",)

    def __init__(self) -> None:
        self._watchdog = Watchdog()

    def connect_arguments(self, url: URL, busy_seconds: float) -> dict[str, Any]:
        given = url.query.get("options", "")
        mine = f"-c lock_timeout={math.ceil(busy_seconds * 1000)}"
        return {
            "connect_timeout": url.query.get("connect_timeout", connect_seconds(busy_seconds)),
            "application_name": url.query.get("application_name", "llmproxy"),
            "options": f"{given} {mine}".strip(),
            # None: statements may come through a pooler that does not keep what was prepared.
            "prepare_threshold": None,
        }

    def code(self, error: BaseException | None) -> Any:
        return getattr(error, "sqlstate", None)

    def made(self, driver: Any) -> None:
        pass

    def limited(self, driver: Any, seconds: float) -> AbstractContextManager[None]:
        return nullcontext() if driver.closed else self._watchdog.limit(driver.fileno(), seconds)

    def upsert(self, table: str, key: Sequence[str], amounts: Sequence[str]) -> str:
        sums = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in amounts)
        return f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {sums}"

    def skip(self, names: Sequence[str]) -> str:  # noqa: ARG002
        return "ON CONFLICT DO NOTHING"

    def lock(self, connection: Connection, name: str) -> None:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _number(name)})

    def lock_schema(self, connection: Connection) -> bool:
        # Not subject to lock_timeout for longer than a start may take.
        connection.execute(text(f"SET lock_timeout = {SCHEMA_SECONDS * 1000}"))
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _number("llmproxy schema")})
        return True

    def wipe(self, table: str) -> str:
        return f"VACUUM FULL {table}"


class MySQL:
    """Speaks to MySQL and MariaDB by PyMySQL."""

    driver = "mysql+pymysql"
    extra = "mysql"
    exists_already = frozenset({1062})
    # Lock timeouts, deadlock, killed statements; read-only, as a replica is.
    try_again = frozenset({1205, 1213, 1317, 3024, 1969, 1290, 1836})
    remedies: Mapping[Any, str] = {
        1049: "make it with CREATE DATABASE",
        1419: "set log_bin_trust_function_creators=1, or let an administrator open the store once",
    }
    begin = "START TRANSACTION"
    snapshot: Sequence[str] = (
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
    )

    def connect_arguments(self, url: URL, busy_seconds: float) -> dict[str, Any]:
        wait = max(1, math.ceil(busy_seconds))
        return {
            "connect_timeout": int(str(url.query.get("connect_timeout", connect_seconds(busy_seconds)))),
            "read_timeout": wait + 0.5,
            "write_timeout": wait + 0.5,
            "charset": "utf8mb4",
            "init_command": f"SET SESSION innodb_lock_wait_timeout = {wait}, "
            "sql_mode = 'STRICT_ALL_TABLES,NO_BACKSLASH_ESCAPES,ANSI_QUOTES'",
        }

    def code(self, error: BaseException | None) -> Any:
        return error.args[0] if error is not None and error.args else None

    def made(self, driver: Any) -> None:
        with driver.cursor() as cursor:
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")

    def limited(self, driver: Any, seconds: float) -> AbstractContextManager[None]:  # noqa: ARG002
        return nullcontext()  # PyMySQL's own timeouts do

    def upsert(self, table: str, key: Sequence[str], amounts: Sequence[str]) -> str:  # noqa: ARG002
        return "ON DUPLICATE KEY UPDATE " + ", ".join(f"{name} = {name} + VALUES({name})" for name in amounts)

    def skip(self, names: Sequence[str]) -> str:
        return f"ON DUPLICATE KEY UPDATE {names[0]} = {names[0]}"

    def lock(self, connection: Connection, name: str) -> None:
        # The row's lock, which the transaction holds. (GET_LOCK would not be seen by InnoDB's search for
        # deadlocks, and INSERT IGNORE takes a shared lock, of which two deadlock.)
        connection.execute(
            text("INSERT INTO store_locks (name) VALUES (:name) ON DUPLICATE KEY UPDATE name = name"),
            {"name": name},
        )

    def lock_schema(self, connection: Connection) -> bool:
        name = text("SELECT GET_LOCK(concat('llmproxy ', left(sha2(database(), 256), 32)), :seconds)")
        return bool(connection.execute(name, {"seconds": SCHEMA_SECONDS}).scalar() == 1)

    def wipe(self, table: str) -> str:
        return f"OPTIMIZE TABLE {table}"


DIALECTS: dict[str, type[Dialect]] = {"postgresql": PostgreSQL, "mysql": MySQL}


def connect_seconds(busy_seconds: float) -> int:
    """Limit for making a connection, for somebody who waits so long for an answer."""
    return max(LEAST_CONNECT_SECONDS, min(CONNECT_SECONDS, math.ceil(busy_seconds)))


def _number(name: str) -> int:
    """Give a 64-bit number for a name; other programs in the same database are unlikely to have it."""
    return int.from_bytes(hashlib.sha256(f"llmproxy {name}".encode()).digest()[:8], "big", signed=True)
