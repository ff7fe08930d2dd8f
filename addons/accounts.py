"""Usage of objects that any number of calls may show is counted once, and for whoever made the object.

An event whose usage is that of a background response, a run or a batch (`usage_of`) claims it in the store
before it is written, and loses it where another event has it. Once it is on disk the claim is settled; what a
killed process leaves between the two is decided by :mod:`store.object_recovery`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from addons.identity import user_named
from addons.openai.reported import CODES
from store.errors import StoreError
from store.event import Event
from store.object_clerk import ObjectClerk
from store.objects import Claim, NewObject, Owner

logger = logging.getLogger(__name__)

KEEPING = frozenset({"responses", "assistants"})
"""Endpoints whose answers are kept by the API and may be shown again, with their usage."""
CLAIM_SECONDS = 10.0
"""How long the worker waits for the store to decide."""


class Accounts:
    """For the worker's thread."""

    def __init__(self, clerk: ObjectClerk) -> None:
        self._clerk = clerk

    def decide(self, event: Event, writer: str) -> Event:
        """The event with its usage, if that is for it to count, and without otherwise. Never raises."""
        shown = event.get("usage_of")
        if not isinstance(shown, Mapping):
            return event
        try:
            found = self._clerk.claim(str(shown["id"]), str(event["event_id"]), writer, made=_made(event))
            claim = found.result(CLAIM_SECONDS)
        except (StoreError, TimeoutError) as error:
            logger.warning("llmproxy: the usage of %s is not counted yet: %s", shown["id"], error)
            return without_usage(event, "later")
        return without_usage(event, "counted") if claim is None else attributed(event, claim)

    def recorded(self, events: Sequence[Event]) -> None:
        """These events are on disk. Never waits."""
        if counted := [str(event["event_id"]) for event in events if event.get("usage_of")]:
            self._clerk.settle(counted)


def _made(event: Event) -> NewObject | None:
    """What the call has made, where it is that whose usage it shows, and no later look at it."""
    shown = event["usage_of"]
    if event.get("method") != "POST" or shown["kind"] == "batch" or shown["id"] in str(event.get("path")):
        return None
    owner = Owner(event.get("project_id"), event.get("token_id"))
    made_by = str(event["event_id"])
    return NewObject(shown["id"], shown["kind"], owner, due=True, passing=True, parent=made_by)


class Import:
    """The same among recorded calls, which are not in the store: the first that shows a usage counts it."""

    def __init__(self) -> None:
        self._counted: set[str] = set()

    def decide(self, event: Event) -> Event:
        """The event with its usage, unless an earlier one had that."""
        shown = event.get("usage_of")
        id_ = shown["id"] if isinstance(shown, Mapping) else event.get("response_id")
        if id_ is None or event.get("endpoint") not in KEEPING:
            return event
        if id_ in self._counted:
            return without_usage(event, "counted") if shown else event
        if event.get("usage") is not None:
            self._counted.add(id_)
        return event


def without_usage(event: Event, code: str) -> Event:
    """The event where what it shows is counted with another one."""
    shown: dict[str, Any] = {"usage_of": None, "usage": None, "cost": None, "hosted_tools": {}}
    return {**event, **shown, "usage_missing_code": code, "usage_missing": CODES[code]}


def attributed(event: Event, claim: Claim) -> Event:
    """The event as one of whoever made the object; `usage_of` says who has asked."""
    event = {**event, "usage_of": {**event["usage_of"], "made_by": claim.made_by}}
    if claim.grant is None or claim.owner.token_id == event.get("token_id"):
        return event
    grant = claim.grant
    return {
        **event,
        "project_id": grant.project.id,
        "project_name": grant.project.name,
        "token_id": grant.token.id,
        "token_metadata": grant.metadata,
        "user": user_named(grant.token.metadata, grant.project.metadata),
    }
