"""Connect to a store on a server, by SQLAlchemy Core."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import sqlalchemy
from sqlalchemy import URL, CursorResult, NullPool, exc

from store.core.errors import Conflict, Invalid, StoreError, StoreUnavailable
from store.database.engine import BUSY_SECONDS, Known, Row, quoted, with_lists
from store.database.location import StoreLocation
from store.database.server import schema
from store.database.server.dialects import DIALECTS, Dialect

MARGIN_SECONDS = 0.5
"""Between the server's own limit, whose error tells more and leaves the connection, and ours."""

text = lru_cache(512)(sqlalchemy.text)


class ServerConnection:
    """Implements :class:`store.database.engine.Connection`; a lost one is made anew by the next statement."""

    def __init__(self, url: URL, dialect: Dialect, where: str, busy_seconds: float) -> None:
        self._dialect = dialect
        self._where = where
        self._busy_seconds = busy_seconds
        self._engine = engine_for(url, dialect, where, busy_seconds, isolation_level="AUTOCOMMIT")
        sqlalchemy.event.listen(self._engine, "do_connect", self._guarded_connect)
        self._guard = contextlib.ExitStack()
        self._open: sqlalchemy.Connection | None = None
        self._in_transaction = False
        self._failed = False
        """It tells whether a statement of the transaction failed: PostgreSQL forgets all of it then."""
        self._connect()

    def rows(self, sql: str, /, **values: Any) -> list[Row]:
        with self._told():
            return [dict(row) for row in self._execute(sql, values).mappings()]

    def each(self, sql: str, /, **values: Any) -> Iterator[Row]:
        with self._told():
            for row in self._execute(sql, values).mappings():
                yield dict(row)

    def run(self, sql: str, /, **values: Any) -> int:
        with self._told():
            return self._execute(sql, values).rowcount

    def insert(self, table: str, rows: Sequence[Row], *, known: Known = "refuse") -> None:
        if not rows:
            return
        names = list(rows[0])
        marks = ", ".join(f":{name}" for name in names)
        skipping = f" {self._dialect.skip(names)}" if known == "skip" else ""
        self._write(f"INSERT INTO {table} ({quoted(names)}) VALUES ({marks}){skipping}", rows)  # noqa: S608

    def add(self, table: str, key: Sequence[str], rows: Sequence[Row]) -> None:
        if not rows:
            return
        columns = list(rows[0])
        marks = ", ".join(f":{name}" for name in columns)
        upsert = self._dialect.upsert(table, key, [name for name in columns if name not in key])
        self._write(f"INSERT INTO {table} ({quoted(columns)}) VALUES ({marks}) {upsert}", rows)  # noqa: S608

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        if self._in_transaction:
            yield
            return
        self._control(self._dialect.begin)
        self._in_transaction, self._failed = True, False
        try:
            yield
            self._commit()
        except BaseException:
            self._roll_back()
            raise
        finally:
            self._in_transaction = False

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        for statement in self._dialect.snapshot:
            self._control(statement)
        self._in_transaction, self._failed = True, False
        try:
            yield
        finally:
            self._roll_back()
            self._in_transaction = False

    def lock(self, name: str) -> None:
        assert self._in_transaction
        with self._told(), self._limited():
            self._dialect.lock(self._connect(), name)

    def wipe(self, table: str) -> None:
        with self._told():
            self._connect().execute(text(self._dialect.wipe(table)))

    def is_current(self) -> bool:
        return True

    def close(self) -> None:
        if self._open is not None:
            connection, self._open = self._open, None
            with contextlib.suppress(exc.SQLAlchemyError, OSError):
                # At once: else it would begin with a rollback, whose answer may never come.
                if not connection.invalidated:
                    connection.invalidate()
                connection.close()

    def _connect(self) -> sqlalchemy.Connection:
        if self._open is None:
            if self._in_transaction:
                raise StoreUnavailable(f"{self._where}: the connection was lost within a transaction")
            with self._told(), self._guard:
                self._open = self._engine.connect()
        return self._open

    def _guarded_connect(
        self, dialect: sqlalchemy.Dialect, _record: object, arguments: Any, settings: Any
    ) -> Any:
        """Connect under guard.

        SQLAlchemy asks a new connection some questions, which may not be answered either.
        """
        driver = dialect.connect(*arguments, **settings)
        self._guard.enter_context(self._dialect.limited(driver, self._busy_seconds + MARGIN_SECONDS))
        self._dialect.made(driver)
        return driver

    def _execute(self, sql: str, values: dict[str, Any]) -> CursorResult[Any]:
        sql, values = with_lists(sql, values)
        connection = self._connect()
        with self._limited():
            return connection.execute(text(sql), _storable(values))

    def _write(self, sql: str, rows: Sequence[Row]) -> None:
        with self.transaction(), self._told():
            connection = self._connect()
            # A large batch may take longer than one statement may.
            with self._limited(self._busy_seconds + len(rows) / 100):
                connection.execute(text(sql), [_storable(row) for row in rows])

    def _control(self, statement: str) -> None:
        connection = self._connect()
        with self._told(), self._limited():
            connection.exec_driver_sql(statement)

    def _commit(self) -> None:
        if self._failed:
            raise StoreError(f"{self._where}: nothing was changed, because a statement before had failed.")
        self._control("COMMIT")

    def _limited(self, seconds: float | None = None) -> contextlib.AbstractContextManager[None]:
        driver = self._connect().connection.driver_connection
        return self._dialect.limited(driver, (seconds or self._busy_seconds) + MARGIN_SECONDS)

    def _roll_back(self) -> None:
        try:
            if self._open is not None and not self._open.invalidated:
                self._control("ROLLBACK")
                return
        except StoreError:
            pass
        self.close()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Turn the errors of the driver into ours."""
        try:
            yield
        except exc.SQLAlchemyError as error:
            self._failed = True
            raise self._ours(error) from error

    def _ours(self, error: exc.SQLAlchemyError) -> StoreError:
        if not isinstance(error, exc.DBAPIError):
            return StoreError(f"{self._where}: {error}")
        code = self._dialect.code(error.orig)
        said = f"{self._where}: {line(error.orig)}"
        if code in self._dialect.exists_already:
            return Conflict(said)
        lost = error.connection_invalidated or isinstance(error, exc.InterfaceError) or self._open is None
        if lost:
            self.close()
        return StoreUnavailable(said) if lost or code in self._dialect.try_again else StoreError(said)


class ServerEngine:
    """Implements :class:`store.database.engine.Engine`."""

    def __init__(self, location: StoreLocation) -> None:
        self.where = str(location)
        assert location.url is not None
        self._dialect = DIALECTS[location.kind]()
        try:
            url = sqlalchemy.make_url(location.url.reveal()).set(drivername=self._dialect.driver)
        except (exc.ArgumentError, ValueError) as error:
            raise Invalid(
                f"store {self.where!r}: the URL can't be read; write special characters of the password "
                "as %XX."
            ) from error
        if not url.database:
            raise Invalid(f"store {self.where!r}: the URL names no database.")
        self._url = url

    def prepare(self, *, create: bool = True) -> None:
        engine = engine_for(
            self._url, self._dialect, self.where, schema.STEP_SECONDS, isolation_level="READ COMMITTED"
        )
        try:
            schema.prepare(engine, self._dialect, self.where, create=create)
        except exc.OperationalError as error:
            raise StoreUnavailable(f"{self.where}: {line(error.orig)}{self._remedy(error)}") from error
        except exc.DBAPIError as error:
            raise StoreError(f"{self.where}: {line(error.orig)}{self._remedy(error)}") from error

    def tidy(self) -> None:
        """Do nothing: the server does so by itself."""

    def connect(self, *, busy_seconds: float = BUSY_SECONDS) -> ServerConnection:
        return ServerConnection(self._url, self._dialect, self.where, busy_seconds)

    def _remedy(self, error: exc.DBAPIError) -> str:
        found = self._dialect.remedies.get(self._dialect.code(error.orig))
        return f"; {found}." if found else ""


def _storable(row: Row) -> dict[str, Any]:
    """Replace NUL, which PostgreSQL does not have in texts; clients may write one into a name."""
    return {
        name: value.replace("\0", "\ufffd") if isinstance(value, str) else value
        for name, value in row.items()
    }


def engine_for(
    url: URL, dialect: Dialect, where: str, busy_seconds: float, *, isolation_level: str
) -> sqlalchemy.Engine:
    """Give SQLAlchemy's engine, without a pool: each of our connections is one thread's, and stays open."""
    try:
        return sqlalchemy.create_engine(
            # Without what `connect_arguments` gives.
            url.difference_update_query(["options", "connect_timeout", "application_name"]),
            poolclass=NullPool,
            isolation_level=isolation_level,
            connect_args=dialect.connect_arguments(url, busy_seconds),
            hide_parameters=True,
        )
    except ImportError as error:
        raise StoreError(
            f"store {where!r}: its driver is not installed: install llmproxy[{dialect.extra}]."
        ) from error


def line(error: BaseException | None) -> str:
    """Give the first line of what a driver says, and what MySQL says in its error's second argument."""
    said = error.args[1] if error and len(error.args) > 1 else error
    return next(iter(str(said).strip().splitlines()), type(error).__name__)
