"""Make a record of the spool the message that leaves the machine.

The shape ``usage`` is an allow-list: what is not named here stays in the spool. Its first names are those of
the flat message that dashboards may rely on already; the additions follow. The shape ``full`` is the record
as it was spooled. What of content and addresses is in a record here has passed :mod:`dispatch.privacy`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from store.core.codes import SERVED
from store.core.event import (
    ALERT_TYPE,
    AUDIT_TYPE,
    BUDGET_TYPE,
    RECONCILIATION_TYPE,
    REPRICING_TYPE,
    SESSION_TYPE,
    USAGE_TYPE,
)

FIELDS = (
    "schema",
    "event_id",
    "writer",
    "seq",
    "duration_ms",
    "time_to_first_byte_ms",
    "time_to_first_token_ms",
    "outcome",
    "drained",
    "status",
    "request_id",
    "upstream_request_id",
    "method",
    "host",
    "path",
    "endpoint",
    "stream",
    "include_usage",
    "retry",
    "traceparent",
    "api_version",
    "project_id",
    "project_name",
    "token_id",
    "token_metadata",
    "request_metadata",
    "user",
    "user_claims",
    "model",
    "model_requested",
    "model_mismatch",
    "service_tier",
    "service_tier_requested",
    "finish_reasons",
    "response_id",
    "previous_response_id",
    "conversation_id",
    "session",
    "usage",
    "usage_missing",
    "usage_missing_code",
    "usage_of",
    "hosted_tools",
    "cost",
    "cache",
    "saved",
    "rate_limit",
    "truncated",
    "dropped",
)
FLAT = (
    "type",
    "timestamp",
    "run_id",
    "event",
    "request_id",
    "path",
    "model",
    "project_id",
    "token_id",
    "status",
    "duration_ms",
    "user",
    "usage",
    "token_metadata",
)
"""The flat names, in this order; `run_id` is the event's `event_id`, `event` is always `finish`."""
DERIVED = ("cost_usd", "failed")
"""Numbers for queries and metrics: `cost_usd` where the cost is known, since `cost.usd`, a decimal as text,
can't be added up there; `failed` is 1 where the outcome is not `ok`, else 0."""
ADDED = (*(name for name in FIELDS if name not in FLAT), "error", "client")
"""The other fields, under their own names. Of the last two only some members are sent."""
CONTENT = ("request", "response")
WRITER_FIELDS = (
    "event_id",
    "writer",
    "seq",
    "last_seq",
    "opened",
    "unrecorded",
    "died",
    "dropped",
    "since",
    "reason",
)
REPRICING_FIELDS = (
    *("schema", "event_id", "writer", "seq", "of", "call_timestamp", "cost", "cost_before", "usd_change"),
    *("request_id", "host", "endpoint", "model", "model_requested", "service_tier", "hosted_tools", "usage"),
    *("project_id", "project_name", "token_id", "token_metadata", "request_metadata", "user"),
)

SESSION_FIELDS = (
    *("schema", "event_id", "writer", "seq", "duration_ms", "outcome", "error", "status", "request_id"),
    *("upstream_request_id", "host", "path", "endpoint", "model"),
    *("project_id", "project_name", "token_id", "token_metadata", "request_metadata"),
    *("close_code", "closed_by", "client_frames", "server_frames", "refused_frames"),
    *("responses", "transcriptions", "unreported", "totals"),
)
BUDGET_FIELDS = (
    *("schema", "event_id", "writer", "seq", "reached", "side", "limit", "allowed", "used", "percent"),
    *("resets_at", "project_id", "project_name", "token_id", "name"),
)
ALERT_FIELDS = (
    *("schema", "event_id", "writer", "seq", "alert", "state", "reason", "since", "summary", "error"),
    *("subject", "place", "project_id", "project_name", "hours", "usd", "usd_before"),
)
AUDIT_FIELDS = ("schema", "event_id", "writer", "seq", "head")
RECONCILIATION_FIELDS = (
    *("schema", "event_id", "writer", "seq", "project_id", "project_name", "sharing_the_key"),
    *("since", "until", "tolerance", "agrees", "totals"),
)
FIELDS_OF = {
    REPRICING_TYPE: REPRICING_FIELDS,
    SESSION_TYPE: SESSION_FIELDS,
    BUDGET_TYPE: BUDGET_FIELDS,
    ALERT_TYPE: ALERT_FIELDS,
    AUDIT_TYPE: AUDIT_FIELDS,
    RECONCILIATION_TYPE: RECONCILIATION_FIELDS,
}
"""By the type of a record that is no call."""

