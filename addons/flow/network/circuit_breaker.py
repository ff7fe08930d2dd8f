"""Break the circuit of an upstream that fails again and again: calls to it are refused for a while.

Closed, all calls pass. It opens after so many failures in a row within the window of option
``llm_circuit_breaker``, and calls are refused for as long as that window. Then it is half open: one call is
let through, and what becomes of it closes or opens the circuit. Each process has its own view.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

logger = logging.getLogger(__name__)

PROBE_SECONDS = 10.0
"""It says how long one call that tries the upstream keeps others from it; an answer may take minutes to
begin."""
FIRST_FAILURE = 500
"""Statuses from here on say that the upstream failed, not the call."""


@dataclass(frozen=True, slots=True)
class BreakerRule:
    """Says when a circuit opens, and for how long."""

    failures: int
    seconds: int


@dataclass(slots=True)
class _Circuit:
    """Holds the state of an upstream that has failed since it last answered."""

    failures: deque[float] = field(default_factory=deque)
    opened_at: float | None = None
    probe: str | None = None
    """Id of the call that tries whether the upstream answers again."""
    probed_at: float = 0.0


class CircuitBreaker:
    """Keeps the circuits of all upstreams, by their names."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._circuits: dict[str, _Circuit] = {}
        self._openings: dict[str, int] = {}

    def seconds_to_wait(self, upstream: str, rule: BreakerRule, call_id: str) -> float | None:
        """Return how long a call has to wait; None lets it through, which may make it the probe."""
        circuit = self._circuits.get(upstream)
        if circuit is None or circuit.opened_at is None:
            return None
        now = self._clock()
        if (left := circuit.opened_at + rule.seconds - now) > 0:
            return left
        if circuit.probe is not None and (left := circuit.probed_at + PROBE_SECONDS - now) > 0:
            return left
        circuit.probe, circuit.probed_at = call_id, now
        return None

    def note_failure(self, upstream: str, rule: BreakerRule, call_id: str) -> None:
        """Count a call that the upstream failed; may open its circuit."""
        circuit = self._circuits.setdefault(upstream, _Circuit())
        now = self._clock()
        if circuit.opened_at is not None:
            if circuit.probe == call_id:
                self._open(upstream, circuit, now)
            return  # what began before it was opened says nothing new
        circuit.failures.append(now)
        while circuit.failures[0] < now - rule.seconds:
            circuit.failures.popleft()
        if len(circuit.failures) >= rule.failures:
            self._open(upstream, circuit, now)
            logger.warning(
                "llmproxy: %s failed %d times in a row within %d s; calls to it are refused until it answers",
                upstream,
                rule.failures,
                rule.seconds,
            )

    def note_answer(self, upstream: str, call_id: str) -> None:
        """Take note that the upstream has answered; closes its circuit where the call was the probe."""
        circuit = self._circuits.get(upstream)
        if circuit is None or (circuit.opened_at is not None and circuit.probe != call_id):
            return
        del self._circuits[upstream]
        if circuit.opened_at is not None:
            logger.warning("llmproxy: %s answers again; calls to it pass", upstream)

    def forget_probe(self, upstream: str, call_id: str) -> None:
        """Let another call be the probe: the client of this one has left."""
        circuit = self._circuits.get(upstream)
        if circuit is not None and circuit.probe == call_id:
            circuit.probe = None

    def figures(self) -> dict[str, Any]:
        """Say which circuits are not closed, and how often each was opened."""
        now = self._clock()
        opened = {
            name: {
                "state": "open" if circuit.probe is None else "half_open",
                "seconds": round(now - circuit.opened_at),
            }
            for name, circuit in self._circuits.items()
            if circuit.opened_at is not None
        }
        return {
            "circuits": opened,
            "circuits_open": len(opened),
            "circuit_openings": dict(self._openings),
        }

    def _open(self, upstream: str, circuit: _Circuit, now: float) -> None:
        circuit.opened_at, circuit.probe = now, None
        circuit.failures.clear()
        self._openings[upstream] = self._openings.get(upstream, 0) + 1
