"""Find what a token grants, in microseconds, where the store is a SQLite file.

The look-up is never out of date. Grants are kept in memory. Before each use two cheap questions are asked:
is the file still the same (`stat`), and has another connection committed to it (``PRAGMA data_version``, a
look at shared memory)? After a commit one number is read, the revision, which triggers raise with every
change of policy; only when it has changed is what is in memory thrown away. So a revocation by another
process holds from the next call.

On a server that would take a round trip for each call; see :mod:`store.tokens.server_lookup`.
"""

from __future__ import annotations

import logging

from store.core.errors import DamagedRow, StoreError, StoreUnavailable
from store.database.location import Place, StoreLocation
from store.database.sqlite.engine import SqliteConnection, SqliteEngine
from store.tokens import grants
from store.tokens.lookup import LONGEST, Found
from store.tokens.models import Grant, Project
from store.tokens.token_text import fingerprint

BUSY_SECONDS = 0.25
"""Readers of a WAL database do not wait for writers; this bounds the rare case of a recovery."""


logger = logging.getLogger(__name__)


class TokenLookup:
    """Reads the SQLite file. Raises StoreUnavailable, and recovers when the file is back."""

    def __init__(self, place: Place) -> None:
        path = StoreLocation.of(place).path
        assert path is not None
        self._engine = SqliteEngine(path)
        self._connection: SqliteConnection | None = None
        self._data_version = -1
        self._revision = -1
        self._grants: dict[str, Grant] = {}
        self._projects: dict[str, Project] = {}
        self.trouble: str | None = None

    def find(self, text: str) -> Found:
        return None if len(text) > LONGEST else self.find_fingerprint(fingerprint(text))

    def find_fingerprint(self, key: str) -> Found:
        try:
            connection = self._current()
            grant = self._grants.get(key)
            if grant is None:
                # Unknown texts are not remembered: anyone could fill the memory with them.
                found, damaged = grants.load(connection, [key], self._projects)
                self._grants |= found
                if key in damaged:
                    raise damaged[key]
                grant = found.get(key)
        except DamagedRow:
            raise
        except StoreError as error:
            self.close()
            self._lost(str(error))
            raise StoreUnavailable(str(error)) from error
        if self.trouble is not None:
            self.trouble = None
            logger.warning("llmproxy: the store %s can be read again; calls are served", self._engine.where)
        return grant

    def _lost(self, trouble: str) -> None:
        if self.trouble is None:
            logger.error("llmproxy: %s; calls are refused until the store can be read", trouble.rstrip("."))
        self.trouble = trouble

    def away(self) -> None:
        """Do nothing: a file is there or not; each look finds out by itself."""

    def ready(self) -> None:
        self.find("")

    def close(self) -> None:
        self._forget()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _current(self) -> SqliteConnection:
        """Give the connection, after making sure that what is in memory is what is in the file."""
        if self._connection is None or not self._connection.is_current():
            self.close()
            self._connection = self._engine.connect(busy_seconds=BUSY_SECONDS)
        version = self._connection.data_version()
        if version != self._data_version:
            revision = grants.revision(self._connection)
            if revision != self._revision:
                self._forget()
                self._revision = revision
            self._data_version = version
        return self._connection

    def _forget(self) -> None:
        self._grants.clear()
        self._projects.clear()
        self._data_version = self._revision = -1
