"""Take from the event of a call what the ledger and the roll-ups need of it.

It is the same for an event that was just written and for one that is read again because its writer died.
"""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from store.core.codes import Outcome, UsageMissing
from store.core.event import Call, SessionRecord, Usage, UsageEvent, UsageOf
from store.ledger.messages import Finished
from store.usage.recent_calls import row_of
from store.usage.rollups import counted, is_lower_bound, line_of, nano_usd, seconds_of

UNBILLED = (
    *(UsageMissing.FAILED, UsageMissing.UNBILLED, UsageMissing.OTHER_UNIT, UsageMissing.COUNTED),
    *(UsageMissing.NOT_SENT, UsageMissing.CACHED),
)
"""It says why calls that use no tokens report no usage."""


def finished_of(event: Call, *, seq: int | None = None, sent: bool = True, is_kept: bool = False) -> Finished:
    """Give what became of a call, or of a session.

    `seq`: its number, where the event does not have it yet. `sent`: whether the request had gone to an
    upstream; an event does not tell, so of one that is read again it is assumed. `is_kept`: whether the call
    is put among the latest ones.
    """
    common: dict[str, Any] = {
        "call_id": str(event.event_id),
        "token_id": event.token_id or "",
        "project_id": event.project_id or "",
        "at": seconds_of(event.timestamp),
        "outcome": str(event.outcome),
        "endpoint": str(event.endpoint),
        "seq": seq or (0 if event.seq is UNSET else counted(event.seq) or 0),
        "model": event.model or None,
    }
    if isinstance(event, SessionRecord):
        return Finished(**common, total_tokens=0, nano_usd=0, request=False)
    usage, shown = event.usage or Usage(), event.usage_of or UsageOf()
    tokens, nano = _billed(event, sent=sent)
    line = line_of(event)
    incomplete = event.usage is not None and event.usage.complete is False
    return Finished(
        **common,
        user_id=event.user.id if event.user else None,
        session=None if event.session is UNSET else event.session.id,
        address=event.client.ip if event.client else None,
        input_tokens=counted(usage.input_tokens),
        output_tokens=counted(usage.output_tokens),
        total_tokens=tokens,
        nano_usd=nano,
        at_least=is_lower_bound(event),
        incomplete=incomplete,
        line=line,
        recent=row_of(event, line) if is_kept else None,
        never_sent=event.usage_missing_code == UsageMissing.NOT_SENT,
        cache_hits=int(event.saved is not UNSET),
        asked_by=shown.asked_by,
        corrects=None if shown.made_by is UNSET else shown.made_by,
    )


def _billed(event: UsageEvent, *, sent: bool) -> tuple[int | None, int | None]:
    """Give the tokens and nano-USD: 0 where nothing is billed, None where it is unknown."""
    usage = event.usage
    if usage is None:
        failed = event.status is not None and event.status >= 400
        never_sent = event.status is None and not sent
        refused = event.outcome == Outcome.REFUSED
        nothing = failed or never_sent or refused or event.usage_missing_code in UNBILLED
        return (0, 0) if nothing else (None, None)
    tokens = counted(usage.total_tokens)
    if tokens is None:
        # Nothing of what is billed by the second or the image.
        tokens = (counted(usage.input_tokens) or 0) + (counted(usage.output_tokens) or 0)
    return tokens, nano_usd(event.cost.usd) if event.cost else None
