"""What a call came to, in a line, in a mark, in the head of its view, and summed over many calls.

Pure functions over events (docs/event.md), with or without their content.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

Event = Mapping[str, Any]

REFUSED, FAILED, ABORTED = ":no_entry:", ":x:", ":scissors:"

MARKS = {
    "refused": REFUSED,
    "http_error": FAILED,
    "upstream_aborted": FAILED,
    "timeout": FAILED,
    "client_aborted": ABORTED,
    "shutdown": ABORTED,
    "budget_ended": ABORTED,
}
"""By outcome, the emoji that mitmweb shows beside a flow; none for calls that went well."""

SUMMED_BY: dict[str, Callable[[Event], str]] = {
    "model": lambda event: _text(event.get("model")) or "unknown model",
    "project": lambda event: _text(event.get("project_name")) or "no project",
    "token": lambda event: _text(event.get("token_id")) or "no token",
}


def mark(event: Event) -> str:
    """The mark of a call; empty where it went well."""
    return MARKS.get(str(event.get("outcome")), "")


def comment(event: Event) -> str:
    """The line that stands beside a flow.

    >>> usage = {"input_tokens": 1204, "output_tokens": 356, "source": "api"}
    >>> comment({"outcome": "ok", "model": "gpt-4o-mini", "usage": usage, "cost": {"usd": "0.000394"},
    ...          "duration_ms": 1934, "project_name": "team-a"})
    'gpt-4o-mini · 1,204→356 tok · $0.0004 · 1.9 s · team-a'
    """
    return " · ".join(
        part
        for part in (
            _trouble(event),
            _text(event.get("model")),
            tokens(event.get("usage")),
            cost(event),
            _seconds(event.get("duration_ms")),
            _text(event.get("project_name")),
        )
        if part
    )


def tokens(usage: object) -> str:
    """``1,204→356 tok``; ``~`` before figures that are not as reported, ``?`` for a side that is unknown."""
    if not isinstance(usage, Mapping):
        return ""
    sides = [usage.get(f"{side}_tokens") for side in ("input", "output")]
    if sides == [None, None]:
        units = ("seconds", "s"), ("characters", "characters"), ("images", "images")
        return next((f"{usage[name]:,} {unit}" for name, unit in units if usage.get(name) is not None), "")
    about = "" if usage.get("source", "api") == "api" else "~"
    shown = ["?" if side is None else f"{side:,}" for side in sides]
    return f"{about}{shown[0]}→{shown[1]} tok"


def cost(event: Event) -> str:
    """``$0.0004``; ``≥`` before a lower bound, ``$?`` where usage is known and its price is not."""
    held = event.get("cost")
    if not isinstance(held, Mapping):
        return ""
    usd = _decimal(held.get("usd"))
    if usd is None:
        return "$?"
    return ("≥" if held.get("missing") else "") + dollars(usd)


def dollars(usd: Decimal) -> str:
    """Four decimals, or as many as two digits need.

    >>> [dollars(Decimal(usd)) for usd in ("0.000394", "12.5", "0.0000111", "0")]
    ['$0.0004', '$12.5000', '$0.000011', '$0.0000']
    """
    places = 4 if not usd or usd >= Decimal("0.0001") else 1 - usd.adjusted()
    return f"${usd:,.{places}f}"


def head(event: Event) -> Iterator[str]:
    """The lines above an answer: what is known of the call beside what was said."""
    if line := comment(event):
        yield line
    for label, value in (
        ("error", _joined(event.get("error"))),
        ("tokens", _usage(event.get("usage"))),
        ("no usage", _text(event.get("usage_missing"))),
        ("cost", _cost(event.get("cost"))),
        ("tools ran", _joined(event.get("hosted_tools"))),
        ("times", _times(event)),
        ("finish", ", ".join(map(str, event.get("finish_reasons") or ()))),
        ("token", _text(event.get("token_id"))),
        ("labels", _joined(event.get("token_metadata"))),
        ("request", _joined(event.get("request_metadata"))),
        ("user", _text((event.get("user") or {}).get("id"))),
        ("claims", _joined(event.get("user_claims"))),
        ("not whole", "; ".join(map(str, event.get("truncated") or ()))),
        ("ids", " ".join(filter(None, map(_text, map(event.get, ("event_id", "response_id")))))),
    ):
        if value:
            yield f"{label:<10}{value}"


@dataclass(slots=True)
class Sum:
    """What several calls came to."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    usd: Decimal = Decimal(0)
    unpriced: int = 0
    """Calls whose usage is known and whose price is not."""
    lower_bound: bool = False

    def add(self, event: Event) -> None:
        self.calls += 1
        usage, held = event.get("usage"), event.get("cost")
        if isinstance(usage, Mapping):
            self.input_tokens += usage.get("input_tokens") or 0
            self.output_tokens += usage.get("output_tokens") or 0
        if isinstance(held, Mapping):
            usd = _decimal(held.get("usd"))
            self.usd += usd or 0
            self.unpriced += usd is None
            self.lower_bound = self.lower_bound or usd is None or bool(held.get("missing"))

    def __str__(self) -> str:
        calls = f"{self.calls:,} call{'' if self.calls == 1 else 's'}"
        money = ("≥" if self.lower_bound else "") + dollars(self.usd)
        unpriced = f" · {self.unpriced:,} unpriced" if self.unpriced else ""
        return f"{calls} · {self.input_tokens:,}→{self.output_tokens:,} tok · {money}{unpriced}"


