"""Restrict objects to who made them: other projects get the API's own "not found" (option ``llm_ownership``).

Before a call goes upstream every id in its path, query and body is looked up; what answers make is noted by
:mod:`addons.hooks.ownership`. An id that is not known yet is looked up again for a moment: the answer that
made it may have come through another process.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from addons.checks import access
from addons.checks.check import Check, CheckServices, Circumstances, Phase, grant_of
from addons.flow import errors
from addons.flow.call import Call
from addons.flow.errors import Refusal
from addons.openai.http.form import FormReader
from addons.openai.objects.kinds import MODEL, Ref, is_fine_tuned
from addons.openai.objects.listing import listed, widened
from addons.openai.objects.references import References, in_form, in_target
from addons.openai.requested_model import Allowed, is_allowed
from store.core.errors import StoreError
from store.objects.table import Owner
from store.tokens.models import Grant

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 0.25
"""It says how long an unknown id is looked up again. For another's it takes as long: the time tells
nothing."""
BUSY_SECONDS = 2.0
"""It is the same while this process has answers of which it has not noted the objects yet."""
LOOK_SECONDS = 0.02
FORM_LIMIT = 64 * 2**20


class OwnedTarget(Check):
    """Refuse a path or a query that names an object of another's; have a list kept back to be filtered."""

    phase = Phase.HEADERS

    def __init__(self, here: Circumstances) -> None:
        self._here = here

    async def check(self, call: Call) -> Refusal | None:
        if self._here.settings.ownership == "off":
            return None
        path, _, query = call.url.partition("?")
        if (listing := listed(call.method, path)) is not None:
            call.held_whole = True
            if wide := widened(listing.kind, query):
                call.flow.request.path, call.list_limit = f"{path}?{wide[0]}", wide[1]
        grant, refs = grant_of(call), in_target(path, query, call.kind.objects_in_query)
        return await foreign_refused(
            self._here, grant, refs, access.models(grant, self._here.settings.models)
        )


class OwnedForm(Check):
    """Have a form that may name objects read whole before it goes upstream; refuse one that is too large."""

    phase = Phase.HEADERS

    def __init__(self, here: Circumstances) -> None:
        self._here = here

    async def check(self, call: Call) -> Refusal | None:
        if self._here.settings.ownership == "off" or not call.kind.whole_forms:
            return None
        headers = call.flow.request.headers
        content_type = headers.get("content-type", "")
        if not content_type.strip().lower().startswith("multipart/"):
            return None
        length = headers.get("content-length", "")
        if "transfer-encoding" in headers or not length.isdecimal() or int(length) > FORM_LIMIT:
            return errors.FORM_TOO_LARGE
        call.flow.request.stream = False
        coding = ",".join(headers.get_all("content-encoding"))
        call.request_form = FormReader(content_type, coding, strict=True)
        return None


class OwnedObjects(Check):
    """Refuse a body that names an object of another's, or of which that cannot be told."""

    phase = Phase.BODY

    def __init__(self, here: Circumstances) -> None:
        self._here = here

    async def check(self, call: Call) -> Refusal | None:
        if self._here.settings.ownership == "off" or call.flow.request.stream:
            return None
        found = _references(call)
        if found.unclear is not None:
            return errors.unclear_references(found.unclear)
        return await foreign_refused(self._here, grant_of(call), found.refs, call.models)


async def foreign_refused(
    here: Circumstances, grant: Grant, refs: Sequence[Ref], models: Sequence[Allowed]
) -> Refusal | None:
    """Refuse the use of an object that is another's, or nobody's, unless it is a model that a list names."""
    services, mode = here.services, here.settings.ownership
    if mode == "off" or not refs:
        return None
    if services is None:
        return errors.SEALED
    try:
        named = [ref for ref in refs if ref.kind == MODEL and names_fine_tuned(ref.id, models)]
        foreign = await first_foreign(grant, refs, services, mode, named)
    except StoreError:
        return errors.STORE_UNAVAILABLE
    if foreign is None:
        return None
    logger.info(
        "llmproxy: %s %s is not known as one of project %s; `llmproxy objects adopt` makes it one",
        foreign.kind,
        foreign.id[:100],
        grant.project.name,
    )
    return errors.object_not_found(foreign)


async def first_foreign(
    grant: Grant, refs: Sequence[Ref], services: CheckServices, mode: str, named: Sequence[Ref] = ()
) -> Ref | None:
    """Find the first of `refs` that `grant` may not use; None where it may use all. Raises StoreError.

    Those that are `named` may be used unless they are another's.
    """
    begun = time.monotonic()
    left = list(dict.fromkeys(refs))
    while True:
        left = [ref for ref in left if not _is_known(grant, ref, services, mode)]
        if not left:
            return None
        owners = await asyncio.wrap_future(services.objects.ask({ref.id for ref in left}))
        left = [ref for ref in left if ref.id in owners or ref not in named]
        left = [ref for ref in left if ref.id not in owners or not may_use(grant, owners[ref.id], mode)]
        if not left:
            return None
        waited = time.monotonic() - begun
        if waited > (BUSY_SECONDS if services.objects.busy else PATIENCE_SECONDS):
            return left[0]
        await asyncio.sleep(LOOK_SECONDS)


def _is_known(grant: Grant, ref: Ref, services: CheckServices, mode: str) -> bool:
    owner = services.objects.known(ref.id)
    return owner is not None and may_use(grant, owner, mode)


def names_fine_tuned(model: str, lists: Sequence[Allowed]) -> bool:
    """Tell whether an allow-list means this fine-tuned model: then who runs the proxy knows it."""
    return any(
        is_fine_tuned(glob) and is_allowed(model, [glob]) for allowed in lists for glob in allowed.globs
    )


def may_use(grant: Grant, owner: Owner, mode: str) -> bool:
    """Tell whether what belongs to `owner` may be used with `grant`."""
    if owner.project_id is None:
        return True
    if owner.project_id != grant.project.id:
        return False
    return mode == "project" or owner.token_id in (None, grant.token.id)


def _references(call: Call) -> References:
    if call.request_form is not None:
        return in_form(call.request_form.form(), call.kind.objects) if call.kind.whole_forms else References()
    if call.body is None or call.body.reading is None:
        return References()
    return call.body.reading.references
