from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from store.audit.log import AuditLog
from store.audit.origin import Origin
from store.engine import Connection, engine_of

ORIGIN = Origin("os:alice@build-7", "192.0.2.7")


@pytest.fixture
def connection(path: Path) -> Iterator[Connection]:
    engine = engine_of(path)
    engine.prepare()
    connection = engine.connect()
    yield connection
    connection.close()


@pytest.fixture
def log(connection: Connection) -> AuditLog:
    return AuditLog(connection, ORIGIN)
