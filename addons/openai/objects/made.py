"""Find the objects that an answer makes, or shows for the first time, or deletes.

Only fields that the server itself fills are looked at. A user can have almost any text repeated in an answer
(metadata, instructions, tools), and must not come by an object in this way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from addons.openai import asked_tier
from addons.openai.completion_window import window_tier
from addons.openai.http.values import Json, name, objects
from addons.openai.objects import kinds
from addons.openai.objects.kinds import Place, place_of

UNFINISHED = frozenset({"queued", "in_progress", "requires_action", "cancelling"})
ENDED_BATCHES = frozenset({"completed", "failed", "expired", "cancelled"})
MAKERS = frozenset(
    {
        *(kinds.RESPONSE, kinds.CONVERSATION, kinds.COMPLETION, kinds.FILE, kinds.UPLOAD, kinds.BATCH),
        *(kinds.JOB, kinds.ASSISTANT, kinds.THREAD, kinds.VECTOR_STORE, kinds.CONTAINER, kinds.SKILL),
        *(kinds.VIDEO, kinds.CHARACTER, kinds.EVAL, kinds.VOICE, kinds.CONSENT, kinds.LIVE_SESSION),
        *(kinds.CHATKIT_SESSION, kinds.AGENT, kinds.AGENT_SESSION, kinds.ENVIRONMENT, kinds.TEMPLATE),
        *(kinds.AUTOMATION, kinds.VAULT),
    }
)
"""Kinds of which a POST to the collection makes one, and the answer's ``id`` is its."""
MAKING_ACTIONS = {(kinds.VIDEO, "edits"), (kinds.VIDEO, "extensions")}
"""Actions on a collection whose answer is a new object of it."""
MAKING_BELOW = {
    (kinds.VIDEO, "remix"): kinds.VIDEO,
    (kinds.LIVE_SESSION, "fork"): kinds.LIVE_SESSION,
    (kinds.VAULT, "credentials"): kinds.VAULT_CREDENTIAL,
}
"""It is what a POST below an object makes; the answer's ``id`` is its."""


@dataclass(frozen=True, slots=True)
class Made:
    """Names an object that was made."""

    kind: str
    id: str
    due: bool = False
    """It tells whether its usage comes with a later answer."""
    passing: bool = False
    """It tells whether the API itself forgets it after thirty days."""
    kept: bool = True
    """False where upstream keeps it only while the connection lasts (``store: false``)."""
    parent: str | None = None
    """Id of the batch whose lines a file has."""
    status: str | None = None
    """It is that of a batch, as last seen; of a response the tier of its completion window, or that it was
    asked in."""


def made(method: str, path: str, answer: Any, request: Any = None) -> list[Made]:
    """Find the objects that come with a successful answer: a whole object, or one read from a stream.

    `request` is the JSON that was sent. In a list that was filtered before only what belongs to its elements
    is found, and not the elements.
    """
    place = place_of(path)
    if place is None or not isinstance(answer, Mapping):
        return []
    sent = request if isinstance(request, Mapping) else {}
    found = [*_itself(method.upper(), place, answer, sent)]
    for one in objects(answer.get("data")) if answer.get("object") == "list" else [dict(answer)]:
        found += _beside(one, place)
    return list(dict.fromkeys(found))


def first_made(method: str, path: str, event: Json, request: Any = None) -> list[Made]:
    """Give the same from the first events of a stream, where the object is not finished."""
    whole = next((part for key in ("response", "session") if isinstance(part := event.get(key), dict)), event)
    return made(method, path, whole, request)


def deleted(method: str, path: str, answer: Any) -> str | None:
    """Give the id of the object that a successful answer says is gone."""
    place = place_of(path) if method.upper() == "DELETE" else None
    if place is None or place.id is None or place.below:
        return None
    gone = not isinstance(answer, Mapping) or answer.get("deleted", True) is not False
    return place.id if gone else None


def _itself(method: str, place: Place, answer: Mapping[str, Any], sent: Mapping[str, Any]) -> Iterator[Made]:
    """Give the object that a request to a collection asked for."""
    id_ = name(answer.get("id"))
    if method != "POST" or id_ is None:
        return
    if place.kind == kinds.THREAD and place.below == ("runs",):
        yield from _run(answer)
    elif len(place.below) == 1 and (kind := MAKING_BELOW.get((place.kind, place.below[0]))):
        yield Made(kind, id_)
    elif place.id is not None or place.kind not in MAKERS:
        return
    elif place.kind == kinds.COMPLETION:
        if sent.get("store") is True:
            yield Made(kinds.COMPLETION, id_, passing=True)
    elif not place.below or (place.kind, place.below[0]) in MAKING_ACTIONS:
        yield _whole(place.kind, id_, answer, sent)


