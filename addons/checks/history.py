"""Remember what calls of each token have used, by endpoint and model: the next ones will use about as much.

Kept in memory, by each process for itself. Written by the worker's thread, read on the event loop. A process
that has just begun goes by the hourly sums of the last week: by twice the average that they give.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict, deque
from typing import NamedTuple

from addons.openai.requested_model import DATE
from store.core.errors import StoreError
from store.database.engine import Engine
from store.ledger import Finished

logger = logging.getLogger(__name__)

KEPT = 100
"""Calls of one token, endpoint and model."""
LEAST = 10
"""Calls from which on they are a measure."""
MOST_KEYS = 10_000
SEED_HOURS = 7 * 24
SEED_TIMES = 2
"""It is that of the average, before there is more than that."""
SEEDS = (
    "SELECT token_id, endpoint, model, SUM(calls - refused - failed - unreported) AS calls, "
    "SUM(total_tokens) AS tokens, SUM(nano_usd) AS nano_usd FROM usage_hours WHERE hour >= :since "
    "GROUP BY token_id, endpoint, model HAVING SUM(calls - refused - failed - unreported) >= :least "
    "ORDER BY SUM(calls) DESC LIMIT :most"
)

Key = tuple[str, str, str]
"""Token, endpoint, model as it was asked for; an empty one where that is told too late (forms)."""


class Used(NamedTuple):
    tokens: int
    nano_usd: int


class History:
    """Gives the 95th percentile of what was used."""

    def __init__(self) -> None:
        self._calls: OrderedDict[Key, deque[Used]] = OrderedDict()
        self._usual: dict[Key, Used] = {}
        """They are kept from when they were last asked for, and forgotten with the next call."""
        self._seeds: dict[Key, Used] = {}
        """By the model that answered, without its date."""

    def seed(self, engine: Engine) -> None:
        """Read what the store has kept of earlier calls; takes as long as reading the sums of a week."""
        try:
            connection = engine.connect()
            since = int(time.time()) // 3600 - SEED_HOURS
            rows = connection.rows(SEEDS, since=since, least=LEAST, most=MOST_KEYS)
            connection.close()
        except StoreError as error:
            logger.warning("llmproxy: calls are expected to use what first calls do: %s", error)
            return
        for row in rows:
            calls = int(row["calls"])
            used = Used(*(SEED_TIMES * int(row[name]) // calls for name in ("tokens", "nano_usd")))
            key = (row["token_id"], row["endpoint"], _undated(row["model"]))
            if used.tokens:
                self._seeds[key] = max(used, self._seeds.get(key, used))

    def add(self, finished: Finished, model_requested: str | None) -> None:
        """Take in a call, if what it used is known."""
        tokens, nano_usd = finished.total_tokens, finished.nano_usd
        if not tokens or nano_usd is None or finished.at_least:
            return
        for name in {model_requested or "", ""}:
            self._add((finished.token_id, finished.endpoint, name), Used(tokens, nano_usd))

    def usual(self, key: Key) -> Used | None:
        """Give what 95 in 100 of such calls do not exceed; None before there were enough."""
        token, endpoint, model = key
        found = self._usual.get(key) or self._worked_out(key)
        return found or self._seeds.get((token, endpoint, _undated(model)))

    def _worked_out(self, key: Key) -> Used | None:
        calls = self._calls.get(key)
        if calls is None or len(calls) < LEAST:
            return None
        made = list(calls)
        at = len(made) * 95 // 100
        found = Used(sorted(call.tokens for call in made)[at], sorted(call.nano_usd for call in made)[at])
        self._usual[key] = found
        return found

    def _add(self, key: Key, used: Used) -> None:
        calls = self._calls.setdefault(key, deque(maxlen=KEPT))
        self._calls.move_to_end(key)
        calls.append(used)
        self._usual.pop(key, None)
        if len(self._calls) > MOST_KEYS:
            oldest, _ = self._calls.popitem(last=False)
            self._usual.pop(oldest, None)


def _undated(model: str) -> str:
    return DATE.sub("", model.lower())
