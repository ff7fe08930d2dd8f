"""Find the last event of a stream: after it the client has all there is, whenever the body itself ends.

The official SDKs close the connection as soon as they have read it, which may be before the server has ended
the body.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from addons.openai.answers import errors
from addons.openai.answers.assemble_responses import FINAL
from addons.openai.http.body import Opened, open_body
from addons.openai.http.messages import Response
from addons.openai.http.values import Json, index, objects, text

FINAL_TYPES = FINAL | {"transcript.text.done", "speech.audio.done"}
FINISHED_RUN = frozenset({"completed", "incomplete", "failed", "cancelled", "expired", "requires_action"})
"""States in which a thread's run has nothing more to stream."""
LOOK_BYTES = 128 * 2**10
"""It is that of a stream's end that are parsed at once: a millisecond's work."""
LAST_EVENTS = (
    ("transcript.text.", "done"),
    ("speech.audio.", "done"),
    ("image_generation.", "completed"),
    ("image_edit.", "completed"),
)
"""It is what the type of a stream's events begins with, and what that of its last one ends with."""
IMAGE_DONE = ("image_generation.completed", "image_edit.completed")


def is_finished(answer: Opened, request: Any = None) -> bool:
    """Tell whether the stream's last event has come; False for an answer that is no stream.

    `request` is the request's body, where it is known: it says how many images or choices were asked for.
    """
    if answer.events is None:
        return False
    if answer.done:
        return not _is_open_response(answer.events)
    if not answer.events or answer.unparsed_last:
        return False
    last = answer.events[-1]
    if errors.of_event(last) is not None and not objects(last.get("choices")):
        return True  # SDKs raise it, and leave
    kind = text(last.get("type"))
    if kind in FINAL_TYPES:
        return True
    if last.get("object") == "thread.run":
        return last.get("status") in FINISHED_RUN
    if kind in IMAGE_DONE:
        done = sum(text(event.get("type")) == kind for event in answer.events)
        return done >= _asked_for(request)
    return _is_closing_usage(last) and _all_choices_finished(answer.events, _asked_for(request))


def has_ended(answer: Opened, output: Any) -> bool | None:
    """Tell whether an answer whose body came to an end has its own end; None where that can't be told.

    `output` is the object that the stream's events make up.
    """
    events = answer.events
    if answer.broken_off:
        return False
    if events is None or (answer.unparsed and not events):
        return None
    if not events or (answer.done and not _is_open_response(events)):
        return answer.done
    kind = text(events[-1].get("type"))
    if (last := next((end for start, end in LAST_EVENTS if kind.startswith(start)), None)) is not None:
        return kind.endswith(last)
    if not isinstance(output, Mapping):
        return None
    if output.get("object") == "response" or kind.startswith("response."):
        return text(output.get("status")) in FINISHED_RUN
    if "choices" not in output:
        return None
    choices = objects(output.get("choices"))
    finished = bool(choices) and all(choice.get("finish_reason") for choice in choices)
    return finished or (events[-1].get("choices") == [] and isinstance(events[-1].get("usage"), Mapping))


def ends_finished(end: bytes) -> bool:
    """Give the same of the last bytes of an uncoded stream, fast enough for the event loop."""
    start = max(end.rstrip().rfind(b"\n\n"), end.rstrip().rfind(b"\r\n\r\n"))
    if len(end) - start > LOOK_BYTES:  # one long event: its name alone
        name = end[start:].lstrip().partition(b"\n")[0].removeprefix(b"event:").strip()
        return name.decode("latin-1") in FINAL_TYPES
    looked_at = end[-LOOK_BYTES:]
    if len(looked_at) < len(end):
        looked_at = looked_at[looked_at.find(b"\n\n") + 2 :]
    headers = [("content-type", "text/event-stream")]
    return is_finished(open_body(Response(200, headers, looked_at)))


def _is_open_response(events: Sequence[Json]) -> bool:
    """Tell whether events are those of a response whose last one did not come: ``[DONE]`` does not end it."""
    kinds = [text(event.get("type")) for event in events]
    if not any(kind.startswith("response.") for kind in kinds):
        return False
    whole = [event["response"] for event in events if isinstance(event.get("response"), Mapping)]
    return not any(kind in FINAL for kind in kinds) and not any(
        text(response.get("status")) in FINISHED_RUN for response in whole
    )


def _is_closing_usage(chunk: Json) -> bool:
    """Tell whether `chunk` reports a chat's usage behind all of its text; only ``[DONE]`` comes after it."""
    if not isinstance(chunk.get("usage"), Mapping) or not isinstance(chunk.get("choices"), list):
        return False
    return all(choice.get("finish_reason") for choice in objects(chunk["choices"]))


def _all_choices_finished(chunks: Sequence[Json], asked_for: int) -> bool:
    finished = {
        index(choice) or 0
        for chunk in chunks
        for choice in objects(chunk.get("choices"))
        if choice.get("finish_reason")
    }
    return len(finished) >= asked_for


def _asked_for(request: Any) -> int:
    """Say how many choices or images were asked for; a form has its numbers as text."""
    number = request.get("n") if isinstance(request, Mapping) else None
    if isinstance(number, str) and number.isdecimal():
        number = int(number)
    return number if isinstance(number, int) and number > 0 else 1
