"""Parse the events of one stream once each: by whoever reads it first, for all who read it after that."""

from __future__ import annotations

import json
from typing import Any

Json = dict[str, Any]

ROOM = 256 * 1024
"""Characters of events whose values are kept for the next reader; beyond that one is parsed again."""


_decode = json.JSONDecoder(strict=False).decode
"""As :func:`json.loads` without its making of a decoder for each event."""


class ParsedEvents:
    """Keep what events say between two readers, by their data."""

    def __init__(self) -> None:
        self._values: dict[str, Json] = {}
        self._room = ROOM

    def read(self, data: str) -> Json | None:
        """Parse the data of an event, for a reader after whom others come; None where it is no JSON object.

        The value is theirs too: it must not be changed.
        """
        found = self._values.get(data)
        if found is None and (found := _parse(data)) is not None and len(data) <= self._room:
            self._room -= len(data)
            self._values[data] = found
        return found

    def take(self, data: str) -> Json | None:
        """Parse the data of an event for its last reader, and forget it."""
        found = self._values.pop(data, None)
        if found is None:
            return _parse(data)
        self._room += len(data)
        return found


def _parse(data: str) -> Json | None:
    try:
        value = _decode(data)
    except (ValueError, RecursionError):
        return None  # not of this API, or cut off within the event
    return value if isinstance(value, dict) else None
