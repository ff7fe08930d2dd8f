"""Choose an engine: a path is SQLite, a URL a server."""

from __future__ import annotations

from store.core.errors import StoreError
from store.database.engine import Engine
from store.database.location import Place, StoreLocation
from store.database.sqlite.engine import SqliteEngine


def engine_of(place: Place) -> Engine:
    """Choose the engine for a path or a URL; connects to nothing. Raises Invalid."""
    location = StoreLocation.of(place)
    if location.path is not None:
        return SqliteEngine(location.path)
    try:
        from store.database.server.engine import ServerEngine  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise StoreError(
            f"store {str(location)!r} needs SQLAlchemy and a driver: install llmproxy[{location.kind}]."
        ) from error
    return ServerEngine(location)
