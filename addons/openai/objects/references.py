"""Which objects a request refers to: in its path, its query, its JSON or its form.

Read for decisions: what stands under a name that upstream might take for a reference is one, in any case and
however often the name is repeated. What users put under names of their own (metadata, schemas of functions,
attributes of files) is none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from addons.openai.body import header
from addons.openai.encoding import decode
from addons.openai.form import Form, is_form
from addons.openai.messages import Headers
from addons.openai.objects import kinds
from addons.openai.objects.kinds import Ref, is_fine_tuned, place_of

BUDGET = 64 * 2**20
"""Decoded bytes of a request that are looked at; of a larger one nothing can be told."""

BY_NAME = {
    "previous_response_id": kinds.RESPONSE,
    "response_id": kinds.RESPONSE,
    "conversation": kinds.CONVERSATION,
    "conversation_id": kinds.CONVERSATION,
    "file_id": kinds.FILE,
    "file_ids": kinds.FILE,
    "input_file_id": kinds.FILE,
    "training_file": kinds.FILE,
    "validation_file": kinds.FILE,
    "upload_id": kinds.UPLOAD,
    "batch_id": kinds.BATCH,
    "vector_store_id": kinds.VECTOR_STORE,
    "vector_store_ids": kinds.VECTOR_STORE,
    "container": kinds.CONTAINER,
    "container_id": kinds.CONTAINER,
    "assistant_id": kinds.ASSISTANT,
    "thread_id": kinds.THREAD,
    "run_id": kinds.RUN,
    "skill_id": kinds.SKILL,
    "eval_id": kinds.EVAL,
    "video_id": kinds.VIDEO,
    "consent": kinds.CONSENT,
    "consent_id": kinds.CONSENT,
}
"""Members that name an object: by its id, a list of ids, or an object with an ``id``."""
BY_OBJECT = {
    "video": kinds.VIDEO,
    "voice": kinds.VOICE,
    "audio": kinds.AUDIO,
    "characters": kinds.CHARACTER,
}
"""The same where only an object with an ``id`` is meant; a text is a name of the API's own, or a URL."""
IN_QUERY = {**BY_NAME, "call_id": kinds.REALTIME_CALL}
WORDS = frozenset({"auto", "none", "any", "latest"})
"""Values of the API's own in the place of an id."""
USERS_OWN = frozenset(
    {
        *("metadata", "attributes", "headers", "env", "state_variables", "logit_bias"),
        *("parameters", "schema", "json_schema", "item_schema", "input_schema", "annotations"),
    }
)
"""Members whose contents upstream only keeps or hands on, under names that users choose."""
ITEMS = frozenset({"input", "items"})
"""Lists whose elements may be taken from an earlier answer by their ``id`` alone."""
SELECTIONS = frozenset({"stored_completions", "responses", "logs"})
"""Data sources of evals that take whatever the project keeps."""
OF_A_SESSION = frozenset({kinds.RESPONSE, kinds.ITEM, kinds.AUDIO})
"""Kinds whose ids a realtime session uses for what it made itself, and nobody else can use."""

SPOKEN = frozenset({"prompt", "input", "instructions"})
"""Fields of a form whose text is for the model, whatever it looks like."""

ESCAPED = (b"\\u", b"\x00")
"""In a body that spells its names with escapes, or in UTF-16."""
RARE = {
    "chat": (b"file_id", b'"audio"', b"ft:", *ESCAPED),
    "completions": (b"ft:", *ESCAPED),
    "embeddings": (b"ft:", *ESCAPED),
    "moderations": (b"ft:", *ESCAPED),
}
"""Endpoints most of whose bodies refer to nothing, and what stands in those that do: others aren't parsed."""
HINTS = (b"_id", b"_file", b"conversation", b"container", b"consent", b"source", b'"id"', b"ft:", *ESCAPED)
"""Without any of these a body that can't be parsed has no reference, either."""
LOOKS_LIKE = re.compile(
    r"(?:resp|conv|chatcmpl|file|upload|batch|ftjob|asst|thread|run|vs|cntr|skill|video|eval|cthr|rtc)[-_]\w{8,}"
    r"|ft:.+",
    re.IGNORECASE,
)
"""Ids, where nothing else tells."""


@dataclass(frozen=True, slots=True)
class References:
    """What a body refers to."""

    refs: tuple[Ref, ...] = ()
    unclear: str | None = None
    """Why that cannot be told for sure."""


def in_target(path: str, query: str = "") -> list[Ref]:
    """The objects that the path and the query of a request refer to.

    >>> in_target("/v1/files/file-1/content")
    [Ref(kind='file', id='file-1', param=None)]
    """
    place = place_of(path)
    if place is None:
        parts = path.split("/")
        found = [Ref("object", part) for part in parts if LOOKS_LIKE.fullmatch(part)]
    else:
        found = [] if place.id is None else [Ref(place.kind, place.id)]
    for name, value in parse_qsl(query, keep_blank_values=True):
        if (kind := IN_QUERY.get(name.strip().lower())) and value:
            found.append(Ref(kind, value, name))
        elif name.strip().lower() == "model" and is_fine_tuned(value):
            found.append(Ref(kinds.MODEL, value, name))
    return found


