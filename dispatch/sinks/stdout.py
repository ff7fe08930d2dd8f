"""Write events as JSON Lines on standard output, for a pipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from dispatch.errors import Closed, Unavailable
from dispatch.message import lines
from dispatch.sinks import Parcel, Plan, Rejected
from store.spool import Record


class StdoutSink:
    """Writes whole batches; what a reader that left did not take stays in the spool."""

    name = "stdout"

    def __init__(self, *, shape: str = "usage", include_content: bool = False) -> None:
        self._include_content = include_content
        self._shape = shape

    def plan(self, records: Sequence[Record]) -> Plan:
        values = (record.value for record in records)
        return Plan(
            [Parcel(records, lines(values, include_content=self._include_content, shape=self._shape))]
        )

    def send(self, parcel: Parcel) -> list[Rejected]:
        rest = memoryview(parcel.content)
        try:
            while rest:
                rest = rest[os.write(sys.stdout.fileno(), rest) :]
        except BrokenPipeError as error:
            raise Closed("stdout: nobody reads it any more") from error
        except OSError as error:
            raise Unavailable(f"stdout: {error.strerror}") from error
        return []

    def check(self) -> str:
        return "events are written here"

    def close(self) -> None:
        pass
