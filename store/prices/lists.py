"""Keep price lists in the store (table ``price_lists``): the newest one holds for every proxy on it.

A list is kept as text in the form of genai-prices' data; what it means is for its readers
(:mod:`addons.openai.pricing.price_file`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from store.audit.log import AuditLog
from store.core.times import rfc3339
from store.database.engine import Connection

KEPT = 10
"""Lists that are kept, the newest ones, so that one can look back."""


@dataclass(frozen=True, slots=True)
class PriceList:
    """Describes one list, without its content."""

    number: int
    name: str
    """As `price_source` of events shows it."""
    origin: str
    """The file or URL it was read from."""
    added_at: str
    sha256: str

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


class PriceLists:
    """Is a part of a store, for one thread at a time. Methods raise StoreError."""

    def __init__(self, connection: Connection, audit: AuditLog) -> None:
        self._connection = connection
        self._audit = audit

    def add(self, name: str, origin: str, content: str, counts: Mapping[str, int]) -> PriceList:
        """Put a list into force; `counts` says for the audit log what it changed.

        The same content as the newest list's adds nothing, and that list is returned.
        """
        digest = hashlib.sha256(content.encode()).hexdigest()
        with self._audit.change("prices.update") as change:
            newest = find_newest(self._connection)
            if newest is not None and newest.sha256 == digest and newest.name == name:
                return newest
            made = PriceList(
                (newest.number if newest else 0) + 1, name, origin, rfc3339(datetime.now(UTC)), digest
            )
            self._connection.insert("price_lists", [{**made.as_json(), "content": content}])
            self._connection.run("DELETE FROM price_lists WHERE number <= :old", old=made.number - KEPT)
            before = None if newest is None else {"name": newest.name, "sha256": newest.sha256}
            change.note(before, {"name": name, "sha256": digest, "origin": origin, **counts})
        return made


def find_newest(connection: Connection) -> PriceList | None:
    """Find the list in force; None where the store has none."""
    rows = connection.rows(
        f"SELECT {', '.join(PriceList.__slots__)} FROM price_lists ORDER BY number DESC LIMIT 1"  # noqa: S608
    )
    return PriceList(**rows[0]) if rows else None


def read_content(connection: Connection, number: int) -> str | None:
    """Read the text of a list; None where it has been removed meanwhile."""
    rows = connection.rows("SELECT content FROM price_lists WHERE number = :number", number=number)
    return str(rows[0]["content"]) if rows else None
