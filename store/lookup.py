"""From a token's text to what it grants, in microseconds.

:class:`TokenLookup`, for SQLite, is never out of date. Grants are kept in memory. Before each use two cheap
questions are asked: is the file still the same (`stat`), and has another connection committed to it
(``PRAGMA data_version``, a look at shared memory)? After a commit one number is read, the revision, which
triggers raise with every change of policy; only when it has changed is what is in memory thrown away. So a
revocation by another process holds from the next call.

On a server that would take a round trip for each call; see :mod:`store.server.lookup`.
"""

from __future__ import annotations

from concurrent.futures import Future
from datetime import datetime
from enum import Enum
from typing import Protocol

from store import grants
from store.engine import engine_of
from store.errors import StoreError, StoreUnavailable
from store.location import Place, StoreLocation
from store.models import Grant, Project
from store.sqlite_engine import SqliteConnection, SqliteEngine
from store.token_text import fingerprint

BUSY_SECONDS = 0.25
"""Readers of a WAL database do not wait for writers; this bounds the rare case of a recovery."""
LONGEST = 512
"""Characters; a longer text is no token of ours."""


class Reason(Enum):
    """Why a token may not make this call, in the order in which the reasons are looked for."""

    MISSING = "missing"
    UNKNOWN = "unknown"
    REVOKED = "revoked"
    EXPIRED = "expired"
    REPLACED = "replaced"
    PROJECT_INACTIVE = "project_inactive"
    ENDPOINT_NOT_ALLOWED = "endpoint_not_allowed"


def check(grant: Grant, now: datetime) -> Reason | None:
    """What of the grant's own state stands against a call; None where nothing does."""
    if not grant.token.active:
        return Reason.REVOKED
    ends = (grant.token.expires_at, grant.project.limits.expires_at)
    if any(end is not None and end <= now for end in ends):
        return Reason.EXPIRED
    if grant.secret_ends_at is not None and grant.secret_ends_at <= now:
        return Reason.REPLACED
    if not grant.project.active:
        return Reason.PROJECT_INACTIVE
    return None


Found = Grant | None
"""None: the text is no token's."""


class Lookup(Protocol):
    """What tokens grant, for one thread, the event loop's."""

    def find(self, text: str) -> Found | Future[Found]:
        """What is found, or will be, or raises StoreUnavailable, as this does where that is known already."""
        ...

    def find_fingerprint(self, key: str) -> Found | Future[Found]:
        """The same for who knows only the text's fingerprint (:func:`store.token_text.fingerprint`)."""
        ...

    def ready(self) -> None:
        """Raises StoreUnavailable where calls are refused because the store is away."""
        ...

    def close(self) -> None: ...


def lookup_of(place: Place, *, grace_seconds: float = 0.0) -> Lookup:
    """The look-up for a store. On a server what is known serves for so long after it went away."""
    location = StoreLocation.of(place)
    if location.path is not None:
        return TokenLookup(location)
    from store.server.lookup import ServerLookup  # noqa: PLC0415 - an extra

    return ServerLookup(engine_of(location), grace_seconds)


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

    def find(self, text: str) -> Found:
        return None if len(text) > LONGEST else self.find_fingerprint(fingerprint(text))

    def find_fingerprint(self, key: str) -> Found:
        try:
            connection = self._current()
            grant = self._grants.get(key)
            if grant is None:
                # Unknown texts are not remembered: anyone could fill the memory with them.
                self._grants |= grants.load(connection, [key], self._projects)
                grant = self._grants.get(key)
            return grant
        except StoreError as error:
            self.close()
            raise StoreUnavailable(str(error)) from error

    def ready(self) -> None:
        self.find("")

    def close(self) -> None:
        self._forget()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _current(self) -> SqliteConnection:
        """The connection, after making sure that what is in memory is what is in the file."""
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
