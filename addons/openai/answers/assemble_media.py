"""The event streams of audio and images become the objects that the calls return without streaming."""

from __future__ import annotations

from collections.abc import Iterable

from addons.openai.http.values import Json, objects, text
from addons.openai.usage import usage as usages
from addons.openai.usage.usage import Usage

SHARED = ("background", "created", "output_format", "quality", "size")
"""It is what all images of an answer have in common stands at its top."""


def transcription(events: Iterable[Json]) -> Json | None:
    """Make ``transcript.text.*`` the transcription: `text`, and any `segments` and `logprobs`."""
    whole: Json = {}
    said: list[str] = []
    segments: list[Json] = []
    logprobs: list[Json] = []
    for event in events:
        kind = event.get("type")
        if kind == "transcript.text.delta":
            said.append(text(event.get("delta")))
            logprobs += objects(event.get("logprobs"))
        elif kind == "transcript.text.segment":
            segments.append(event)
        elif kind == "transcript.text.done":
            whole = {key: value for key, value in event.items() if key != "type"}
    if not (whole or said or segments):
        return None
    joined = "".join(said) or "".join(text(segment.get("text")) for segment in segments).strip()
    result = {"text": joined, **whole}
    if segments:
        result["segments"] = segments
    if logprobs and not result.get("logprobs"):
        result["logprobs"] = logprobs
    return result


def speech(events: Iterable[Json]) -> Json | None:
    """Make ``speech.audio.*`` `audio`, its `data` in base64, and `usage`. Without streaming: bare audio."""
    whole: Json = {}
    audio: list[str] = []
    seen = False
    for event in events:
        kind = text(event.get("type"))
        if kind == "speech.audio.delta":
            audio.append(text(event.get("audio")))
        elif kind == "speech.audio.done":
            whole = {key: value for key, value in event.items() if key != "type"}
        seen = seen or kind.startswith("speech.audio.")
    return {"audio": {"data": "".join(audio)}, **whole} if seen else None


def images(events: Iterable[Json]) -> Json | None:
    """Make ``image_generation.*``, ``image_edit.*`` `data`, one for each image, and the sum of their usages.

    Of an image that never came whole, its last partial one.
    """
    result: Json = {}
    data: list[Json] = []
    partial: Json | None = None
    reported: list[Usage] = []
    authored: list[Usage] = []
    for event in events:
        kind = text(event.get("type"))
        if not kind.startswith(("image_generation.", "image_edit.")):
            continue
        for key in SHARED:
            value = event.get("created_at" if key == "created" else key)
            if value is not None:
                result[key] = value
        if kind.endswith(".completed"):
            data.append(_image(event))
            partial = None
            if (found := usages.read(event.get("usage"))) is not None:
                reported.append(found)
            if (found := usages.read(event.get("svg_usage"))) is not None:
                authored.append(found)
        elif kind.endswith(".partial_image"):
            partial = _image(event)
    if not result and not data and partial is None:
        return None
    result["data"] = data if partial is None else [*data, partial]
    if (total := usages.total(reported)) is not None:
        result["usage"] = total.raw
    if (total := usages.total(authored)) is not None:
        result["svg_usage"] = total.raw
    return result


def _image(event: Json) -> Json:
    known = ("b64_json", "url", "revised_prompt", "partial_image_index")
    return {key: event[key] for key in known if event.get(key) is not None}
