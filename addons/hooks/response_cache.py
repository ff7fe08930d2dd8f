"""Keep answers in the cache, once they are whole; the check that gives them is
:mod:`addons.checks.cached_answer`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TypeVar

import msgspec
from mitmproxy import http

from addons.caching import answering
from addons.caching.answers import AnswerCache
from addons.caching.rules import Keeping, keeping_of, kept_headers
from addons.checks.check import grant_of
from addons.flow.cache_use import HIT, NAMESPACE_HEADER, REVALIDATED, CacheUse, take_namespace
from addons.flow.call import Call, open_calls
from addons.flow.fail_closed import observe_only
from addons.openai import Summary
from addons.openai.endpoints import resolve
from addons.openai.http.cache_control import stated_age
from addons.recording.event_builder import summary_of
from addons.recording.exchange import Exchange
from addons.recording.finished_call import exchange_of
from addons.runtime import Runtime
from store.cache.entry import FORM, Entry
from store.cache.purge import Purge
from store.core.codes import Outcome

logger = logging.getLogger(__name__)

INLINE_BYTES = 16 * 1024
"""A larger body is read by a thread."""
T = TypeVar("T")


class ResponseCache:
    """Stands behind what changes answers, and before the recorder: it keeps what the client gets."""

    name = "llmproxy-cache"

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    def _of(self, flow: http.HTTPFlow) -> tuple[Call, CacheUse, http.Response, AnswerCache] | None:
        call, services = open_calls.get(flow.id), self.runtime.services
        if call is None or call.refused or call.cache is None or flow.response is None or services is None:
            return None
        if services.cache is None or call.cache.result == HIT:
            return None
        return call, call.cache, flow.response, services.cache

    @observe_only
    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Take the cache's own field out of the request; it is nothing to upstream."""
        if (call := open_calls.get(flow.id)) is not None:
            call.cache_namespace = take_namespace(flow.request.headers)
            call.headers = [one for one in call.headers if one[0].lower() != NAMESPACE_HEADER]

    @observe_only
    def responseheaders(self, flow: http.HTTPFlow) -> None:
        """Tell whether the answer is going to be kept."""
        if (found := self._of(flow)) is None:
            return
        call, use, response, cache = found
        if response.status_code == 304 and use.entry is not None:
            call.held_whole = True  # what is kept takes its place
            return
        use.entry = None
        use.answer_headers = list(response.headers.items(multi=True))
        if use.key:
            _decide(call, use, cache, response.status_code)
        answering.mark(response.headers, use, time.time())

    @observe_only
    async def response(self, flow: http.HTTPFlow) -> None:
        """Keep or confirm the answer, which is whole; the client does not know yet that it is."""
        await self._forget_changed(flow)
        if (found := self._of(flow)) is None:
            return
        call, use, response, cache = found
        if response.status_code == 304 and use.entry is not None:
            _confirm(call, use, use.entry, response, cache)
        elif use.keeps and response.status_code == 200 and not call.left and not call.cut:
            await _keep(call, use, response, cache)

    async def _forget_changed(self, flow: http.HTTPFlow) -> None:
        """Forget what is kept of a resource that the call has changed (RFC 9111, 4.4), and its list."""
        call, services = open_calls.get(flow.id), self.runtime.services
        if call is None or call.refused or services is None or services.cache is None:
            return
        path = call.url.partition("?")[0]
        failed = flow.response is None or flow.response.status_code >= 400
        if (
            failed
            or call.method in ("GET", "HEAD")
            or call.kind.reusable
            or not resolve("GET", path).reusable
        ):
            return
        project = grant_of(call).project.id
        for target in (path, path.rpartition("/")[0]):
            purge = Purge(time.time(), project, method="GET", target=target)
            await asyncio.to_thread(services.cache.purge, purge)


def _decide(call: Call, use: CacheUse, cache: AnswerCache, status: int) -> None:
    found = keeping_of(use, cache.settings, status, use.answer_headers, method=call.method)
    use.keeps = found is not None
    if found is not None:
        _note(use, found)


def _note(use: CacheUse, found: Keeping) -> None:
    use.lifetime, use.forced, use.checked = found.lifetime, found.forced, found.checked


async def _keep(call: Call, use: CacheUse, response: http.Response, cache: AnswerCache) -> None:
    """Keep an answer that is one: not an error in the form of an answer, nor one that is still to come."""
    exchange = exchange_of(call, Outcome.OK)
    kept = exchange.response_body
    if kept is None or kept.window is not None or not 0 < len(kept.data) <= cache.settings.answer_bytes:
        return
    headers = use.answer_headers
    if call.held_whole:  # a list may have been filtered, and is not coded then
        coding = response.headers.get("content-encoding")
        headers = [(k, v) for k, v in headers if k.lower() != "content-encoding" or v == coding]
    entry = await _aside(len(kept.data), lambda: _entry(call, exchange, use, headers))
    if entry is not None:
        cache.keep(use, entry, call.headers, grant_of(call).token.id)


def _is_whole(summary: Summary) -> bool:
    broken = summary.error is not None or summary.ended is False or summary.queued
    return not broken and not summary.truncated and not summary.hosted_tools


def _entry(call: Call, exchange: Exchange, use: CacheUse, headers: list[tuple[str, str]]) -> Entry | None:
    """Make what is kept; None of an answer that is not whole, or is an error."""
    kept = exchange.response_body
    assert kept is not None
    shown = answering.shown_of(headers, kept.data, kept.parsed) if call.usage_added else None
    call.summary = summary_of(exchange)  # the worker does not read it again
    if not _is_whole(call.summary):
        return None
    grant = grant_of(call)
    return Entry(
        FORM,
        grant.project.id,
        call.method,
        use.target,
        requested_at=call.started_at.timestamp(),
        stored_at=time.time(),
        lifetime=float(use.lifetime),
        age=float(stated_age(headers)),
        headers=kept_headers(headers, use),
        body=kept.data,
        call_id=call.id,
        shown=shown,
        forced=use.forced,
        checked=use.checked,
    )


def _confirm(call: Call, use: CacheUse, entry: Entry, response: http.Response, cache: AnswerCache) -> None:
    """Answer with what is kept and the newer fields: upstream says that it still holds (RFC 9111, 4.3.4)."""
    use.result = REVALIDATED
    newer = kept_headers(list(response.headers.items(multi=True)), use)
    names = {name.lower() for name, _ in newer}
    merged = [*(one for one in entry.headers if one[0].lower() not in names), *newer]
    use.answer_headers = merged
    _decide(call, use, cache, 200)
    now = time.time()
    entry = msgspec.structs.replace(
        entry,
        headers=tuple(merged),
        stored_at=now,
        lifetime=float(use.lifetime),
        checked=use.checked,
        age=0.0,
    )
    if use.keeps:
        cache.keep(use, entry, call.headers, grant_of(call).token.id)
    use.entry = entry
    given = answering.response_of(entry, use, now)
    response.status_code, response.reason, response.headers = 200, "OK", given.headers
    response.raw_content = given.raw_content
    cache.note(REVALIDATED)


async def _aside(size: int, work: Callable[[], T]) -> T:
    """Do `work` here, or, where it takes long, in a thread."""
    return work() if size <= INLINE_BYTES else await asyncio.to_thread(work)
