"""Show what a call came to: in a line, in a mark, in the head of its view, and summed over many calls.

Pure functions over events (docs/event.md), with or without their content.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from msgspec import UNSET

from store.core.codes import Outcome, UsageSource
from store.core.event import Cost, Error, Usage, UsageEvent

REFUSED, FAILED, ABORTED = ":no_entry:", ":x:", ":scissors:"

MARKS = {
    Outcome.REFUSED: REFUSED,
    Outcome.HTTP_ERROR: FAILED,
    Outcome.UPSTREAM_ABORTED: FAILED,
    Outcome.TIMEOUT: FAILED,
    Outcome.CLIENT_ABORTED: ABORTED,
    Outcome.SHUTDOWN: ABORTED,
    Outcome.BUDGET_ENDED: ABORTED,
}
"""The emoji that mitmweb shows beside a flow; none for calls that went well."""

SUMMED_BY: dict[str, Callable[[UsageEvent], str]] = {
    "model": lambda event: event.model or "unknown model",
    "project": lambda event: event.project_name or "no project",
    "token": lambda event: event.token_id or "no token",
}


def mark(event: UsageEvent) -> str:
    """Give the mark of a call; empty where it went well."""
    return MARKS.get(event.outcome, "") if event.outcome else ""


def comment(event: UsageEvent) -> str:
    """Give the line that stands beside a flow.

    >>> usage = Usage(1204, 356, source=UsageSource.API)
    >>> comment(UsageEvent(outcome=Outcome.OK, model="gpt-4o-mini", usage=usage, cost=Cost("0.000394"),
    ...                    duration_ms=1934, project_name="team-a"))
    'gpt-4o-mini · 1,204→356 tok · $0.0004 · 1.9 s · team-a'
    """
    return " · ".join(
        part
        for part in (
            _trouble(event),
            event.model,
            tokens(event.usage),
            saved(event) or cost(event),
            _seconds(event.duration_ms),
            event.project_name,
        )
        if part
    )


def tokens(usage: Usage | None) -> str:
    """Write ``1,204→356 tok``; ``~`` before figures that are not as reported, ``?`` for an unknown side."""
    if usage is None:
        return ""
    sides = [usage.input_tokens, usage.output_tokens]
    if sides == [None, None]:
        units = (usage.seconds, "s"), (usage.characters, "characters"), (usage.images, "images")
        return next((f"{count:,} {unit}" for count, unit in units if count is not UNSET), "")
    about = "" if usage.source in (UsageSource.API, UNSET) else "~"
    shown = ["?" if side is None else f"{side:,}" for side in sides]
    return f"{about}{shown[0]}→{shown[1]} tok"


def cost(event: UsageEvent) -> str:
    """Write ``$0.0004``; ``≥`` before a lower bound, ``$?`` where usage is known and its price is not."""
    held = event.cost
    if held is None:
        return ""
    usd = _decimal(held.usd)
    if usd is None:
        return "$?"
    return ("≥" if held.missing else "") + dollars(usd)


def saved(event: UsageEvent) -> str:
    """Write ``cached, saves $0.0004``, of an answer from the cache; empty for any other."""
    if event.saved is UNSET:
        return ""
    usd = _decimal(event.saved.usd)
    return "cached" if usd is None else f"cached, saves {dollars(usd)}"


def dollars(usd: Decimal) -> str:
    """Write dollars with four decimals, or as many as two digits need.

    >>> [dollars(Decimal(usd)) for usd in ("0.000394", "12.5", "0.0000111", "0")]
    ['$0.0004', '$12.5000', '$0.000011', '$0.0000']
    """
    places = 4 if not usd or usd >= Decimal("0.0001") else 1 - usd.adjusted()
    return f"${usd:,.{places}f}"


def head(event: UsageEvent) -> Iterator[str]:
    """Give the lines above an answer: what is known of the call beside what was said."""
    if line := comment(event):
        yield line
    for label, value in (
        ("error", _error(event.error)),
        ("tokens", _usage(event.usage)),
        ("no usage", event.usage_missing),
        ("cost", _cost(event.cost)),
        ("cache", saved(event)),
        ("tools ran", _joined(event.hosted_tools)),
        ("times", _times(event)),
        ("finish", ", ".join(event.finish_reasons)),
        ("token", event.token_id),
        ("labels", _joined(event.token_metadata)),
        ("request", _joined(event.request_metadata)),
        ("user", event.user.id if event.user else None),
        ("claims", _joined(event.user_claims)),
        ("not whole", "; ".join(event.truncated)),
        ("ids", " ".join(filter(None, (event.event_id, event.response_id)))),
    ):
        if value:
            yield f"{label:<10}{value}"


@dataclass(slots=True)
class Sum:
    """Holds what several calls came to."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    usd: Decimal = Decimal(0)
    unpriced: int = 0
    """Calls whose usage is known and whose price is not."""
    lower_bound: bool = False

    def add(self, event: UsageEvent) -> None:
        self.calls += 1
        if event.usage is not None:
            self.input_tokens += event.usage.input_tokens or 0
            self.output_tokens += event.usage.output_tokens or 0
        if event.cost is not None:
            usd = _decimal(event.cost.usd)
            self.usd += usd or 0
            self.unpriced += usd is None
            self.lower_bound = self.lower_bound or usd is None or bool(event.cost.missing)

    def __str__(self) -> str:
        calls = f"{self.calls:,} call{'' if self.calls == 1 else 's'}"
        money = ("≥" if self.lower_bound else "") + dollars(self.usd)
        unpriced = f" · {self.unpriced:,} unpriced" if self.unpriced else ""
        return f"{calls} · {self.input_tokens:,}→{self.output_tokens:,} tok · {money}{unpriced}"


