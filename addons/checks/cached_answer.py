"""Answer a call from the cache, or note that its answer is to be kept (docs/cache.md).

Behind all that decides who may ask for what, and before the reservation: a hit uses nothing up.
"""

from __future__ import annotations

import time

from mitmproxy import http

from addons.caching import answering
from addons.caching.answers import AnswerCache
from addons.caching.key import key_of, target_of
from addons.caching.rules import why_not_given
from addons.caching.settings import ALL, OFF, PROJECT, TOKEN
from addons.checks.check import Check, LiveCircumstances, Phase, grant_of, live_services_of
from addons.flow import errors
from addons.flow.cache_use import BYPASS, HIT, MISS, CacheUse
from addons.flow.call import Call
from addons.flow.errors import Refusal
from addons.openai.http.cache_control import (
    CacheControl,
    cache_control,
    is_conditional,
    matches_validators,
    values_of,
    wanted_lifetime,
)
from store.cache.entry import Entry
from store.tokens.models import Grant

READING = ("GET", "HEAD")
MOST_REQUEST_BYTES = 2**20
"""The answer to a longer body is not kept: bodies are hashed on the event loop."""


class CachedAnswer(Check):
    """Answer the call where its answer is kept."""

    phase = Phase.BODY

    def __init__(self, here: LiveCircumstances) -> None:
        self._here = here

    async def check(self, call: Call) -> Refusal | None:
        cache = live_services_of(self._here).cache
        if cache is None:
            return None
        grant, control = grant_of(call), cache_control(call.headers)
        policy = cache.settings.policy_of((grant.token.cache, grant.project.cache))
        if policy == OFF:
            return None
        only_cached = "only-if-cached" in control
        wanted = wanted_lifetime(control)
        # A list may be kept if its answer says so; any other call has to ask for it.
        asks = wanted or only_cached or policy == ALL or call.method in READING
        if asks and call.kind.reusable and _is_repeatable(call):
            await self._use(call, cache, CacheUse(MISS, "uri-miss", policy=policy, wanted=wanted), control)
        is_hit = call.cache is not None and call.cache.result == HIT
        return errors.NOT_CACHED if only_cached and not is_hit else None

    async def _use(self, call: Call, cache: AnswerCache, use: CacheUse, control: CacheControl) -> None:
        call.cache = use
        if "no-store" in control or _is_partial(call):
            use.result, use.forward = BYPASS, "bypass"
        else:
            use.target = target_of(call.url)
            use.key = key_of(call, grant_of(call), use.target, self._scope(cache))
            await self._look(call, use, cache, grant_of(call))
        cache.note(use.result)

    def _scope(self, cache: AnswerCache) -> str:
        """Name the scope that shares answers: a token's own, where objects belong to tokens."""
        scope = cache.settings.scope
        return TOKEN if scope == PROJECT and self._here.settings.ownership == TOKEN else scope

    async def _look(self, call: Call, use: CacheUse, cache: AnswerCache, grant: Grant) -> None:
        entry = await cache.find(use.key, call.headers, grant.token.id)
        if entry is None:
            return
        now = time.time()
        why_not = why_not_given(entry, use, call.headers, now)
        if why_not is None:
            use.result, use.entry = HIT, entry
            call.flow.response = _answer(call, entry, use, now)
            return
        use.forward = why_not
        if why_not in ("request", "stale") and call.method == "GET" and not is_conditional(call.headers):
            _ask_for_confirmation(call.flow.request, entry, use)


def _is_repeatable(call: Call) -> bool:
    if call.body is None or call.body.reading is None or call.body.size > MOST_REQUEST_BYTES:
        return False
    return call.body.reading.repeatable


def _is_partial(call: Call) -> bool:
    """Tell whether the request wants a part, or sets a condition that is for upstream to judge."""
    if call.method in READING:
        return bool(values_of(call.headers, "range"))
    return is_conditional(call.headers)


def _answer(call: Call, entry: Entry, use: CacheUse, now: float) -> http.Response:
    if call.method in READING and matches_validators(call.headers, entry.headers):
        return answering.not_modified(entry, use, now)
    return answering.response_of(entry, use, now)


def _ask_for_confirmation(request: http.Request, entry: Entry, use: CacheUse) -> None:
    """Have upstream say whether what is kept still holds; without a validator it answers anew."""
    for validator, condition in (("etag", "if-none-match"), ("last-modified", "if-modified-since")):
        if value := values_of(entry.headers, validator):
            request.headers[condition] = value
            use.entry = entry
