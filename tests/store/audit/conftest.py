from __future__ import annotations

from collections.abc import Iterator

import pytest

from store.audit.log import AuditLog
from store.audit.origin import Origin
from store.database.engine import Connection
from store.database.engines import engine_of
from store.database.location import StoreLocation

ORIGIN = Origin("os:alice@build-7", "192.0.2.7")


@pytest.fixture
def connection(place: StoreLocation) -> Iterator[Connection]:
    engine = engine_of(place)
    engine.prepare()
    connection = engine.connect()
    yield connection
    connection.close()


@pytest.fixture
def log(connection: Connection) -> AuditLog:
    return AuditLog(connection, ORIGIN)


def written(place: StoreLocation) -> str:
    """As another process takes it."""
    return str(place.path) if place.url is None else place.url.reveal()
