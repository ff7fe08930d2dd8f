"""Sum the output file of a batch while it passes: what its lines used, by model.

A line is ``{"custom_id": ..., "response": {"status_code": 200, "body": {...}}, "error": null}``, its body the
answer that the call would have had by itself (https://platform.openai.com/docs/api-reference/batch/request-output).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from addons.openai.http.encoding import Decoder
from addons.openai.usage import usage as usages
from addons.openai.usage.usage import Usage

PIECE = 2**20
"""Decoded bytes that are read at a time."""
BUDGET = 2**40
"""Decoded bytes of a file; files are far smaller, and none is kept."""
LONGEST_LINE = 64 * 2**20
PART_TOKENS = 100_000
"""Input of the lines that are summed to one part. Long inputs have other prices, and a sum must not look like
one: the lowest of such limits is higher than this."""


class _Body(msgspec.Struct):
    model: Any = None
    usage: Any = None


class _Response(msgspec.Struct):
    status_code: Any = None
    body: _Body | None = None


class _Line(msgspec.Struct):
    response: _Response | None = None


_parse = msgspec.json.Decoder(_Line).decode


@dataclass(slots=True)
class Part:
    """Holds lines of one model that are priced as one."""

    model: str | None
    usage: Usage
    """Summed."""
    tokens: int = 0
    """It is that of the input."""


@dataclass(slots=True)
class BatchSum:
    """Holds what the lines came to."""

    lines: int = 0
    failed: int = 0
    """Lines whose call had an error."""
    unread: int = 0
    """Lines that are none of a batch's, or have no usage."""
    parts: list[Part] = field(default_factory=list)
    problem: str | None = None
    """It says why not all of the file could be read."""

    @property
    def usage(self) -> Usage | None:
        """Give the usage of all lines; None where none has any."""
        return usages.total(part.usage for part in self.parts)

    @property
    def model(self) -> str | None:
        """Give the model with the most input, if there are several."""
        tokens: dict[str, int] = {}
        for part in self.parts:
            if part.model:
                tokens[part.model] = tokens.get(part.model, 0) + part.tokens
        return max(tokens, key=lambda name: tokens[name], default=None)


class BatchLines:
    """Reads the file. `feed` holds no more than a line."""

    def __init__(self, codings: Sequence[str] = ()) -> None:
        self._decoder = Decoder(codings, budget=BUDGET)
        self._sum = BatchSum()
        self._open: dict[str | None, Part] = {}
        self._rest: list[bytes] = []
        self._held = 0

    def feed(self, data: bytes) -> None:
        """Take more of the file, as on the wire."""
        self._decoder.push(data)
        while not self._decoder.done:
            self._take(self._decoder.pull(PIECE))

    def finish(self) -> BatchSum:
        """Give the sum, once the file is whole; a last line needs no line end."""
        if last := b"".join(self._rest).strip():
            self._line(last)
        self._rest.clear()
        self._sum.problem = self._sum.problem or self._decoder.error
        return self._sum

    def _take(self, data: bytes) -> None:
        first, *more = data.split(b"\n")
        self._hold(first)
        for piece in more:
            self._line(b"".join(self._rest))
            self._rest.clear()
            self._held = 0
            self._hold(piece)

    def _hold(self, piece: bytes) -> None:
        self._held += len(piece)
        if self._held <= LONGEST_LINE:
            self._rest.append(piece)
        else:
            self._rest.clear()
            self._sum.problem = f"a line is longer than {LONGEST_LINE} bytes"

    def _line(self, line: bytes) -> None:
        if not line.strip():
            return
        self._sum.lines += 1
        try:
            response = _parse(line).response
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            response = None
        if response is None or response.body is None:
            self._sum.unread += 1
        elif isinstance(response.status_code, int) and response.status_code >= 400:
            self._sum.failed += 1
        elif (read := usages.read(response.body.usage)) is None or read.is_zero:
            self._sum.unread += 1
        else:
            self._add(response.body, read)

    def _add(self, body: _Body, usage: Usage) -> None:
        model, tokens = body.model if isinstance(body.model, str) else None, usage.input_tokens or 0
        if not tokens:
            usage = usage.without("input_tokens").lacking(usages.UNREPORTED)
        part = self._open.get(model)
        if part is None or part.tokens + tokens > PART_TOKENS:
            part = self._open[model] = Part(model, usage, tokens)
            self._sum.parts.append(part)
        else:
            part.usage = usages.total((part.usage, usage)) or usage
            part.tokens += tokens
