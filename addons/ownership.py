"""Objects belong to who made them: other projects get the API's own "not found" for them (``llm_ownership``).

Before a call goes upstream every id in its path, query and body is looked up; on the way back what an answer
makes is noted while it passes, and lists lose what is another's. An id that is not known yet is looked up
again for a moment: the answer that made it may have come through another process.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from typing import Any

from mitmproxy import http

from addons import refusal
from addons.calls import Call, open_calls
from addons.fail_closed import observe_only
from addons.openai.batch_output import BatchLines
from addons.openai.body import header, open_body
from addons.openai.encoding import codings_of
from addons.openai.form import read_form
from addons.openai.messages import Response
from addons.openai.model_of import Allowed, is_allowed
from addons.openai.objects import Made, Ref, deleted, in_body, in_target, made
from addons.openai.objects.kinds import COMPLETION, FILE, MODEL, REALTIME_CALL, Place, is_fine_tuned, place_of
from addons.openai.objects.listing import listed, next_query, owned_ids, widened, without
from addons.openai.objects.references import References
from addons.openai.objects.watch import Watch
from addons.policy import access
from addons.refusal import Refusal
from addons.runtime import Runtime, Services
from store.errors import StoreError
from store.models import Grant
from store.objects import NewObject, Owner

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 0.25
"""How long an unknown id is looked up again. For another's it takes as long: the time tells nothing."""
BUSY_SECONDS = 2.0
"""The same while this process has answers of which it has not noted the objects yet."""
LOOK_SECONDS = 0.02
COMMIT_SECONDS = 2.0
"""Longest that an answer waits until all processes know what it has made."""
INLINE_BYTES = 64 * 1024
"""A larger body is read by a thread."""
FORM_LIMIT = 64 * 2**20
FORMS_WITH_IDS = frozenset({"hosted", "other"})
"""Endpoints whose forms may name objects; those of others hold files and options only."""
REALTIME_CALLS = re.compile(r"/realtime/calls/(rtc_[\w-]+)")
FLAG = re.compile(rb'"(background|store)"\s*:\s*(true|false)')


class Ownership:
    """Answers the gate, and looks at answers before the recorder has them."""

    name = "llmproxy-ownership"

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    async def judge_body(self, request: http.Request, call: Call) -> Refusal | None:
        """Why a body may not pass: it names an object of another's. For the gate."""
        if self.runtime.settings.ownership == "off" or request.stream or call.grant is None:
            return None
        body = _body(call)  # as the headers describe it
        found: References = await _aside(len(body), lambda: _read(call, body))
        if found.unclear is not None:
            return refusal.unclear_references(found.unclear)
        return await self.judge(call.grant, found.refs, call.models)

    async def judge(self, grant: Grant, refs: Sequence[Ref], models: Sequence[Allowed]) -> Refusal | None:
        """Why `grant` may not use these: one is another's, or nobody's, and no model that a list names."""
        services, mode = self.runtime.services, self.runtime.settings.ownership
        if mode == "off" or not refs:
            return None
        if services is None:
            return refusal.SEALED
        try:
            named = [ref for ref in refs if ref.kind == MODEL and names_fine_tuned(ref.id, models)]
            foreign = await first_foreign(grant, refs, services, mode, named)
        except StoreError:
            return refusal.STORE_UNAVAILABLE
        if foreign is None:
            return None
        logger.info(
            "llmproxy: %s %s is not known as one of project %s; `llmproxy objects adopt` makes it one",
            foreign.kind,
            foreign.id[:100],
            grant.project.name,
        )
        return refusal.object_not_found(foreign)

    async def judge_target(self, call: Call, grant: Grant) -> Refusal | None:
        """The same of a request's path and query; for the gate. A list will be kept back to be filtered."""
        path, _, query = call.url.partition("?")
        listing = listed(call.method, path) if self.runtime.settings.ownership != "off" else None
        if listing is not None:
            call.held_whole = True
            if wide := widened(listing.kind, query):
                call.flow.request.path, call.list_limit = f"{path}?{wide[0]}", wide[1]
        return await self.judge(
            grant, in_target(path, query), access.models(grant, self.runtime.settings.models)
        )

    def take_form(self, request: http.Request, call: Call) -> Refusal | None:
        """Have a form that may name objects read whole before it goes upstream; for the gate, as its last."""
        if self.runtime.settings.ownership == "off" or call.endpoint not in FORMS_WITH_IDS:
            return None
        if not request.headers.get("content-type", "").strip().lower().startswith("multipart/"):
            return None
        length = request.headers.get("content-length", "")
        if "transfer-encoding" in request.headers or not length.isdecimal() or int(length) > FORM_LIMIT:
            return refusal.FORM_TOO_LARGE
        request.stream = False
        return None

    @observe_only
    async def responseheaders(self, flow: http.HTTPFlow) -> None:
        """Have the answer watched: a stream while it passes, any other once it is whole."""
        call, response = open_calls.get(flow.id), flow.response
        if call is None or call.refused or response is None or call.grant is None:
            return
        path = call.url.partition("?")[0]
        place = place_of(path)
        if place is None or not 200 <= response.status_code < 300:
            return
        if place.kind == REALTIME_CALL and call.method == "POST":
            self._note_realtime_call(call, response)
        elif place.kind == FILE and place.id and place.below == ("content",) and response.status_code == 200:
            await self._watch_batch(call, place.id, response)
        elif listed(call.method, path) is None and _is_watched(call, place, response):
            codings = codings_of(",".join(response.headers.get_all("content-encoding")))
            stream = "event-stream" in response.headers.get("content-type", "").lower()
            watch = Watch(call.method, path, switches(_body(call)), codings=codings, stream=stream)
            call.object_watch = watch
            call.held_whole = not stream
            call.watchers.append(lambda data: note(call, watch.feed(data), self.runtime.services))

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
        lines = BatchLines(codings_of(",".join(response.headers.get_all("content-encoding"))))
        call.batch = batch, lines
        call.watchers.append(lines.feed)

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
                    _replace(response, refusal.INTERNAL)
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
                _replace(response, refusal.LIST_UNREADABLE)
            return
        try:
            owners = await asyncio.wrap_future(services.objects.ask(ids)) if ids else {}
        except StoreError:
            _replace(response, refusal.STORE_UNAVAILABLE)
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