def _whole(kind: str, id_: str, answer: Mapping[str, Any], sent: Mapping[str, Any]) -> Made:
    status = name(answer.get("status"))
    if kind == kinds.BATCH:
        return Made(kind, id_, due=True, status=status)
    if kind == kinds.RESPONSE:
        due = sent.get("background") is True or answer.get("background") is True
        kept = answer.get("store", sent.get("store")) is not False
        asked = asked_tier.asked_tier(sent)
        window = window_tier(answer, sent) or (f"{asked_tier.KEPT}{asked}" if asked else None)
        return Made(kind, id_, due=due, passing=not answer.get("conversation"), kept=kept, status=window)
    return Made(kind, id_)


def _run(answer: Mapping[str, Any]) -> Iterator[Made]:
    if (id_ := name(answer.get("id"))) and answer.get("object") in ("thread.run", None):
        yield Made(kinds.RUN, id_, due=True)
    elif id_ and answer.get("object") == "thread":
        yield Made(kinds.THREAD, id_)
    if thread := name(answer.get("thread_id")):
        yield Made(kinds.THREAD, thread)


def _beside(answer: Json, place: Place) -> Iterator[Made]:
    """Give what the server made together with an object, or because of it."""
    kind = answer.get("object")
    if place.kind == kinds.RESPONSE:
        yield from _of_response(answer)
    elif place.kind == kinds.COMPLETION:
        yield from _of_completion(answer)
    elif kind == "batch":
        yield from _of_batch(answer)
    elif kind in ("fine_tuning.job", "fine_tuning.job.checkpoint"):
        models = [name(answer.get(key)) for key in ("fine_tuned_model", "fine_tuned_model_checkpoint")]
        yield from (Made(kinds.MODEL, model) for model in models if model)
        yield from (Made(kinds.FILE, id_) for id_ in _texts(answer.get("result_files")))
    elif place.kind in (kinds.AGENT_SESSION, kinds.AUTOMATION):
        yield from _of_agent(answer)
    elif kind == "upload":
        file = answer.get("file")
        if isinstance(file, dict) and (id_ := name(file.get("id"))):
            yield Made(kinds.FILE, id_)
    elif kind == "thread.message" and answer.get("role") == "assistant":
        yield from _of_message(answer)
    elif kind == "thread.run":
        for message in objects(answer.get("messages")):
            yield from _of_message(message)


def _of_agent(answer: Json) -> Iterator[Made]:
    """Give the agent and the environment that a session was given, the session that an automation began."""
    for key, kind in (("agent", kinds.AGENT), ("environment", kinds.ENVIRONMENT)):
        part = answer.get(key)
        if isinstance(part, dict) and (id_ := name(part.get("id"))):
            yield Made(kind, id_)
    if answer.get("object") == "agent.automation.invocation" and (id_ := name(answer.get("session_id"))):
        yield Made(kinds.AGENT_SESSION, id_)


def _of_completion(answer: Json) -> Iterator[Made]:
    """Sound, which later messages name by its id."""
    for choice in objects(answer.get("choices")):
        message = choice.get("message")
        audio = message.get("audio") if isinstance(message, dict) else None
        if isinstance(audio, dict) and (id_ := name(audio.get("id"))):
            yield Made(kinds.AUDIO, id_, passing=True)


def _of_batch(answer: Json) -> Iterator[Made]:
    id_, status = name(answer.get("id")), name(answer.get("status"))
    if id_ is None:
        return
    for key in ("output_file_id", "error_file_id"):
        if file := name(answer.get(key)):
            yield Made(kinds.FILE, file, parent=id_)
    # Without an output file there is nothing to pay for.
    ended = status in ENDED_BATCHES and not answer.get("output_file_id")
    yield Made(kinds.BATCH, id_, due=not ended, status=status)


def _of_response(answer: Json) -> Iterator[Made]:
    """Give the items of an answer, which later inputs name by their ids, and containers that it was given."""
    if answer.get("object") == "response.compaction":
        return  # repeats the input's
    lasts = bool(answer.get("conversation"))
    kept = answer.get("store") is not False
    for item in objects(answer.get("output")):
        if id_ := name(item.get("id")):
            yield Made(kinds.ITEM, id_, passing=not lasts, kept=kept)
        environment = item.get("environment")
        for holder in (item, environment if isinstance(environment, dict) else {}):
            if container := name(holder.get("container_id")):
                yield Made(kinds.CONTAINER, container)


def _of_message(message: Json) -> Iterator[Made]:
    """Give the files that an assistant's tools made."""
    for part in objects(message.get("content")):
        image, text = part.get("image_file"), part.get("text")
        if isinstance(image, dict) and (id_ := name(image.get("file_id"))):
            yield Made(kinds.FILE, id_)
        for annotation in objects(text.get("annotations")) if isinstance(text, dict) else []:
            path = annotation.get("file_path")
            if isinstance(path, dict) and (id_ := name(path.get("file_id"))):
                yield Made(kinds.FILE, id_)


def _texts(value: object) -> Sequence[str]:
    return [one for one in value if isinstance(one, str) and one] if isinstance(value, list) else []
