"""Restrict objects to who made them: what answers make is noted, and lists lose what is another's.

Whose objects a request uses is checked before it goes upstream (:mod:`addons.checks.ownership`).
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from mitmproxy import http

from addons.checks.ownership import may_use
from addons.flow import errors
from addons.flow.call import Call, open_calls
from addons.flow.errors import Refusal
from addons.flow.fail_closed import observe_only
from addons.openai.http.body import open_body
from addons.openai.http.messages import Response
from addons.openai.objects.kinds import (
    COMPLETION,
    FILE,
    MODEL,
    REALTIME_CALL,
    Place,
    place_of,
)
from addons.openai.objects.listing import listed, next_query, owned_ids, without
from addons.openai.objects.made import Made, deleted, made
from addons.openai.objects.watch import Watch
from addons.openai.usage.batch_output import BatchLines
from addons.runtime import Runtime
from addons.services import Services
from store.core.errors import StoreError
from store.objects.table import NewObject, Owner
from store.tokens.models import Grant

logger = logging.getLogger(__name__)

COMMIT_SECONDS = 2.0
"""Longest that an answer waits until all processes know what it has made."""
INLINE_BYTES = 64 * 1024
"""A larger body is read by a thread."""
REALTIME_CALLS = re.compile(r"/realtime/calls/(rtc_[\w-]+)")


class Ownership:
    """Note what answers make, and filter lists, before the recorder has them."""

    name = "llmproxy-ownership"

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    @observe_only
    async def responseheaders(self, flow: http.HTTPFlow) -> None:
        """Have the answer watched: a stream while it passes, any other once it is whole."""
        call, response = open_calls.get(flow.id), flow.response
        if call is None or call.refused or response is None or call.grant is None:
            return
        if call.kept_answer is not None:
            return  # it makes nothing
        path = call.url.partition("?")[0]
        place = place_of(path)
        if place is None or not 200 <= response.status_code < 300:
            return
        if place.kind == REALTIME_CALL and call.method == "POST":
            self._note_realtime_call(call, response)
        elif place.kind == FILE and place.id and place.below == ("content",) and response.status_code == 200:
            await self._watch_batch(call, place.id, response)
        elif listed(call.method, path) is None and _is_watched(call, place, response):
            answer = call.answered(response)
            watch = Watch(
                call.method,
                path,
                _switches(call),
                codings=answer.codings,
                stream=answer.is_stream,
                parsed=answer.parsed,
            )
            call.object_watch = watch
            call.held_whole = not answer.is_stream
            answer.watchers.append(lambda data: note(call, watch.feed(data), self.runtime.services))

    async def _watch_batch(self, call: Call, file: str, response: http.Response) -> None:
        """Sum the lines of a batch's output file while they pass."""
        services = self.runtime.services
        if services is None:
            return
        try:
            batch = await asyncio.wrap_future(services.objects.parent(file))
        except StoreError as error:
            logger.warning("llmproxy: if %s is a batch's output, it is not counted: %s", file, error)
            return
        if batch is None:
            return
        answer = call.answered(response)
        lines = BatchLines(answer.codings)
        call.batch = batch, lines
        answer.watchers.append(lines.feed)

    def _note_realtime_call(self, call: Call, response: http.Response) -> None:
        if found := REALTIME_CALLS.search(response.headers.get("location", "")):
            note(call, [Made(REALTIME_CALL, found[1])], self.runtime.services)

    @observe_only
    async def response(self, flow: http.HTTPFlow) -> None:
        call, response, services = open_calls.get(flow.id), flow.response, self.runtime.services
        if call is None or call.refused or response is None or call.grant is None or services is None:
            return
        if response.status_code == 101 or not 200 <= response.status_code < 300:
            return
        path = call.url.partition("?")[0]
        if (listing := listed(call.method, path)) is not None:
            if self.runtime.settings.ownership != "off":
                try:
                    await self._filter(call, call.grant, listing.kind, response, services)
                except Exception:
                    _replace(response, errors.INTERNAL)
                    raise
        elif call.batch is not None and call.held_whole:
            call.batch[1].feed(response.raw_content or b"")
        elif (watch := call.object_watch) is not None:
            if call.held_whole and response.raw_content:
                watch.feed(response.raw_content)
            noted = note(call, await _aside(watch.size, watch.finish), services)
            if noted is not None:
                # The client may go on by way of another process.
                await asyncio.wait([asyncio.wrap_future(noted)], timeout=COMMIT_SECONDS)
            if call.method == "DELETE" and (gone := deleted(call.method, path, _value(response))):
                services.objects.forget(gone)

    async def _filter(
        self, call: Call, grant: Grant, kind: str, response: http.Response, services: Services
    ) -> None:
        """Take what is another's out of a list."""
        answer = await _aside(len(response.raw_content or b""), lambda: _value(response))
        ids = owned_ids(kind, answer)
        if ids is None:
            if kind != MODEL:
                _replace(response, errors.LIST_UNREADABLE)
            return
        try:
            owners = await asyncio.wrap_future(services.objects.ask(ids)) if ids else {}
        except StoreError:
            _replace(response, errors.STORE_UNAVAILABLE)
            return
        for id_ in set(ids) - owners.keys():
            if (owner := services.objects.known(id_)) is not None:
                owners[id_] = owner  # noted, and not committed yet
        mode = self.runtime.settings.ownership
        mine = {id_ for id_, owner in owners.items() if may_use(grant, owner, mode)}
        shown = without(kind, answer, mine, call.list_limit)
        path, _, query = call.url.partition("?")
        if not shown["data"] and (following := next_query(query, answer)):
            # Nothing of this page is left. Clients end at an empty one, and follow this.
            response.status_code, response.reason = 307, "Temporary Redirect"
            response.headers["location"] = f"{path}?{following}"
        if len(shown["data"]) < len(answer["data"]):
            response.headers.pop("content-encoding", None)
            response.content = json.dumps(shown, ensure_ascii=False).encode()
        services.objects.note(_objects(grant, made(call.method, path, {**shown, "object": "list"})))


