"""Put metrics within log messages: CloudWatch's embedded metric format.

Source: "Specification: Embedded metric format" of the CloudWatch user guide. A message gets a member ``_aws``
that names which of its root members are metrics and which are dimensions. Each distinct combination of
dimension values is a metric that is billed, so dimensions are few, and the values of each are bounded: beyond
the bound they become ``other``. Metrics are operational: a message that is sent twice counts twice.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from dispatch.errors import Misconfigured
from dispatch.message import cost_usd, failed
from store.core.event import USAGE_TYPE

NAMESPACE = "LLMProxy"
DIMENSIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "project": ("Project", ("project_name",)),
    "model": ("Model", ("model",)),
    "endpoint": ("Endpoint", ("endpoint",)),
    "outcome": ("Outcome", ("outcome",)),
    "service_tier": ("ServiceTier", ("service_tier",)),
    "status": ("Status", ("status",)),
    "token": ("Token", ("token_id",)),
    "user": ("User", ("user", "id")),
}
"""It is what may be a dimension: its name in CloudWatch, and where its value is. Never the id of a
request."""
DEFAULT_DIMENSIONS = ("project", "model", "endpoint", "outcome")
MAX_VALUES = 100
"""Distinct values of one dimension in one run of the dispatcher; the others count as OTHER."""
OTHER, UNKNOWN = "other", "unknown"
MAX_LENGTH = 256
MAX_NUMBER = 2.0**360

METRICS: dict[str, tuple[str, tuple[str, ...]]] = {
    "Calls": ("Count", ()),
    "Failures": ("Count", ("failed",)),
    "SpendUSD": ("None", ("cost_usd",)),
    "InputTokens": ("Count", ("usage", "input_tokens")),
    "OutputTokens": ("Count", ("usage", "output_tokens")),
    "CachedTokens": ("Count", ("usage", "input_tokens_details", "cached_tokens")),
    "Duration": ("Milliseconds", ("duration_ms",)),
    "TimeToFirstToken": ("Milliseconds", ("time_to_first_token_ms",)),
}
"""Unit, and where the number is in the flat message; no path means 1. `setup --metrics filters` makes the
same metrics by metric filters."""


class EmbeddedMetrics:
    """Adds metrics to messages of calls."""

    def __init__(
        self,
        dimensions: Sequence[str] = DEFAULT_DIMENSIONS,
        *,
        namespace: str = NAMESPACE,
        max_values: int = MAX_VALUES,
    ) -> None:
        """Make one metric for all calls, and one for each value of each dimension.

        ``project+model`` is a combination. Raises Misconfigured for a dimension that does not exist.
        """
        self._namespace = namespace
        self._max_values = max_values
        self._sets = [chosen.split("+") for chosen in dimensions]
        for name in {name for names in self._sets for name in names}:
            if name not in DIMENSIONS:
                raise Misconfigured(f"--emf-dimension {name}: not one of {', '.join(DIMENSIONS)}.")
        self._names = sorted({name for names in self._sets for name in names})
        self._seen: dict[str, set[str]] = {name: set() for name in self._names}
        self._lock = threading.Lock()

    def add_to(self, shown: Mapping[str, Any], record: Mapping[str, Any], timestamp: int) -> dict[str, Any]:
        """Give the message with its metrics; as it is where it is not of a call.

        `timestamp` in milliseconds.
        """
        if record.get("type") != USAGE_TYPE:
            return dict(shown)
        source = {**record, "failed": failed(record), "cost_usd": cost_usd(record)}
        numbers: dict[str, float] = {}
        for name, (_, path) in METRICS.items():
            value = at(source, path) if path else 1
            if _is_number(value):
                numbers[name] = value
        values = {DIMENSIONS[name][0]: self._value(name, record) for name in self._names}
        directive = {
            "Namespace": self._namespace,
            "Dimensions": [[], *([DIMENSIONS[name][0] for name in names] for names in self._sets)],
            "Metrics": [{"Name": name, "Unit": METRICS[name][0]} for name in numbers],
        }
        return {
            **shown,
            "_aws": {"Timestamp": timestamp, "CloudWatchMetrics": [directive]},
            **values,
            **numbers,
        }

    def _value(self, name: str, record: Mapping[str, Any]) -> str:
        """Give printable ASCII that is not blank and does not begin with a colon (PutMetricData)."""
        found = at(record, DIMENSIONS[name][1])
        text = "" if found is None else str(found)
        text = text.encode("ascii", "replace").decode()[:MAX_LENGTH].strip().lstrip(":")
        text = "".join(character if character.isprintable() else "?" for character in text) or UNKNOWN
        with self._lock:
            seen = self._seen[name]
            if text not in seen:
                if len(seen) >= self._max_values:
                    return OTHER
                seen.add(text)
        return text


def at(value: Any, path: Sequence[str]) -> Any:
    """Give what is at a path of member names; None where it ends early."""
    for name in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_NUMBER
