"""Sum what the calls of one token came to, read from the spool while they are made."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from store.core.event import UsageEvent
from store.core.event_fields import read_call
from store.spool import parse, segment


@dataclass(slots=True)
class Spent:
    """Counts calls, tokens and dollars."""

    calls: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    input_tokens: int = 0
    output_tokens: int = 0
    usd: Decimal = Decimal(0)
    unpriced: int = 0
    """Calls that used tokens whose price is not known."""

    def take(self, line: bytes, token_id: str) -> None:
        """Add the call in a line of the spool, if it is one of the token."""
        event = read_call(parse(line) or {}) if token_id.encode() in line else None
        if isinstance(event, UsageEvent) and event.token_id == token_id:
            self.add(event)

    def add(self, event: UsageEvent) -> None:
        self.calls += 1
        self.outcomes[str(event.outcome)] += 1
        if event.model:
            self.models[event.model] += 1
        usage = event.usage
        if usage is not None:
            self.input_tokens += usage.input_tokens or 0
            self.output_tokens += usage.output_tokens or 0
        try:
            self.usd += Decimal(str(event.cost.usd if event.cost else None))
        except InvalidOperation:
            self.unpriced += usage is not None

    def as_dict(self) -> dict[str, Any]:
        return {
            "calls": self.calls,
            "outcomes": dict(self.outcomes),
            "models": dict(self.models),
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "usd": format(self.usd.normalize(), "f"),
            "unpriced_calls": self.unpriced,
        }

    def __str__(self) -> str:
        """Give one line for people."""
        if not self.calls:
            return "no calls"
        others = ", ".join(
            f"{count} {outcome}" for outcome, count in self.outcomes.items() if outcome != "ok"
        )
        tokens = self.input_tokens + self.output_tokens
        parts = [
            f"{self.calls} call{'s' if self.calls > 1 else ''}" + (f" ({others})" if others else ""),
            ", ".join(self.models),
            f"{self.input_tokens:,}→{self.output_tokens:,} tokens" if tokens else "",
            f"${self.usd.normalize():f}" + (f" and {self.unpriced} unpriced" if self.unpriced else ""),
        ]
        return " · ".join(part for part in parts if part)


class Watch:
    """Follows a spool from now on, for the events of one token."""

    def __init__(self, spool: Path, token_id: str) -> None:
        self.spent = Spent()
        self._spool = spool
        self._token_id = token_id
        self._offsets = {path.name: path.stat().st_size for path in segment.segments(spool)}

    def look(self) -> Spent:
        """Take in what was written since; call it more often than a dispatcher removes segments."""
        for path in segment.segments(self._spool):
            try:
                with path.open("rb") as file:
                    file.seek(self._offsets.get(path.name, 0))
                    for line in file:
                        if not line.endswith(b"\n"):
                            break
                        self._offsets[path.name] = self._offsets.get(path.name, 0) + len(line)
                        self.spent.take(line, self._token_id)
            except FileNotFoundError:
                continue
        return self.spent