def spend(events: Iterable[Event], by: str) -> list[str]:
    """A line for each model, project or token, the dearest first, and one for all."""
    sums: dict[str, Sum] = {}
    whole = Sum()
    for event in events:
        sums.setdefault(SUMMED_BY[by](event), Sum()).add(event)
        whole.add(event)
    ordered = sorted(sums.items(), key=lambda entry: (-entry[1].usd, entry[0]))
    return [f"{name}: {found}" for name, found in ordered] + [f"all: {whole}"]


def _trouble(event: Event) -> str:
    """What went wrong, in a word or two."""
    outcome = str(event.get("outcome") or "ok")
    if outcome == "ok":
        return ""
    error = event.get("error")
    code = (error.get("code") or error.get("type")) if isinstance(error, Mapping) else None
    what = event.get("status") if outcome == "http_error" else outcome
    return f"{what} {code}" if code and code != outcome else str(what)


def _usage(usage: object) -> str:
    if not isinstance(usage, Mapping):
        return ""
    details = [
        f"{side} {name} {count:,}"
        for side in ("input", "output")
        for name, count in (usage.get(f"{side}_tokens_details") or {}).items()
        if isinstance(count, int) and count
    ]
    missing = "; without " + ", ".join(map(str, usage["missing"])) if usage.get("missing") else ""
    return f"{tokens(usage)} ({', '.join([*details, str(usage.get('source'))])}){missing}"


def _cost(held: object) -> str:
    if not isinstance(held, Mapping):
        return ""
    usd = f"${held['usd']}" if held.get("usd") is not None else "not known"
    return " · ".join(str(part) for part in (usd, held.get("price_source"), held.get("missing")) if part)


def _times(event: Event) -> str:
    named = (
        ("first byte", event.get("time_to_first_byte_ms")),
        ("first token", event.get("time_to_first_token_ms")),
        ("whole", event.get("duration_ms")),
    )
    return ", ".join(f"{name} {ms:,} ms" for name, ms in named if ms is not None)


def _joined(value: object) -> str:
    if not isinstance(value, Mapping):
        return ""
    return ", ".join(f"{key} {item}" for key, item in value.items() if item not in (None, ""))


def _seconds(ms: object) -> str:
    if not isinstance(ms, int | float):
        return ""
    return f"{ms / 1000:.1f} s" if ms >= 1000 else f"{ms} ms"


def _decimal(value: object) -> Decimal | None:
    try:
        number = Decimal(str(value)) if value is not None else None
    except InvalidOperation:
        return None
    return number if number is not None and number.is_finite() else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
