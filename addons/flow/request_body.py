"""Read the body of a call's request: decoded, parsed and questioned once, for all checks.

Light ones are read on the event loop, others by a thread: it would stop the loop as well, as long as it
parses, and takes a while to be woken. What would take so long that other calls
notice (many megabytes, or very many values) is read by another process, and what is beyond all bounds is
refused before it is parsed (:mod:`addons.openai.http.json_bounds`).
"""

from __future__ import annotations

import asyncio
from typing import Any

from addons.flow import errors
from addons.flow.errors import Refusal
from addons.flow.helper_process import HelperBusy, WorkTooLarge, helper
from addons.openai.http.encoding import codings_of, decode_whole
from addons.openai.http.json_bounds import MOST_BYTES, decoded_limit, is_heavy, is_light
from addons.openai.http.members import Insertion, inserted
from addons.openai.request_reading import SMALL, Question, RequestReading, read_heavy


class RequestBody:
    """Holds one body, and what is known of it."""

    def __init__(self, raw: bytes, content_encoding: str, question: Question) -> None:
        self.raw = raw
        self.reading: RequestReading | None = None
        """None before it has been read, and where it cannot be."""
        self.is_heavy = False
        """It tells whether it is too much to be parsed within this process."""
        self._coding = content_encoding
        self._question = question
        self._decoded: bytes | None = None if raw and codings_of(content_encoding) else raw
        self._insertions: list[Insertion] = []

    @property
    def size(self) -> int:
        """Give its size in bytes, decoded where that has been done."""
        return len(self.raw if self._decoded is None else self._decoded)

    @property
    def has_few_values(self) -> bool:
        """Tell whether it was parsed here; what follows need not count its values again."""
        return self.reading is not None and not self.is_heavy

    @property
    def decoded(self) -> bytes | None:
        """Give its bytes without their content coding; None before they are decoded."""
        return self._decoded

    @property
    def kept_value(self) -> Any:
        """Give its JSON, for who would parse it once more; None for one that is not small."""
        return self.reading.value if self.reading is not None else None

    async def read(self) -> Refusal | None:
        """Read it; why the call may not pass, where it is out of bounds or cannot be decoded."""
        if self._decoded is not None and is_light(self._decoded):
            reading = RequestReading(self._decoded, self._question)
            if not reading.is_soon_bounded:
                await asyncio.to_thread(reading.settle)
            elif len(self._decoded) > SMALL:
                reading.settle()
            self.reading = reading
            return None
        found = await asyncio.to_thread(self._read_aside)
        if isinstance(found, Refusal):
            return found
        if found is None:
            try:
                heavy = await helper.run(read_heavy, self._decoded, self._question)
            except HelperBusy:
                return errors.PROXY_BUSY
            except WorkTooLarge:
                return errors.body_too_large("it takes too long to read")
            if isinstance(heavy, str):
                return errors.body_too_large(heavy)
            found = heavy
        self.reading = found
        return None

    def _read_aside(self) -> RequestReading | Refusal | None:
        """Read it in a thread; give None where another process has to do it."""
        if self._decoded is None:
            if len(self.raw) > MOST_BYTES:
                return errors.body_too_large(f"it has more than {MOST_BYTES // 2**20} MiB")
            limit = decoded_limit(len(self.raw))
            self._decoded, error = decode_whole(self.raw, self._coding, budget=limit)
            if error:
                too_large = len(self._decoded) >= limit - limit // 8
                say = errors.body_too_large if too_large else errors.body_unreadable
                return say(f"it cannot be decoded: {error}")
        if is_heavy(self._decoded):
            self.is_heavy = True
            return None
        return RequestReading(self._decoded, self._question).settle()

    def insert(self, insertion: Insertion) -> bytes:
        """Have `insertion` added to what goes upstream; that body, decoded."""
        assert self._decoded is not None
        self._insertions.append(insertion)
        return inserted(self._decoded, self._insertions)
