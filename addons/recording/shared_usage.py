"""Usage of objects that any number of calls may show is counted once, and for whoever made the object.

An event whose usage is that of a background response, a run or a batch (`usage_of`) claims it in the store
before it is written, and loses it where another event has it. Once it is on disk the claim is settled; what a
killed process leaves between the two is decided by :mod:`store.objects.recovery`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from msgspec import UNSET
from msgspec.structs import replace

from addons.flow.identity import user_named
from addons.openai import asked_tier, completion_window
from addons.openai.completion_window import STANDARD
from addons.openai.endpoints import SHOWN_AGAIN
from addons.openai.objects.accounts import COUNTED_ON_SIGHT
from addons.openai.usage.missing import CODES
from addons.recording.cost import Prices, cost_of
from store.core.codes import UsageMissing
from store.core.errors import StoreError
from store.core.event import BaseRecord, UsageEvent, UsageOf
from store.database.engine import ANSWER_SECONDS
from store.objects.table import Claim, NewObject, Owner
from store.objects.worker import ObjectWorker

logger = logging.getLogger(__name__)

AWAY_SECONDS = 10.0
"""After the store has hung it is not asked again for so long: nothing of that time waits for it."""
QUICK_SECONDS = 0.5
"""A store that says so soon that it is away holds up nothing."""


class SharedUsage:
    """Works in the worker's thread, which all events wait for."""

    def __init__(self, objects: ObjectWorker) -> None:
        self._objects = objects
        self._asked_again_at = 0.0
        """It says when the store is asked again, in monotonic seconds."""

    @property
    def decides(self) -> bool:
        """Tell whether it decides: not while the store hangs, or has hung when it was last asked."""
        return time.monotonic() >= self._asked_again_at

    def decide(self, event: UsageEvent, writer: str) -> UsageEvent:
        """Leave an event its usage, if that is for it to count, and take it otherwise. Never raises."""
        shown = event.usage_of
        if shown is None:
            return event
        if not self.decides:
            return without_usage(event, UsageMissing.LATER)
        event_id, begun = str(event.event_id), time.monotonic()
        found = self._objects.claim(str(shown.id), event_id, writer, made=_made(event, shown))
        try:
            claim = found.result(ANSWER_SECONDS)
        except (StoreError, TimeoutError) as error:
            if not found.cancel():
                self._objects.release([event_id])  # the store may take the claim in all the same
            now = time.monotonic()
            if now - begun > QUICK_SECONDS:
                self._asked_again_at = now + AWAY_SECONDS
            logger.warning(
                "llmproxy: the store does not decide whose the usage of %s is, which is counted when it is "
                "shown again: %s",
                *(shown.id, str(error) or f"no answer in {ANSWER_SECONDS:g} s"),
            )
            return without_usage(event, UsageMissing.LATER)
        return without_usage(event, UsageMissing.COUNTED) if claim is None else attributed(event, claim)

    def recorded(self, records: Sequence[BaseRecord]) -> None:
        """Note that these records are on disk. Never waits."""
        events = (record for record in records if isinstance(record, UsageEvent))
        if counted := [str(event.event_id) for event in events if event.usage_of]:
            self._objects.settle(counted)


def _made(event: UsageEvent, shown: UsageOf) -> NewObject | None:
    """Give what the call has made, where it is that whose usage it shows, and no later look at it."""
    id_, kind = str(shown.id), str(shown.kind)
    made_here = event.method == "POST" and id_ not in str(event.path)
    if not (made_here or kind in COUNTED_ON_SIGHT) or kind == "batch":
        return None
    owner = Owner(event.project_id, event.token_id)
    return NewObject(id_, kind, owner, due=True, passing=True, parent=str(event.event_id))


class Import:
    """Does so among recorded calls, which are not in the store: the first that shows a usage counts it."""

    def __init__(self) -> None:
        self._counted: set[str] = set()
        self._tiers: dict[str, str] = {}
        """It is that of work that began with a completion window, which no later look tells."""

    def decide(self, event: UsageEvent) -> UsageEvent:
        """Leave an event its usage, unless an earlier one had that."""
        shown = event.usage_of
        id_ = shown.id if shown else event.response_id
        if id_ is None or not (shown or event.endpoint in SHOWN_AGAIN):
            return event
        if id_ in self._counted:
            return without_usage(event, UsageMissing.COUNTED) if shown else event
        if str(event.service_tier).startswith(completion_window.PREFIX):
            self._tiers[id_] = str(event.service_tier)
        elif event.service_tier_requested is not UNSET:
            self._tiers[id_] = f"{asked_tier.KEPT}{event.service_tier_requested}"
        if event.usage is not None:
            self._counted.add(id_)
        return in_tier(event, self._tiers.get(id_))


def in_tier(event: UsageEvent, tier: str | None) -> UsageEvent:
    """Give the event in the tier of the work that it shows, where it tells none itself."""
    if tier is None:
        return event
    if tier.startswith(completion_window.PREFIX) and event.service_tier in STANDARD:
        return replace(event, service_tier=tier)
    if tier.startswith(asked_tier.KEPT):
        return replace(event, service_tier_requested=tier.removeprefix(asked_tier.KEPT))
    return event


def priced_anew(before: UsageEvent, after: UsageEvent, prices: Prices) -> UsageEvent:
    """Give the event that was decided on, with the cost of its tier where that is another than it was."""
    told = [(event.service_tier, event.service_tier_requested) for event in (before, after)]
    if told[0] == told[1]:
        return after
    return replace(after, cost=cost_of(after, prices))


def without_usage(event: UsageEvent, code: UsageMissing) -> UsageEvent:
    """Give the event where what it shows is counted with another one."""
    return replace(
        event,
        usage_of=None,
        usage=None,
        cost=None,
        hosted_tools={},
        usage_missing_code=code,
        usage_missing=CODES[code],
    )


def attributed(event: UsageEvent, claim: Claim) -> UsageEvent:
    """Give the event as one of whoever made the object; `usage_of` says who has asked."""
    shown = event.usage_of
    assert shown is not None
    event = in_tier(replace(event, usage_of=replace(shown, made_by=claim.made_by)), claim.status)
    if claim.grant is None or claim.owner.token_id == event.token_id:
        return event
    grant = claim.grant
    return replace(
        event,
        project_id=grant.project.id,
        project_name=grant.project.name,
        token_id=grant.token.id,
        token_metadata=grant.metadata,
        user=user_named(grant.token.metadata, grant.project.metadata),
    )
