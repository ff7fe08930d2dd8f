"""The management API served from a thread of the test, on a store and a spool of its own: no proxy."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application

from addons.caching.answers import AnswerCache
from addons.checks.history import History
from addons.hooks.management_server import oidc_of
from addons.management_api.access import Attempts
from addons.management_api.context import Api
from addons.management_api.oidc.settings import OidcSettings
from addons.management_api.routes import routes
from addons.management_api.store_thread import StoreThread
from addons.management_page.routes import page_routes
from addons.settings.options import defaults
from store.core.event import USAGE_TYPE, UsageEvent
from store.core.event_fields import read_record
from store.core.secret import Secret
from store.database.location import StoreLocation
from store.keys import master_key
from store.tokens.store import TokenStore
from store.usage.recent_calls import Bounds, RecentCalls, row_of
from store.usage.rollups import line_of
from tests.store.conftest import MASTER
from tests.store.engines import Databases

TOKEN = "management-" + "5b2e" * 8


@dataclass
class Served:
    """A running API, and what is behind it."""

    client: httpx.Client
    store: TokenStore
    spool: Path
    denied: list[str | None] = field(default_factory=list)
    cache: list[AnswerCache] = field(default_factory=list)
    """The last one is the proxy's."""

    def write(self, *events: Mapping[str, Any], segment: str = "w1.host.1.000001.jsonl") -> None:
        """Append lines to the spool, and have the store know of the calls."""
        with (self.spool / segment).open("a") as file:
            file.writelines(json.dumps(event) + "\n" for event in events)
        self.record(*(event for event in events if event["type"] == USAGE_TYPE))

    def record(self, *events: Mapping[str, Any]) -> None:
        """Have the store know of calls, which a proxy on another machine served."""
        calls = [read_record(event, UsageEvent) for event in events]
        with self.store.connection.transaction():
            rows = [row_of(call, line_of(call)) for call in calls]
            RecentCalls(Bounds()).add(self.store.connection, time.time(), rows)

    def get(self, path: str, status: int = 200, /, **params: Any) -> Any:
        return body(self.client.get(path, params=params), status)

    def post(self, path: str, status: int = 200, /, **fields: Any) -> Any:
        return body(self.client.post(path, json=fields), status)


def body(response: httpx.Response, status: int = 200) -> Any:
    assert response.status_code == status, response.text
    return response.json()


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    databases = Databases()
    yield databases
    databases.close()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def engine_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def oidc_settings() -> OidcSettings | None:
    return None


@pytest.fixture
def served(
    request: pytest.FixtureRequest,
    engine_name: str,
    oidc_settings: OidcSettings | None,
    databases: Databases,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Served]:
    """The API on each engine; its parameter, if any, are settings."""
    if engine_name == "sqlite":
        place = StoreLocation.of(tmp_path / "store.db")
    else:
        monkeypatch.setenv(master_key.VARIABLE, MASTER)
        place = StoreLocation.of(databases.url(engine_name))
    store = TokenStore.open(place)
    spool = tmp_path / "spool"
    spool.mkdir()
    denied: list[str | None] = []
    caches: list[AnswerCache] = []
    verifier, code_flow = oidc_of(oidc_settings)
    settings = replace(defaults(), store=place, spool=spool, **getattr(request, "param", {}))
    api = Api(
        *(StoreThread(place), StoreThread(place, threads=2), Secret(TOKEN), denied.append),
        *(Attempts(), verifier, code_flow, []),
        settings=lambda: settings,
        cache=lambda: caches[-1] if caches else None,
        history=History,
        listeners=lambda: {"reverse": "127.0.0.1:8081"},
    )
    with serving(lambda: Application([*page_routes(api), *routes(api)], log_function=lambda _: None)) as url:
        headers = {"authorization": f"Bearer {TOKEN}"}
        with httpx.Client(base_url=f"{url}/manage", headers=headers, trust_env=False, timeout=30) as client:
            yield Served(client, store, spool, denied, caches)
    api.close()
    store.close()


class serving:
    """Serve an application of tornado in a thread; gives its URL."""

    def __init__(self, make: Callable[[], Application]) -> None:
        self._make = make
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> str:
        self._thread.start()
        assert self._ready.wait(20)
        return self._url

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(20)

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        server = HTTPServer(self._make(), max_body_size=2**20)
        sockets = bind_sockets(0, "127.0.0.1")
        server.add_sockets(sockets)
        self._url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._end.wait()
        server.stop()
        await server.close_all_connections()
