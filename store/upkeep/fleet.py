"""Follow all proxies on a store, whichever machine and spool they have: table ``proxies``.

A proxy puts there, every REPORT_SECONDS, what its status file says, and how far the dispatchers on its spool
are. So any proxy can tell of all others. Who has not reported for DEAD_SECONDS, and has not said that it
ends, is taken for dead.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from store.core.errors import StoreError
from store.core.periodic_thread import PeriodicThread
from store.database.engine import Connection, Engine
from store.spool import dispatcher_states
from store.spool.backlog import backlogs
from store.spool.status_files import FOLDER, KEEP_SECONDS, Status

REPORT_SECONDS = 15.0
DEAD_SECONDS = 60.0
BUSY_SECONDS = 2.0
CLOSE_SECONDS = 3.0


class FleetReporter:
    """Reports one proxy, in a thread. A store that is away gets the next report."""

    def __init__(self, engine: Engine, spool: Path, writer: str) -> None:
        self._engine, self._spool, self._writer = engine, spool, writer
        self._reported = False
        self._thread = PeriodicThread(
            "llmproxy-fleet",
            self._report,
            pause=lambda: REPORT_SECONDS,
            first=REPORT_SECONDS,
            end=self._report_end,
        )
        self._thread.start()

    def close(self) -> None:
        """Report a last time, where that takes no longer than CLOSE_SECONDS; after the status file's end."""
        self._thread.close(CLOSE_SECONDS)

    def _report_end(self) -> None:
        if self._reported:  # of who was there for a moment only, nobody has to know
            self._report()

    def _report(self) -> None:
        with contextlib.suppress(StoreError, OSError, ValueError):
            connection = self._engine.connect(busy_seconds=BUSY_SECONDS)
            try:
                report(connection, self._spool, self._writer)
            finally:
                connection.close()
            self._reported = True


def report(connection: Connection, spool: Path, writer: str) -> None:
    """Put a proxy's status file into the store, with the dispatchers on its spool; old rows go.

    Raises StoreError; OSError and ValueError where the file cannot be read.
    """
    status = json.loads((spool / FOLDER / f"{writer}.json").read_bytes())
    now = int(time.time())
    row = {
        "host": socket.gethostname()[:255],
        "spool": str(spool.resolve()),
        "updated_at": now,
        "status": json.dumps({**status, "consumers": consumers_of(spool)}),
    }
    with connection.transaction():
        assignments = ", ".join(f"{name} = :{name}" for name in row)
        changed = connection.run(
            f"UPDATE proxies SET {assignments} WHERE writer = :writer",  # noqa: S608 - our own names
            writer=writer,
            **row,
        )
        if not changed:
            connection.insert("proxies", [{"writer": writer, **row}])
        connection.run("DELETE FROM proxies WHERE updated_at < :before", before=now - int(KEEP_SECONDS))


def elsewhere(connection: Connection, here: Collection[str]) -> list[Status]:
    """List the proxies that are not among the writers `here`, oldest first."""
    now = time.time()
    found = []
    for row in connection.rows("SELECT * FROM proxies ORDER BY writer"):
        with contextlib.suppress(ValueError):
            value = json.loads(row["status"])
            if row["writer"] not in here and isinstance(value, dict):
                alive = not value.get("ended_at") and now - row["updated_at"] < DEAD_SECONDS
                found.append(Status({**value, "host": row["host"], "spool": row["spool"]}, alive))
    return found


def spools(statuses: Collection[Status]) -> Iterator[dict[str, Any]]:
    """Give each spool of other proxies, with its dispatchers as the latest of these has seen them."""
    latest: dict[tuple[str, str], Mapping[str, Any]] = {}
    for status in sorted(statuses, key=lambda one: str(one.value.get("updated_at"))):
        latest[str(status.value.get("host")), str(status.value.get("spool"))] = status.value
    for (host, spool), value in sorted(latest.items()):
        yield {
            "host": host,
            "path": spool,
            "updated_at": value.get("updated_at"),
            "consumers": value.get("consumers") or {},
        }


def consumers_of(spool: Path) -> dict[str, dict[str, Any]]:
    """Return how far the dispatchers on a spool are, by name."""
    states = dispatcher_states.read(spool)
    return {
        name: {
            "backlog_bytes": one.bytes,
            "lag_seconds": round(one.lag_seconds, 1),
            "at_work": one.at_work,
            "dead_letters": one.dead,
            "error": states.get(name, {}).get("error"),
        }
        for name, one in backlogs(spool).items()
    }
