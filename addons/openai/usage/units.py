"""Read what a call used beside what its answer reports: seconds, characters, pictures."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from addons.openai.counting.media import AUDIO_PER_SECOND
from addons.openai.counting.model import Model
from addons.openai.counting.sound import length_of
from addons.openai.http.form import SOUND, Form
from addons.openai.http.values import name, objects, text
from addons.openai.usage import usage as usages
from addons.openai.usage.missing import Missing, missing
from addons.openai.usage.usage import Usage
from addons.openai.vocabulary import normalise

CAPTION_END = re.compile(r"--> *(?:(\d+):)?(\d\d):(\d\d[.,]\d{3})")
"""In subtitles: SubRip, WebVTT."""
LATE = 1.0
"""Seconds by which the last caption may end after the recording does."""
ESTIMATE = "estimate"
BY_HEARD_TOKENS = re.compile(r"gpt-4o.*-transcribe")
"""Models of transcription that are billed by tokens; those before and after them are by time."""


@dataclass(slots=True)
class Billed:
    """Holds a call whose answer reports no usage."""

    model: str | None
    asked: Mapping[str, Any]
    """The request's JSON or the fields of its form; empty where it is neither."""
    output: Any
    streamed: bool
    form: Form | None = None
    """The request's, which may show how long a recording is."""
    units: Usage | None = None
    """It is what else than tokens the call used, where that shows."""


@dataclass(frozen=True, slots=True)
class UsageReader:
    """Says how the use of a call is read beside the usage that its answer reports."""

    units: Callable[[Billed], Usage | None] | None = None
    """Reads what the call is billed by, where that is not tokens."""
    reason: Callable[[Billed], Missing | None] | None = None
    """Says why the answer reports no usage, where that lies in the endpoint and not in the answer."""
    as_billed: Callable[[Billed, str], Usage | None] | None = None
    """Makes of the units what the model bills, given the code of why none is reported."""
    zero_is_wrong: bool = False
    """It tells whether a usage of zero is none at all, also where the answer says nothing."""
    in_parts: bool = False
    """It tells whether a stream reports the usage of each part as it is done."""
    text_is_output: bool = False
    """It tells whether the text of a whole answer is all its output, whose tokens can be counted."""


def _count_pictures(call: Billed) -> Usage | None:
    output = call.output if isinstance(call.output, Mapping) else {}
    count = len(objects(output.get("data")))
    if not count:
        return None
    size, quality = (name(output.get(key)) or name(call.asked.get(key)) for key in ("size", "quality"))
    return Usage(images=count, size=size, quality=quality, source="counted")


def _why_no_pictures(call: Billed) -> Missing | None:
    by_number = isinstance(call.output, Mapping)
    return missing("other_unit", "the call is billed by the image") if by_number else None


def _count_characters(call: Billed) -> Usage | None:
    read_out = call.asked.get("input")
    return Usage(characters=len(read_out), source="counted") if isinstance(read_out, str) else None


def _why_no_speech(call: Billed) -> Missing | None:
    if call.streamed:
        return None
    if (call.model or "").startswith("tts-"):
        return missing("other_unit", "the call is billed by the character")
    return missing("no_usage", "bare audio reports none")


def _measure_recording(call: Billed) -> Usage | None:
    """Give a recording's length: as the answer says it, else its file's; captions give a lower bound."""
    told = _told_seconds(call.output)
    if told is not None and not told.missing:
        return told
    files = call.form.files(SOUND) if call.form is not None else []
    found = length_of(files[0].head, files[0].tail, files[0].size) if len(files) == 1 else None
    if found is None or (told is not None and (told.seconds or 0) > found.seconds + LATE):
        return told
    exact = found.exact and found.whole
    return Usage(
        seconds=found.seconds,
        source="counted" if exact else ESTIMATE,
        missing=() if found.whole else ("audio",),
        approximate=() if found.exact else ("audio",),
    )


def _why_no_recording(call: Billed) -> Missing | None:
    if call.units is not None and not _hears_by_tokens(call):
        return missing("other_unit")
    return missing("no_usage" if "transcribe" in (call.model or "") else "length_unknown")


def _bill_recording(call: Billed, code: str) -> Usage | None:
    """Give tokens where the length is known and the model is billed by them."""
    if call.units is None or not _hears_by_tokens(call):
        return call.units
    if code != "no_usage":
        return None  # the text is not whole: what came of it is counted alone
    heard = max(1, round(AUDIO_PER_SECOND * (call.units.seconds or 0)))
    prompt = Model.of(call.model).n(text(call.asked.get("prompt")))
    return replace(
        call.units,
        input_tokens=heard + prompt,
        input_tokens_details={"audio_tokens": heard, "text_tokens": prompt},
        source=ESTIMATE,
        approximate=("audio",),
    )


def _hears_by_tokens(call: Billed) -> bool:
    return BY_HEARD_TOKENS.match(normalise(call.model or "")) is not None


def _told_seconds(output: object) -> Usage | None:
    """Read the length of the audio in an answer; the end of the last caption is a lower bound."""
    if isinstance(output, Mapping):
        seconds = usages.number(output.get("duration"))
        return Usage(seconds=seconds, source="counted") if seconds else None
    ends = CAPTION_END.findall(output) if isinstance(output, str) else []
    if not ends:
        return None
    hours, minutes, rest = ends[-1]
    seconds = int(hours or 0) * 3600 + int(minutes) * 60 + float(rest.replace(",", "."))
    return Usage(seconds=seconds, source="counted").lacking("audio") if seconds else None


BY_TOKENS = UsageReader()
BATCH = UsageReader(zero_is_wrong=True)
"""Before a batch is counted it reports zero."""
PICTURES = UsageReader(_count_pictures, _why_no_pictures, in_parts=True)
SPEECH = UsageReader(_count_characters, _why_no_speech)
RECORDING = UsageReader(_measure_recording, _why_no_recording, _bill_recording, text_is_output=True)
