"""Offer what a sink of another package is written with; docs/dispatch.md shows one.

A sink is a class with ``name``, ``options``, ``plan``, ``send``, ``check`` and ``close``
(:class:`dispatch.sinks.Sink`), named by an entry point of the group ``llmproxy.sinks``. These names stay.
"""

from __future__ import annotations

from llmproxy import find_rooms

find_rooms(first=False)

from dispatch.errors import Misconfigured, Unavailable  # noqa: E402
from dispatch.message import encode, message  # noqa: E402
from dispatch.options import Option, boolean, choice, duration, path, size, whole, words  # noqa: E402
from dispatch.sinks import Parcel, Plan, Rejected, Sink  # noqa: E402

__all__ = [
    "Misconfigured",
    "Option",
    "Parcel",
    "Plan",
    "Rejected",
    "Sink",
    "Unavailable",
    "boolean",
    "choice",
    "duration",
    "encode",
    "message",
    "path",
    "size",
    "whole",
    "words",
]
