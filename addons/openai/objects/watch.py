"""Notes the objects that an answer makes while it passes: their ids are known as soon as to the client.

Of a stream only the few events are read that tell of an object; a plain answer is read when it is whole.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from addons.openai.http.encoding import Decoder
from addons.openai.http.parsed_events import ParsedEvents
from addons.openai.http.values import name, objects
from addons.openai.objects import kinds
from addons.openai.objects.kinds import place_of
from addons.openai.objects.made import Made, first_made, made

LIMIT = 32 * 2**20
"""Bytes of a plain answer that are kept until it is whole; of a longer one nothing is read."""
LONGEST_LINE = 8 * 2**20
"""Bytes of a stream's line; a longer one is skipped."""
TELLING = {
    kinds.RESPONSE: (b"response.created", b"response.output_item.done"),
    kinds.THREAD: (b'thread.run"', b'thread.message"', b'"thread"'),
    kinds.COMPLETION: (b'"chat.completion.chunk"',),
    kinds.AGENT_SESSION: (b'"agent.session.created"',),
}
"""It is what is in the events that tell of an object; others are not parsed."""
MOST_CHUNKS = 50
"""So many of a chat's chunks are read: its id is in the first, and that of its sound in one of the first."""


class Watch:
    """Reads one answer. `feed` may be given anything, and gives the objects that are new."""

    def __init__(
        self,
        method: str,
        path: str,
        request: Any = None,
        *,
        codings: Sequence[str] = (),
        stream: bool = False,
        parsed: ParsedEvents | None = None,
    ) -> None:
        self._method, self._path, self._request = method, path, request
        place = place_of(path)
        self._kind = place.kind if place else ""
        self._stream = stream
        self._parsed = parsed or ParsedEvents()
        self._decoder = Decoder(codings) if codings else None
        self._held: list[bytes] = []
        self._size = 0
        self._found: set[str] = set()
        self._line = b""
        self._skipping = False
        self._chunks = 0
        self._response: dict[str, Any] = {}

    def feed(self, data: bytes) -> list[Made]:
        """Take more of the body, as on the wire."""
        if self._decoder is not None:
            data = self._decoder.feed(data)
        if self._stream:
            return self._lines(data)
        self._size += len(data)
        if self._size <= LIMIT:
            self._held.append(data)
        else:
            self._held.clear()
        return []

    @property
    def size(self) -> int:
        """Give the bytes that :meth:`finish` has to read."""
        return sum(map(len, self._held))

    def finish(self) -> list[Made]:
        """Read what is left, now that the body is whole. Takes as long as reading it."""
        try:
            answer = json.loads(b"".join(self._held)) if self._held else None
        except (ValueError, RecursionError):
            return []
        return self._new(made(self._method, self._path, answer, self._request))

    def _lines(self, data: bytes) -> list[Made]:
        *whole, rest = data.split(b"\n")
        found: list[Made] = []
        for part in whole:
            line, self._line = self._line + part, b""
            if not self._skipping:
                found += self._event(line)
            self._skipping = False
        self._line += rest
        if len(self._line) > LONGEST_LINE:
            self._line, self._skipping = b"", True
        return found

    def _event(self, line: bytes) -> list[Made]:
        if not line.startswith(b"data:"):
            return []
        if not any(mark in line for mark in TELLING.get(self._kind, ())):
            return []
        data = line[5:].removeprefix(b" ").removesuffix(b"\r").decode("utf-8", "replace")
        event = self._parsed.read(data)
        return self._new(self._of_event(event)) if event is not None else []

    def _of_event(self, event: dict[str, Any]) -> list[Made]:
        if event.get("type") == "response.output_item.done":
            event = {"object": "response", "output": [event.get("item")], **self._kept_as()}
            return made("GET", self._path, event, self._request)
        if self._kind == kinds.COMPLETION:
            self._chunks += 1
            if self._chunks > MOST_CHUNKS:
                return []
            choices = objects(event.get("choices"))
            whole = [{**choice, "message": choice.get("delta")} for choice in choices]
            event = {**event, "choices": whole}
        if isinstance(response := event.get("response"), dict):
            self._response = response
        return first_made(self._method, self._path, event, self._request)

    def _kept_as(self) -> dict[str, Any]:
        """Give what the response said of how long it is kept; its items are kept like it."""
        return {
            key: value for key in ("store", "conversation") if (value := self._response.get(key)) is not None
        }

    def _new(self, found: Sequence[Made]) -> list[Made]:
        fresh = [one for one in found if name(one.id) and one.id not in self._found]
        self._found.update(one.id for one in fresh)
        return fresh