def in_body(headers: Headers, body: bytes, form: Form | None = None, *, endpoint: str = "") -> References:
    """The objects that a request's body refers to. Never raises."""
    if form is not None:
        return _in_form(form)
    if not body:
        return References()
    coding = header(headers, "content-encoding")
    if coding:
        body, error = decode(body, coding, budget=BUDGET)
        if error:
            return References(unclear=error)
    if endpoint in RARE and not _has(body, RARE[endpoint]):
        return References()
    kind = header(headers, "content-type").strip().lower()
    if is_form(kind) or kind.startswith("application/sdp"):
        return References()
    return _in_json(body, "the body is no JSON")


def in_event(data: bytes, *, session: bool) -> References:
    """The objects that an event of a WebSocket refers to. Never raises.

    `session`: of a realtime session, which has ids of its own for its answers and items.
    """
    return _in_json(data, "the event is no JSON", session=session)


def _in_json(data: bytes, problem: str, *, session: bool = False) -> References:
    try:
        value = json.loads(data, object_pairs_hook=_members)
        return References(tuple(dict.fromkeys(referenced_ids(value, session=session))))
    except (ValueError, RecursionError):
        return References(unclear=problem) if _has(data, HINTS) else References()


def _has(data: bytes, marks: tuple[bytes, ...]) -> bool:
    lowered = data.lower()
    return any(mark in lowered for mark in marks)


def referenced_ids(value: Any, *, session: bool = False) -> list[Ref]:
    """The objects that parsed JSON refers to, as a body, a part of one, or an event of a WebSocket.

    `session`: the event is one of a realtime session, which has ids of its own for its answers and items.

    >>> referenced_ids({"model": "gpt-4o", "conversation": {"id": "conv_1"}})
    [Ref(kind='conversation', id='conv_1', param='conversation')]
    """
    found: list[Ref] = []
    todo: list[tuple[str, Any]] = [("", value)]
    while todo:
        name, item = todo.pop()
        if isinstance(item, list):
            todo += [(name, member) for member in reversed(item)]
        elif isinstance(item, Mapping):
            found += _of_object(name, item)
            members = [(key.strip().lower(), member) for key, member in item.items()]
            todo += [
                (key, member)
                for key, member in reversed(members)
                if isinstance(member, list | Mapping) and key not in USERS_OWN
            ]
    return [ref for ref in found if not (session and ref.kind in OF_A_SESSION)]


def _of_object(name: str, value: Mapping[str, Any]) -> Iterator[Ref]:
    """What an object that stands under `name` refers to by itself."""
    if name == "variables":
        return  # of a stored prompt: names are the user's, and only contents with a type are the API's
    for key, member in value.items():
        known = key.strip().lower()
        if known == "model" and isinstance(member, str) and is_fine_tuned(member):
            yield Ref(kinds.MODEL, member, key)
        elif (kind := BY_NAME.get(known)) is not None:
            yield from _named(kind, key, member)
        elif (kind := BY_OBJECT.get(known)) is not None:
            yield from (ref for ref in _named(kind, key, member) if not _is_text(member, ref.id))
    type_, id_ = value.get("type"), value.get("id")
    if not isinstance(id_, str) or not id_:
        if name == "source" and type_ in SELECTIONS:
            yield Ref(kinds.SELECTION, str(type_), "source")
    elif type_ == "file_id":
        yield Ref(kinds.FILE, id_, "id")
    elif name in ITEMS and _only_refers(value):
        yield Ref(kinds.ITEM, id_, name)


def _named(kind: str, key: str, member: Any) -> Iterator[Ref]:
    for one in member if isinstance(member, list) else [member]:
        id_ = one.get("id") if isinstance(one, Mapping) else one
        if isinstance(id_, str) and id_ and id_.lower() not in WORDS:
            yield Ref(kind, id_, key)


def _is_text(member: Any, id_: str) -> bool:
    return member == id_ or (isinstance(member, list) and id_ in member)


def _only_refers(item: Mapping[str, Any]) -> bool:
    """Whether an element of an input has nothing to say itself, so that upstream looks it up."""
    type_ = item.get("type")
    if type_ == "reasoning":
        return not (item.get("encrypted_content") or item.get("content"))
    if type_ == "image_generation_call":
        return not item.get("result")
    if type_ in (None, "item_reference"):
        return not item.get("role")
    return not any(value for key, value in item.items() if key not in ("id", "type", "status"))


def _members(pairs: list[tuple[str, Any]]) -> Any:
    """The object; with all values of a repeated name, since parsers differ in which one they take."""
    value = dict(pairs)
    if len(value) == len(pairs):
        return value
    return [value, *({key: member} for key, member in pairs)]


def _in_form(form: Form) -> References:
    found: list[Ref] = []
    for field in form.fields:
        if field.text is not None and field.filename is None:
            found += referenced_ids(_nested(field.name, field.text))
    return References(tuple(dict.fromkeys(found)), form.problem)


def _nested(name: str, text: str) -> Any:
    """A form's field as the JSON that it stands for.

    >>> _nested("video[id]", "video_1")
    {'video': {'id': 'video_1'}}
    """
    value: Any = text
    if text[:1] in ("{", "[") and name not in SPOKEN:
        try:
            value = json.loads(text, object_pairs_hook=_members)
        except (ValueError, RecursionError):
            value = text
    for part in reversed([part.rstrip("]") for part in name.split("[")]):
        value = {part: value} if part and not part.isdecimal() else [value]
    return value
