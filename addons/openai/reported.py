"""The usage that an answer reports, or what its call is billed by instead, or why there is none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from addons.openai import assemble_threads
from addons.openai import usage as usages
from addons.openai.body import Opened
from addons.openai.endpoints import Bills
from addons.openai.messages import Response, Summary
from addons.openai.usage import Usage
from addons.openai.values import name, objects, text

CODES = {
    "no_answer": "no answer came",
    "failed": "the call failed",
    "undecodable": "the body could not be decoded",
    "unparsable": "the body could not be understood",
    "cut": "the answer broke off, or the part that has it was not kept",
    "not_asked": "the stream was not asked for usage (stream_options.include_usage)",
    "zero": "the reported usage is zero, which cannot be",
    "other_unit": "the call is not billed by tokens",
    "later": "the call is billed later, or elsewhere",
    "unbilled": "the call is not billed",
    "counted": "what the answer shows is counted once, with another call",
    "no_usage": "the answer reports none",
    "unread": "the call could not be read",
}
"""Why an answer has no usage: stable codes, and what they say. ``unread`` is an event's in outline only."""

COUNTABLE = frozenset({"cut", "not_asked", "zero", "no_usage", "failed", "undecodable", "unparsable"})
"""Codes under which tokens may have been spent, which can be counted from the text."""

ONLY_WITH_TEXT = frozenset({"failed", "undecodable", "unparsable"})
"""Those of them under which a call without any text is taken to have spent nothing, or can't be told."""

UNFINISHED = frozenset({"queued", "in_progress", "requires_action"})
SPOKEN = frozenset({"audio_transcriptions", "audio_translations"})


@dataclass(frozen=True, slots=True)
class Missing:
    """Why an answer has no usage."""

    code: str
    text: str


def read_usage(summary: Summary, answer: Opened, response: Response) -> tuple[Usage | None, Missing | None]:
    """The usage of an answer that is otherwise read; and why the answer itself reports none, if so.

    Both are set where a call is billed by something else that can be told, such as characters.
    """
    found = _reported(summary, answer, response)
    if found is None and answer.tail:
        found, model = usages.from_tail(answer.tail)
        summary.model = model or summary.model
    if found is not None and found.is_zero and (says_something(summary.output) or summary.endpoint == "jobs"):
        return None, Missing("zero", CODES["zero"])
    if found is not None:
        return found, None
    missing = _why_missing(summary, answer, response)
    if response.status < 400 and summary.error is None:
        return _other_units(summary), missing
    return None, missing


def _reported(summary: Summary, answer: Opened, response: Response) -> Usage | None:
    output = summary.output
    if not isinstance(output, Mapping):
        return None
    if output.get("object") == "event_stream":
        return usages.read(usages.last_complete(_usages_of_events(output.get("events"))))
    found = usages.read(output.get("usage"))
    if found is None and output.get("object") == "thread.run":
        steps = usages.read(assemble_threads.usage_of_steps(dict(output)))
        return steps.lacking("cut") if steps else None
    if found is not None and any(
        "partial_image_index" in image for image in objects(output.get("data"))[-1:]
    ):
        return found.lacking("cut")
    if found is not None and answer.skipped and answer.events is not None and summary.endpoint == "images":
        return found.lacking("cut")
    if found is not None and not response.complete and answer.events is not None and _goes_on(output):
        # Servers that report with every chunk report what there was until then; an older report is none.
        return found.lacking("cut") if usages.states_both(answer.events[-1].get("usage")) else None
    return found


def _goes_on(output: Mapping[str, Any]) -> bool:
    """Whether a chat or completion still had choices to finish."""
    choices = objects(output.get("choices"))
    return bool(choices) and not all(choice.get("finish_reason") for choice in choices)


def _usages_of_events(events: Any) -> Iterator[object]:
    for event in objects(events):
        for holder in (event.get("response"), event):
            if isinstance(holder, Mapping):
                yield holder.get("usage")


SAYING = ("content", "summary", "arguments", "input", "code", "result", "action", "operation")
"""Fields of a response's items that say something."""


def says_something(output: Any) -> bool:
    """Whether an answer has any text, argument or audio: then a usage of zero is wrong."""
    if not isinstance(output, Mapping):
        return False
    if output.get("text") or output.get("audio") or assemble_threads.texts(dict(output)):
        return True
    for item in objects(output.get("output")):
        if any(item.get(key) for key in SAYING):
            return True
    for choice in objects(output.get("choices")):
        message = choice.get("message")
        if choice.get("text"):
            return True
        if isinstance(message, Mapping) and any(message[key] for key in message if key != "role"):
            return True
    return False


def said_beside(output: Any) -> str:
    """The text of a thread's run or a transcription, whose input is not in view: all that can be counted."""
    if not isinstance(output, Mapping):
        return ""
    return "".join(assemble_threads.texts(dict(output))) or text(output.get("text"))


def _why_missing(summary: Summary, answer: Opened, response: Response) -> Missing:
    if response.status >= 400 or summary.error is not None:
        return _missing("failed")
    if answer.undecoded:
        return _missing("undecodable")
    if Bills.LATER in summary.bills:
        return _missing("later", "the endpoint bills later, or elsewhere")
    if not summary.bills:
        return _missing("unbilled", "the endpoint reports none")
    if not response.complete:
        return _missing("cut", "the answer broke off")
    if answer.skipped:
        return _missing("cut", "the part of the answer that has it was not kept")
    if (found := _billed_otherwise(summary, answer)) is not None:
        return found
    if _is_unparsed(answer, response):
        return _missing("unparsable")
    if isinstance(summary.output, Mapping) and name(summary.output.get("status")) in UNFINISHED:
        return _missing("later", "the answer is not finished; its usage comes with a later call")
    if answer.events is not None and summary.endpoint in ("chat", "completions"):
        return _missing("not_asked")
    return _missing("no_usage")


def _missing(code: str, words: str | None = None) -> Missing:
    return Missing(code, words or CODES[code])


def _billed_otherwise(summary: Summary, answer: Opened) -> Missing | None:
    if summary.endpoint in SPOKEN:
        return _missing("other_unit", "the call is billed by the second, which the answer does not tell")
    if summary.endpoint == "images" and isinstance(summary.output, Mapping):
        return _missing("other_unit", "the call is billed by the image")
    if summary.endpoint == "audio_speech" and answer.events is None:
        if (summary.model or "").startswith("tts-"):
            return _missing("other_unit", "the call is billed by the character")
        return _missing("no_usage", "bare audio reports none")
    return None


def _is_unparsed(answer: Opened, response: Response) -> bool:
    """Whether there is a body, and it is neither JSON nor a stream of JSON."""
    if answer.events is not None:
        return not answer.events and answer.unparsed > 0
    return answer.value is None and bool(response.body)


def _other_units(summary: Summary) -> Usage | None:
    """What can be told of a call that is billed by something else than tokens."""
    asked = summary.request if isinstance(summary.request, Mapping) else {}
    output = summary.output if isinstance(summary.output, Mapping) else {}
    if summary.endpoint == "audio_speech" and isinstance(asked.get("input"), str):
        return Usage(characters=len(asked["input"]), source="counted")
    if summary.endpoint in SPOKEN:
        seconds = usages.number(output.get("duration"))
        return Usage(seconds=seconds, source="counted") if seconds else None
    if summary.endpoint == "images" and (count := len(objects(output.get("data")))):
        size, quality = (name(output.get(key)) or name(asked.get(key)) for key in ("size", "quality"))
        return Usage(images=count, size=size, quality=quality, source="counted")
    return None