def spend(events: Iterable[UsageEvent], by: str) -> list[str]:
    """Give a line for each model, project or token, the dearest first, and one for all."""
    sums: dict[str, Sum] = {}
    whole = Sum()
    for event in events:
        sums.setdefault(SUMMED_BY[by](event), Sum()).add(event)
        whole.add(event)
    ordered = sorted(sums.items(), key=lambda entry: (-entry[1].usd, entry[0]))
    return [f"{name}: {found}" for name, found in ordered] + [f"all: {whole}"]


def _trouble(event: UsageEvent) -> str:
    """Give what went wrong, in a word or two."""
    outcome = event.outcome or Outcome.OK
    if outcome == Outcome.OK:
        return ""
    error = event.error
    code = (error.code or error.type) if error else None
    what = str(event.status) if outcome == Outcome.HTTP_ERROR else outcome
    return f"{what} {code}" if code and code != outcome else what


def _error(error: Error | None) -> str:
    if error is None:
        return ""
    return _joined({"type": error.type, "code": error.code, "message": error.message})


def _usage(usage: Usage | None) -> str:
    if usage is None:
        return ""
    details = [
        f"{side} {name} {count:,}"
        for side, held in (("input", usage.input_tokens_details), ("output", usage.output_tokens_details))
        for name, count in held.items()
        if isinstance(count, int) and count
    ]
    missing = "; without " + ", ".join(usage.missing) if usage.missing else ""
    source = [] if usage.source is UNSET else [usage.source]
    return f"{tokens(usage)} ({', '.join([*details, *source])}){missing}"


def _cost(held: Cost | None) -> str:
    if held is None:
        return ""
    usd = f"${held.usd}" if held.usd is not None else "not known"
    return " · ".join(part for part in (usd, held.price_source, held.missing) if part)


def _times(event: UsageEvent) -> str:
    named = (
        ("first byte", event.time_to_first_byte_ms),
        ("first token", event.time_to_first_token_ms),
        ("whole", event.duration_ms),
    )
    return ", ".join(f"{name} {ms:,} ms" for name, ms in named if ms is not None)


def _joined(value: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {item}" for key, item in value.items() if item not in (None, ""))


def _seconds(ms: int | None) -> str:
    if ms is None:
        return ""
    return f"{ms / 1000:.1f} s" if ms >= 1000 else f"{ms} ms"


def _decimal(usd: str | None) -> Decimal | None:
    try:
        number = Decimal(usd) if usd is not None else None
    except InvalidOperation:
        return None
    return number if number is not None and number.is_finite() else None
