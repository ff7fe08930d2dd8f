"""What the calls of one token came to, read from the spool while they are made."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from store.spool import segment


@dataclass(slots=True)
class Spent:
    """Calls, tokens and dollars."""

    calls: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    input_tokens: int = 0
    output_tokens: int = 0
    usd: Decimal = Decimal(0)
    unpriced: int = 0
    """Calls that used tokens whose price is not known."""

    def add(self, event: dict[str, Any]) -> None:
        self.calls += 1
        self.outcomes[str(event.get("outcome"))] += 1
        if event.get("model"):
            self.models[str(event["model"])] += 1
        usage = event.get("usage") or {}
        self.input_tokens += usage.get("input_tokens") or 0
        self.output_tokens += usage.get("output_tokens") or 0
        try:
            self.usd += Decimal((event.get("cost") or {})["usd"])
        except (KeyError, TypeError, InvalidOperation):
            self.unpriced += bool(usage)

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
        """One line for people."""
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
                        self._take(line)
            except FileNotFoundError:
                continue
        return self.spent

    def _take(self, line: bytes) -> None:
        if self._token_id.encode() not in line:
            return
        try:
            event = json.loads(line)
        except ValueError:
            return
        if event.get("token_id") == self._token_id and event.get("type") == "llm_proxy_usage":
            self.spent.add(event)