def note(call: Call, found: Sequence[Made], services: Services | None) -> Future[None] | None:
    """Remember that `call` has made these objects. The future is done once every process knows them."""
    if services is None or call.grant is None:
        return None
    known = _objects(call.grant, found, call.id if call.method == "POST" else None)
    services.objects.note([new for new, one in zip(known, found, strict=True) if not one.kept], kept=False)
    return services.objects.note([new for new, one in zip(known, found, strict=True) if one.kept])


def _switches(call: Call) -> Mapping[str, Any]:
    """Give what its body says of what becomes of the answer; nothing of one that went upstream as it came."""
    return call.body.reading.switches if call.body is not None and call.body.reading is not None else {}


def _is_watched(call: Call, place: Place, response: http.Response) -> bool:
    """Tell whether an answer may tell of objects."""
    kind = response.headers.get("content-type", "json").lower()
    if place.below[-1:] == ("content",) or not ("json" in kind or "event-stream" in kind):
        return False
    if place.kind == COMPLETION and place.id is None:
        # Most chats are not kept, and not worth reading twice.
        found = _switches(call)
        return bool(found.get("store") or found.get("audio"))
    return True


def _objects(grant: Grant, found: Iterable[Made], made_by: str | None = None) -> list[NewObject]:
    """Give the objects to note. `made_by`: id of the call that made them."""
    owner = Owner(grant.project.id, grant.token.id)
    return [
        NewObject(
            *(one.id, one.kind, owner, one.due, one.passing),
            parent=one.parent or (made_by if one.due else None),
            status=one.status,
        )
        for one in found
    ]


def _value(response: http.Response) -> Any:
    """Give the JSON of a whole answer; None where it is none."""
    headers = list(response.headers.items(multi=True))
    return open_body(Response(response.status_code, headers, response.raw_content or b"")).value


def _replace(response: http.Response, why: Refusal) -> None:
    """Give the client a refusal in the place of an answer that has come."""
    new = why.response()
    response.status_code, response.reason, response.headers = new.status_code, new.reason, new.headers
    response.raw_content = new.raw_content


async def _aside(size: int, work: Any) -> Any:
    """Do `work` here, or, where it takes long, in a thread."""
    return work() if size <= INLINE_BYTES else await asyncio.to_thread(work)
