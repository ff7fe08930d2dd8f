"""Print what ``scripts/up`` says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from scripts.client import client_environment
from scripts.quickstart.credentials import TOKEN_DAYS, Credentials
from store.core.codes import Outcome
from store.core.event import SESSION_TYPE, USAGE_TYPE, Cost, Error, SessionRecord, Usage, UsageEvent
from store.core.event_fields import read_record
from store.core.printable import printable

LONGEST_REASON = 120
"""Characters of why a call was refused: the line goes on beside it."""

console = Console(highlight=False, soft_wrap=True)


def progress(text: str) -> None:
    console.print(text, markup=False)


def standin_notice(address: str) -> None:
    progress(
        f"No OPENAI_API_KEY: a local stand-in for the API answers at {address}; everything else is real."
    )


def first_event(record: Mapping[str, Any], credentials: Credentials, events: Path) -> None:
    """Print the event of the first call in five lines."""
    event = read_record(record, UsageEvent)
    usage, cost = event.usage or Usage(), event.cost or Cost()
    price = f"${cost.usd}, by {cost.price_source}" if cost.usd else "unknown"
    rows = {
        "call": f"{event.method} {event.path}, {event.model or 'no model'}",
        "outcome": f"{event.outcome}, status {event.status}, {event.duration_ms} ms",
        "paid by": f"project {credentials.project}, token {credentials.token_id}",
        "usage": f"{usage.input_tokens} tokens in, {usage.output_tokens} out, by {usage.source or 'nobody'}",
        "cost": price,
    }
    progress(f"Its event, as the dispatcher wrote it (all of it: {events}):")
    for name, value in rows.items():
        progress(f"  {name:<8} {printable(value)}")


def in_cloudwatch(message: str) -> None:
    """Print the event as CloudWatch Logs holds it."""
    progress("The same in CloudWatch Logs (moto, on this machine):")
    progress(f"  {printable(message)}")


def lines_to_paste(changes: Mapping[str, str | None], credentials: Credentials, web: str | None) -> None:
    """Print what puts a client behind the proxy; it comes last, where the eye and the mouse are."""
    if web:
        progress(f"Look at calls as they happen: {web}")
    progress(f"The token belongs to project {credentials.project!r} and is good for {TOKEN_DAYS} days.")
    progress("To use it, paste these lines into the shell of your OpenAI client:\n")
    for line in client_environment.paste(changes):
        progress(f"  {line}")


def one_line(record: Mapping[str, Any]) -> None:
    """Show a call, or the end of a session, while it all runs; other records are not shown."""
    if record.get("type") == SESSION_TYPE:
        session = read_record(record, SessionRecord)
        _print_line(session, [f"session over, answers: {session.responses or 0}"])
    elif record.get("type") == USAGE_TYPE:
        event = read_record(record, UsageEvent)
        _print_line(event, _figures(event))


def _print_line(event: UsageEvent | SessionRecord, figures: Sequence[str]) -> None:
    parts = [
        (event.timestamp or "")[11:19],
        str(event.status or ""),
        event.path or "",
        event.model or "",
        *figures,
        f"{event.duration_ms} ms" if event.duration_ms is not None else "",
        f"project {event.project_name}" if event.project_name else "",
        f"token {event.token_id}" if event.token_id else "",
        _trouble(event),
    ]
    progress(printable("  ".join(part for part in parts if part)))


def _figures(event: UsageEvent) -> list[str]:
    usage, cost = event.usage or Usage(), event.cost or Cost()
    tokens = [f"{usage.total_tokens} tokens"] if usage.total_tokens is not None else []
    price = f"${cost.usd}" if cost.usd else "no price"
    return [*tokens, price] if tokens or cost.usd else []


def _trouble(event: UsageEvent | SessionRecord) -> str:
    """Say how a call ended that did not end well, with the code; of a refusal also why.

    What the API said of an error may quote what was asked, and is left out.
    """
    if event.outcome in (None, Outcome.OK):
        return ""
    error = event.error or Error()
    reason = _first_sentence(error.message) if error.message and event.outcome == Outcome.REFUSED else None
    return ": ".join(part for part in (event.outcome, error.code, reason) if part)


def _first_sentence(text: str) -> str:
    sentence = re.split(r"(?<=\.)\s", printable(text), maxsplit=1)[0]
    return sentence if len(sentence) <= LONGEST_REASON else f"{sentence[: LONGEST_REASON - 1]}…"