DROPPED_IN_ORDER = (
    ("request", "body"),
    ("response", "body"),
    ("request", "headers"),
    ("error", "message"),
    ("rate_limit",),
    ("client",),
)
"""It is what an event that is too large for its backend goes without, one after another until it fits."""

SHAPES = ("usage", "full")
Message = dict[str, Any]


def message(record: Mapping[str, Any], *, include_content: bool = False, shape: str = "usage") -> Message:
    """Make the message of a record: a call, its repricing, a budget's mark, a writer's closing ...

    Without `include_content` it has no prompt, answer, header or error text, whatever the record has.
    """
    if shape == "full":
        shown = dict(record)
    elif record.get("type") == USAGE_TYPE:
        shown = _flat(record)
    else:
        fields = FIELDS_OF.get(str(record.get("type")), WRITER_FIELDS)
        shown = {"type": record.get("type"), "timestamp": record.get("timestamp")}
        shown |= {name: _without_raw(name, record[name]) for name in fields if name in record}
    error = record.get("error")
    if isinstance(error, Mapping) and not include_content:
        shown["error"] = {name: item for name, item in error.items() if name != "message"}
    for name in CONTENT:
        shown.pop(name, None)
        if include_content and name in record:
            shown[name] = record[name]
    return shown


def smaller(shown: Message, size: int) -> Iterator[Message]:
    """Yield the message with one part after another left out, each noted in `truncated`.

    `size` was its bytes.
    """
    truncated = list(shown.get("truncated") or [])
    for path in DROPPED_IN_ORDER:
        if _holds(shown, path):
            truncated.append(f"{'.'.join(path)}: dropped, the event had {size} bytes")
            shown = {**_without(shown, path), "truncated": list(truncated)}
            yield shown


def _holds(shown: Message, path: Sequence[str]) -> bool:
    head, *rest = path
    inner = shown.get(head)
    if not rest:
        return bool(inner)
    return isinstance(inner, Mapping) and inner.get(rest[0]) is not None


def _without(shown: Message, path: Sequence[str]) -> Message:
    head, *rest = path
    kept = {name: value for name, value in shown.items() if name != head}
    if rest and (inner := {name: value for name, value in shown[head].items() if name != rest[0]}):
        return shown | {head: inner}
    return kept


def lines(records: Iterable[Mapping[str, Any]], *, include_content: bool, shape: str) -> bytes:
    """Write the messages of records as JSON Lines."""
    shown = (message(record, include_content=include_content, shape=shape) for record in records)
    return "".join(f"{encode(each)}\n" for each in shown).encode()


def encode(shown: Any) -> str:
    """Compact JSON. Half a surrogate pair, which UTF-8 does not know, is written as an escape."""
    try:
        return msgspec.json.encode(shown).decode()
    except ValueError:  # of half a surrogate pair
        text = json.dumps(shown, ensure_ascii=False, separators=(",", ":"))
        return re.sub("[\ud800-\udfff]", lambda half: f"\\u{ord(half[0]):04x}", text)


def cost_usd(record: Mapping[str, Any]) -> float | None:
    """Give what a call cost, as a number; None where that is not known."""
    cost = record.get("cost")
    try:
        return float(cost["usd"]) if isinstance(cost, Mapping) and cost.get("usd") is not None else None
    except (TypeError, ValueError):
        return None


def failed(record: Mapping[str, Any]) -> int:
    """Give 1 for a call that did not end well, else 0."""
    return int(record.get("outcome") not in SERVED)


def _flat(record: Mapping[str, Any]) -> Message:
    first, added = _names(tuple(record))
    shown: Message = {"type": USAGE_TYPE, "timestamp": record.get("timestamp")}
    shown["run_id"] = record.get("event_id")
    shown["event"] = "finish"
    shown.update(zip(first, map(record.__getitem__, first), strict=True))
    if "usage" in shown:
        shown["usage"] = _without_raw("usage", shown["usage"])
    if (usd := cost_usd(record)) is not None:
        shown["cost_usd"] = usd
    shown["failed"] = failed(record)
    shown.update(zip(added, map(record.__getitem__, added), strict=True))
    for name in ADDED[-2:]:
        shown[name] = record.get(name)
    return shown


@lru_cache(maxsize=256)
def _names(present: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Say which of the flat names and of the additions a record with these names has, each in our order.

    Kept, since all events of one version of the proxy have the same names.
    """
    found = set(present)
    return (
        tuple(name for name in FLAT[4:] if name in found),
        tuple(name for name in ADDED[:-2] if name in found),
    )


def _without_raw(name: str, value: Any) -> Any:
    """Leave out the usage as it came: Logs Insights finds only so many fields in an event."""
    if name != "usage" or not isinstance(value, Mapping) or "raw" not in value:
        return value
    return {key: item for key, item in value.items() if key != "raw"}
