"""Databases for tests: one on each server for a whole run, emptied between tests."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import pytest
import sqlalchemy
from uuid_utils import uuid7

from store.database.engine import Connection, Row
from store.database.engines import engine_of
from store.database.location import StoreLocation
from store.tokens.lookup import Lookup
from store.tokens.models import Grant
from store.tokens.server_lookup import FRESH_SECONDS

SERVERS = {
    "postgresql": os.environ.get("LLMPROXY_TEST_POSTGRESQL", "postgresql://postgres@127.0.0.1:5432/postgres"),
    "mysql": os.environ.get("LLMPROXY_TEST_MYSQL", "mysql://root@127.0.0.1:3306/mysql"),
}
DRIVERS = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql"}
ENGINES = ("sqlite", *SERVERS)
KEPT = {"alembic_version", "revision", "store_locks", "audit_head"}


def found(lookup: Lookup, text: str) -> Grant | None:
    """What a look-up says in the end."""
    said = lookup.find(text)
    return said.result(20) if isinstance(said, Future) else said


def let_it_hold(place: StoreLocation) -> None:
    """As long as a change takes at most until it holds for every look-up."""
    if place.path is None:
        time.sleep(FRESH_SECONDS)


def unless_ci(reason: str) -> None:
    if os.environ.get("LLMPROXY_CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@dataclass
class Server:
    """One that is there, and a connection with all rights."""

    kind: str
    url: str

    @contextlib.contextmanager
    def connection(self, database: str | None = None) -> Iterator[sqlalchemy.Connection]:
        parts = urlsplit(self.url)
        scheme = DRIVERS[self.kind]
        path = parts.path if database is None else f"/{database}"
        engine = sqlalchemy.create_engine(
            urlunsplit(parts._replace(scheme=scheme, path=path)),
            poolclass=sqlalchemy.NullPool,
            isolation_level="AUTOCOMMIT",
        )
        with engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a new and empty one, which is dropped at the end."""
        name = f"llmproxy_{uuid7().hex}"
        with self.connection() as connection:
            connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
        try:
            yield urlunsplit(urlsplit(self.url)._replace(scheme=self.kind, path=f"/{name}"))
        finally:
            with self.connection() as connection:
                force = " WITH (FORCE)" if self.kind == "postgresql" else ""
                connection.execute(sqlalchemy.text(f"DROP DATABASE {name}{force}"))


def server(kind: str) -> Server:
    """The server of that kind. Without one: skip the test, or fail it where everything has to be tested."""
    found = Server(kind, SERVERS[kind])
    try:
        with found.connection():
            return found
    except sqlalchemy.exc.OperationalError as error:
        unless_ci(f"no {kind} server at {StoreLocation.of(found.url)}: {error.orig}")
        raise


class Databases:
    """A prepared database on each server that is asked for."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._urls: dict[str, str] = {}

    def url(self, kind: str) -> str:
        """Of the one of that kind, without rows."""
        if kind not in self._urls:
            self._urls[kind] = self._stack.enter_context(server(kind).database())
            engine_of(self._urls[kind]).prepare()
        self._empty(kind)
        return self._urls[kind]

    def _empty(self, kind: str) -> None:
        database = urlsplit(self._urls[kind]).path[1:]
        with server(kind).connection(database) as connection:
            tables = set(sqlalchemy.inspect(connection).get_table_names()) - KEPT
            # Children first.
            for table in sorted(tables, key=lambda name: (name == "projects", name == "tokens", name)):
                connection.execute(sqlalchemy.text(f"DELETE FROM {table}"))
            connection.execute(sqlalchemy.text("DELETE FROM revision WHERE id <> 1"))
            connection.execute(sqlalchemy.text("DELETE FROM audit_head"))
            head = f"INSERT INTO audit_head (id, seq, hash) VALUES (1, 0, '{'0' * 64}')"
            connection.execute(sqlalchemy.text(head))

    def close(self) -> None:
        self._stack.close()


def add_row(connection: Connection, table: str, key: Row, amounts: Row) -> None:
    """Add to the numbers of one row, or make it."""
    connection.add(table, list(key), [{**key, **amounts}])
