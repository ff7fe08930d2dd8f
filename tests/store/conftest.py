"""A store on each engine.

Tests that take `store` or `place` run on SQLite, PostgreSQL and MySQL (MariaDB); those that take `path`, too,
are about the file and run on SQLite only. `scripts/test --fast` runs all of them on SQLite only.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from store.database.engine import Connection, Engine
from store.database.engines import engine_of
from store.database.location import StoreLocation
from store.keys import master_key
from store.tokens.store import TokenStore
from tests.store.engines import ENGINES, Databases

MASTER = base64.b64encode(b"m" * 32).decode()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "place" in metafunc.fixturenames:
        engines = ENGINES[:1] if "path" in metafunc.fixturenames else ENGINES
        # Alone quick, but there are hundreds.
        away = [pytest.mark.slow, pytest.mark.once]
        params = [pytest.param(kind, marks=[] if kind == "sqlite" else away) for kind in engines]
        metafunc.parametrize("place", params, indirect=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "store.db"


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    databases = Databases()
    yield databases
    databases.close()


@pytest.fixture
def place(
    request: pytest.FixtureRequest, databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> StoreLocation:
    """Where an empty store is, or may be made."""
    if request.param == "sqlite":
        return StoreLocation.of(tmp_path / "data" / "store.db")
    # A file beside the store is for files.
    monkeypatch.setenv(master_key.VARIABLE, MASTER)
    return StoreLocation.of(databases.url(request.param))


@pytest.fixture
def store(place: StoreLocation) -> Iterator[TokenStore]:
    store = TokenStore.open(place)
    yield store
    store.close()


@pytest.fixture
def engine(place: StoreLocation) -> Engine:
    engine = engine_of(place)
    engine.prepare()
    return engine


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    connection = engine.connect()
    yield connection
    connection.close()
