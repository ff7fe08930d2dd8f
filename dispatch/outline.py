"""Make the flat message of a call straight from its line in the spool, for sinks that are told nothing more.

The line is parsed one level deep: what stays as it is goes from input to output as bytes, and prompts and
answers are skipped without ever becoming objects. That is several times as fast as parsing, shaping and
writing (`scripts/bench dispatch`), and says the same: a test compares it with
:func:`dispatch.message.message` of what :class:`dispatch.privacy.Privacy` lets through.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from dispatch.message import ADDED, DERIVED, FLAT, cost_usd
from store.core.codes import SERVED
from store.core.event import USAGE_TYPE

ADDRESSES = ("ip", "user_agent")
NULL, FINISH, YES, NO = Raw(b"null"), Raw(b'"finish"'), Raw(b"1"), Raw(b"0")
TYPE, OK = msgspec.json.encode(USAGE_TYPE), tuple(msgspec.json.encode(outcome) for outcome in SERVED)

_Flat = msgspec.defstruct(
    "_Flat",
    [(name, Raw | UnsetType, UNSET) for name in dict.fromkeys((*FLAT, *DERIVED, *ADDED))],
    gc=False,
)
_parse: Any = msgspec.json.Decoder(_Flat).decode
_write = msgspec.json.Encoder().encode
_value = msgspec.json.Decoder().decode


class Outline:
    """Holds the message as text, and its fields by name."""

    __slots__ = ("_flat", "text")

    def __init__(self, flat: Any, text: str) -> None:
        self._flat = flat
        self.text = text

    def get(self, name: str, default: Any = None) -> Any:
        """Give the value of a field, as a mapping has it."""
        raw = getattr(self._flat, name, UNSET)
        return default if raw is UNSET else _value(raw)


def outline(line: bytes) -> Outline | None:
    """Make the outline.

    None where the line is no call, or needs the long way round: half a surrogate pair, say.
    """
    try:
        flat = _parse(line)
        if flat.type is UNSET or bytes(flat.type) != TYPE:
            return None
        flat.timestamp = NULL if flat.timestamp is UNSET else flat.timestamp
        flat.run_id = NULL if flat.event_id is UNSET else flat.event_id
        flat.event = FINISH
        flat.failed = NO if flat.outcome is not UNSET and bytes(flat.outcome) in OK else YES
        flat.usage = _without(flat.usage, "raw")
        flat.error = NULL if flat.error is UNSET else _without(flat.error, "message")
        flat.client = NULL if flat.client is UNSET else _without(flat.client, *ADDRESSES)
        usd = None if flat.cost is UNSET else cost_usd({"cost": _value(flat.cost)})
        flat.cost_usd = UNSET if usd is None else Raw(_write(usd))
        return Outline(flat, _write(flat).decode())
    except ValueError:
        return None


def _without(raw: Any, *names: str) -> Any:
    """Give an object without some members; anything else as it is."""
    if raw is UNSET or bytes(raw)[:1] != b"{":
        return raw
    value = _value(raw)
    if value.keys().isdisjoint(names):
        return raw
    return Raw(_write({name: item for name, item in value.items() if name not in names}))
