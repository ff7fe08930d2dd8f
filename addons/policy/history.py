"""What the calls of each token have used, by endpoint and model: what the next one will use, most likely.

Kept in memory, by each process for itself. Written by the worker's thread, read on the event loop.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping
from typing import Any, NamedTuple

from store.ledger import Finished

KEPT = 100
"""Calls of one token, endpoint and model."""
LEAST = 10
"""Calls from which on they are a measure."""
MOST_KEYS = 10_000

Key = tuple[str, str, str]
"""Token, endpoint, model as it was asked for; an empty one where that is told too late (forms)."""


class Used(NamedTuple):
    tokens: int
    nano_usd: int


class History:
    """The 95th percentile of what was used."""

    def __init__(self) -> None:
        self._calls: OrderedDict[Key, deque[Used]] = OrderedDict()
        self._usual: dict[Key, Used] = {}

    def add(self, finished: Finished, event: Mapping[str, Any]) -> None:
        """Take in a call, if what it used is known."""
        tokens, nano_usd = finished.total_tokens, finished.nano_usd
        if not tokens or nano_usd is None or finished.at_least:
            return
        model = str(event.get("model_requested") or "")
        for name in {model, ""}:
            self._add((finished.token_id, finished.endpoint, name), Used(tokens, nano_usd))

    def usual(self, key: Key) -> Used | None:
        """What 95 in 100 of such calls do not exceed; None before there were enough."""
        return self._usual.get(key)

    def _add(self, key: Key, used: Used) -> None:
        calls = self._calls.setdefault(key, deque(maxlen=KEPT))
        self._calls.move_to_end(key)
        calls.append(used)
        if len(calls) >= LEAST:
            at = len(calls) * 95 // 100
            self._usual[key] = Used(
                sorted(call.tokens for call in calls)[at], sorted(call.nano_usd for call in calls)[at]
            )
        if len(self._calls) > MOST_KEYS:
            oldest, _ = self._calls.popitem(last=False)
            self._usual.pop(oldest, None)
