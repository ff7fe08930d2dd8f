"""From the event of a call to what the ledger and the roll-ups take of it.

It is the same for an event that was just written and for one that is read again because its writer died.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from store.event import SESSION_TYPE, USAGE_TYPE
from store.ledger.claims import Finished
from store.rollups import line_of, nano_usd, seconds_of

UNBILLED = ("failed", "unbilled", "other_unit", "counted")
"""Values of `usage_missing_code` of calls that use no tokens."""


def finished_of(event: Mapping[str, Any], *, seq: int | None = None, sent: bool = True) -> Finished | None:
    """What became of a call, or of a session; None of any other record.

    `seq`: its number, where the event does not have it yet. `sent`: whether the request had gone to an
    upstream; an event does not tell, so of one that is read again it is assumed.
    """
    kind = event.get("type")
    if kind not in (USAGE_TYPE, SESSION_TYPE):
        return None
    usage, client, user, shown = (_map(event.get(name)) for name in ("usage", "client", "user", "usage_of"))
    is_call = kind == USAGE_TYPE
    tokens, nano = _billed(event, usage, sent=sent) if is_call else (0, 0)
    return Finished(
        call_id=str(event.get("event_id")),
        token_id=_text(event.get("token_id")) or "",
        project_id=_text(event.get("project_id")) or "",
        at=seconds_of(event.get("timestamp")),
        outcome=str(event.get("outcome")),
        endpoint=str(event.get("endpoint")),
        seq=seq or _count(event.get("seq")) or 0,
        model=_text(event.get("model")),
        user_id=_text(user.get("id")),
        address=_text(client.get("ip")),
        input_tokens=_count(usage.get("input_tokens")),
        cached_tokens=_count(_map(usage.get("input_tokens_details")).get("cached_tokens")),
        output_tokens=_count(usage.get("output_tokens")),
        total_tokens=tokens,
        nano_usd=nano,
        at_least=_is_lower_bound(event, usage),
        request=is_call,
        line=line_of(event),
        asked_by=_text(shown.get("asked_by")),
        corrects=_text(shown.get("made_by")),
    )


def _billed(
    event: Mapping[str, Any], usage: Mapping[str, Any], *, sent: bool
) -> tuple[int | None, int | None]:
    """Tokens and nano-USD: 0 where nothing is billed, None where it is unknown."""
    if not usage:
        status, code = event.get("status"), str(event.get("usage_missing_code"))
        failed = isinstance(status, int) and status >= 400
        never_sent = status is None and not sent
        nothing = failed or never_sent or code in UNBILLED or event.get("outcome") == "refused"
        return (0, 0) if nothing else (None, None)
    counts = [_count(usage.get(name)) for name in ("input_tokens", "output_tokens")]
    tokens = _count(usage.get("total_tokens"))
    if tokens is None:
        tokens = sum(count or 0 for count in counts)  # nothing of what is billed by the second or the image
    return tokens, nano_usd(_map(event.get("cost")).get("usd"))


def _is_lower_bound(event: Mapping[str, Any], usage: Mapping[str, Any]) -> bool:
    return usage.get("complete") is False or _map(event.get("cost")).get("reason") == "lower_bound"


def _map(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else None
