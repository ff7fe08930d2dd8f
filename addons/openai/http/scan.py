"""Read a long body as it passes: JSON or an event stream, in its structure, with its texts cut."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from addons.openai.http.event_scan import Event, EventScan
from addons.openai.http.json_scan import JsonScan
from addons.openai.http.sse import is_whole

STREAM_STARTS = (b"data:", b"event:", b":", b"id:", b"retry:")
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Scanned:
    """Holds what was understood of a long body; `events` is None where it is JSON."""

    value: Any = None
    events: list[Event] | None = field(default=None)
    dropped: int = 0
    """Bytes of texts that are not in it."""
    unparsed: int = 0
    done: bool = False
    """It tells whether the stream said that it is over."""
    whole: bool = True


class Scan:
    """Takes a body in pieces, the first of which is long enough to tell its kind."""

    def __init__(self, first: bytes, keep: int) -> None:
        first = first.removeprefix(BOM).lstrip()
        self._lines = _has_lines(first)
        streams = self._lines or first.startswith(STREAM_STARTS)
        self._json = JsonScan(keep) if first[:1] in (b"{", b"[") and not streams else None
        self._events = EventScan(keep) if streams else None
        self.feed(b"data: " + first if self._lines else first)

    def feed(self, data: bytes) -> None:
        if self._lines and self._events is not None:
            self._events.feed(data.replace(b"\n", b"\n\ndata: "))
        elif self._json is not None:
            self._json.feed(data)
        elif self._events is not None:
            self._events.feed(data)

    def finish(self) -> Scanned | None:
        """Give what was understood; None of a body of another kind, or that only looked like one of these."""
        if self._json is not None:
            found = self._json
            value = None if found.broken else found.value
            return None if value is None else Scanned(value, None, found.dropped, whole=found.whole)
        if self._events is not None:
            self._events.finish()
            found_events = self._events
            return Scanned(
                None, found_events.events, found_events.dropped, found_events.unparsed, found_events.done
            )
        return None


def _has_lines(first: bytes) -> bool:
    """Tell whether a body has an object on each line, as some servers stream."""
    line, _, rest = first.partition(b"\n")
    return line.startswith(b"{") and rest.startswith(b"{") and is_whole(line.decode("utf-8", "replace"))
