"""Remember which recorded exchanges have been imported, so that a file adds nothing the second time."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sqlite_utils import Database

from store.core.private_files import make_folder, open_private

FILE = "imported.db"
TABLE = "imported"


class Imports:
    """Keeps a list of event ids beside the segments of a spool."""

    def __init__(self, spool: Path) -> None:
        make_folder(spool, parents=True)
        open_private(spool / FILE, "ab").close()  # SQLite takes the mode of its other files from this one
        self._database = Database(spool / FILE)
        self._table = self._database.table(TABLE)
        self._table.create({"event_id": str}, pk="event_id", if_not_exists=True)

    def known(self, ids: Iterable[str]) -> set[str]:
        """Give those of `ids` that are listed."""
        wanted = list(ids)
        marks = ",".join("?" * len(wanted))
        rows = self._database.query(f"select event_id from {TABLE} where event_id in ({marks})", wanted)  # noqa: S608
        return {row["event_id"] for row in rows}

    def add(self, ids: Iterable[str]) -> None:
        self._table.insert_all([{"event_id": one} for one in ids], ignore=True)

    def close(self) -> None:
        self._database.close()