async def first_foreign(
    grant: Grant, refs: Sequence[Ref], services: Services, mode: str, named: Sequence[Ref] = ()
) -> Ref | None:
    """The first of `refs` that `grant` may not use; None where it may use all. Raises StoreError.

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


def _is_known(grant: Grant, ref: Ref, services: Services, mode: str) -> bool:
    owner = services.objects.known(ref.id)
    return owner is not None and may_use(grant, owner, mode)


def names_fine_tuned(model: str, lists: Sequence[Allowed]) -> bool:
    """Whether an allow-list means this fine-tuned model: then who runs the proxy knows it."""
    return any(
        is_fine_tuned(glob) and is_allowed(model, [glob]) for allowed in lists for glob in allowed.globs
    )


def may_use(grant: Grant, owner: Owner, mode: str) -> bool:
    """Whether what belongs to `owner` may be used with `grant`."""
    if owner.project_id is None:
        return True
    if owner.project_id != grant.project.id:
        return False
    return mode == "project" or owner.token_id in (None, grant.token.id)


def _read(call: Call, body: bytes) -> References:
    content_type = header(call.headers, "content-type")
    if not content_type.strip().lower().startswith("multipart/"):
        return in_body(call.headers, body, endpoint=call.endpoint)
    if call.endpoint not in FORMS_WITH_IDS:
        return References()
    form = read_form(body, content_type, header(call.headers, "content-encoding"), strict=True)
    return in_body(call.headers, b"", form)


def switches(body: bytes) -> dict[str, Any]:
    """What of a request's body decides what becomes of the answer. (Within texts quotes are escaped.)"""
    return {key.decode(): value == b"true" for key, value in FLAG.findall(body)}


def _body(call: Call) -> bytes:
    return call.request_body or call.flow.request.raw_content or b""


def _is_watched(call: Call, place: Place, response: http.Response) -> bool:
    """Whether an answer may tell of objects."""
    kind = response.headers.get("content-type", "json").lower()
    if place.below[-1:] == ("content",) or not ("json" in kind or "event-stream" in kind):
        return False
    if place.kind == COMPLETION and place.id is None:
        # Most chats are not kept, and not worth reading twice.
        return bool(switches(_body(call)).get("store")) or b'"audio"' in _body(call)
    return True


def _objects(grant: Grant, found: Iterable[Made], made_by: str | None = None) -> list[NewObject]:
    """`made_by`: id of the call that made them."""
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
    """The JSON of a whole answer; None where it is none."""
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
