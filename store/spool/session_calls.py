"""Find the calls of an agent's session, in order, and how often the session repeats itself.

What is read and what is kept have bounds: so many bytes of the spool, and so many calls.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from store.core.event import USAGE_TYPE
from store.spool.recent import SCANNED, position, records_backwards

MOST = 10_000
"""Calls of one session that are told."""
VARYING = frozenset({"id", "call_id", "item_id", "status", "index", "logprobs", "annotations"})
"""Members of an answer's items that differ between two that say the same."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SessionCalls:
    """Holds the newest calls of a session, the oldest first."""

    calls: list[Row]
    whole: bool
    """It tells whether all of the spool was read, and no call was left out."""

    @property
    def repeated(self) -> int | None:
        """Count calls whose answer the session had got before; None where no answers were kept."""
        said = [call["said"] for call in self.calls if call["said"] is not None]
        return len(said) - len(set(said)) if said else None

    def as_dict(self) -> Row:
        """Give what they cost together and by thread, how often they were repeated, and each of them."""
        threads: dict[str, Row] = {}
        for call in self.calls:
            thread = threads.setdefault(call["thread"] or "", _thread(call))
            thread["calls"] += 1
            thread["usd"] = str(Decimal(thread["usd"]) + Decimal(call["usd"] or 0))
        return {
            "calls_read": len(self.calls),
            "whole": self.whole,
            "usd": str(sum((Decimal(call["usd"] or 0) for call in self.calls), Decimal())),
            "retries": sum(1 for call in self.calls if call["retry"]),
            "repeated": self.repeated,
            "threads": list(threads.values()),
            "calls": [{name: call[name] for name in call if name != "said"} for call in self.calls],
        }


def calls_of(
    spool: Path,
    token_id: str,
    name: str,
    elsewhere: Iterable[Mapping[str, Any]] = (),
    *,
    most: int = MOST,
    scanned: int = SCANNED,
) -> SessionCalls:
    """Find the calls of a token that name an agent's session; without a name, those that name none.

    `elsewhere`: calls of the session that are known without the spool, the newest first.
    """
    found: deque[Row] = deque(maxlen=most)
    left, number = scanned, 0
    for record, length in records_backwards(spool, name or token_id):
        left -= length
        if record is not None and _is_of(record, token_id, name):
            number += 1
            if number <= most:
                found.append(_row(record))
        if left <= 0:
            break
    calls = {row["event_id"]: row for row in found}
    for known in elsewhere:
        if _is_of(known, token_id, name):
            calls.setdefault(str(known.get("event_id")), _row(known))
    ordered = sorted(calls.values(), key=lambda row: (row["timestamp"], row["event_id"]))
    return SessionCalls(ordered[-most:], whole=left > 0 and number <= most and len(ordered) <= most)


def _is_of(record: Mapping[str, Any], token_id: str, name: str) -> bool:
    session = record.get("session")
    named = session.get("id") if isinstance(session, Mapping) else None
    return (named or "") == name and record.get("type") == USAGE_TYPE and record.get("token_id") == token_id


def _row(record: Mapping[str, Any]) -> Row:
    timestamp, event_id = position(record)
    session, usage, cost = (record.get(name) or {} for name in ("session", "usage", "cost"))
    return {
        "timestamp": timestamp,
        "event_id": event_id,
        "thread": session.get("thread"),
        "turn": session.get("turn"),
        "source": session.get("source"),
        "endpoint": record.get("endpoint"),
        "model": record.get("model"),
        "outcome": record.get("outcome"),
        "retry": record.get("retry"),
        "total_tokens": usage.get("total_tokens"),
        "usd": cost.get("usd"),
        "said": _said(record),
    }


def _thread(call: Row) -> Row:
    return {"thread": call["thread"], "source": call["source"], "calls": 0, "usd": "0"}


def _said(record: Mapping[str, Any]) -> str | None:
    """Give a hash of the text and the tool calls of an answer, without its ids; None where there are none."""
    body = (record.get("response") or {}).get("body")
    if not isinstance(body, Mapping):
        return None
    items = body.get("output") if isinstance(body.get("output"), list) else body.get("choices")
    if not isinstance(items, list):
        return None
    # What a model thinks it never thinks in the same words again.
    told = [
        _fixed(item) for item in items if not (isinstance(item, Mapping) and item.get("type") == "reasoning")
    ]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16] if told else None


def _fixed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _fixed(inner) for name, inner in value.items() if name not in VARYING}
    return [_fixed(inner) for inner in value] if isinstance(value, list) else value
