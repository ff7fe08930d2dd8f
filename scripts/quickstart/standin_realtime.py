"""Hold a Realtime session as the stand-in: it says what the stand-in always says, as text or as sound."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from scripts.quickstart import standin_answers as answers
from scripts.quickstart.standin_answers import TEXT, Json

BYTES_PER_SECOND = 48_000
"""It is that of 16-bit sound at 24 kHz, which sessions speak unless told otherwise."""
TOKENS_PER_SECOND = 10
SILENCE = base64.b64encode(bytes(BYTES_PER_SECOND // 20)).decode()
"""A twentieth of a second."""


class Session:
    """Holds one session: what it is set to, and what has been said in it."""

    def __init__(self, model: str) -> None:
        self._about: Json = {
            "type": "realtime",
            "object": "realtime.session",
            "id": _name("sess"),
            "model": model,
            "output_modalities": ["audio"],
            "instructions": "Answer briefly.",
            "audio": {"input": {"turn_detection": None}, "output": {"voice": "alloy"}},
            "tools": [],
            "tool_choice": "auto",
            "max_output_tokens": "inf",
        }
        self._words = 0
        self._heard = 0
        """Bytes of sound within items."""
        self._buffer = 0
        """Bytes of sound that are not committed."""
        self._last_item: str | None = None

    def begin(self) -> Iterator[Json]:
        yield _event("session.created", session=self._about)

    def answer(self, asked: Json) -> Iterator[Json]:
        """Yield the events that one event of the client leads to."""
        known: dict[str, Callable[[Json], Iterator[Json]]] = {
            "session.update": self._update,
            "conversation.item.create": self._add,
            "input_audio_buffer.append": self._append,
            "input_audio_buffer.clear": self._clear,
            "input_audio_buffer.commit": self._commit,
            "response.create": self._respond,
        }
        if (found := known.get(str(asked.get("type")))) is None:
            message = f"The stand-in does not know the event {asked.get('type')!r}."
            yield refused(message, None, asked.get("event_id"))
        else:
            yield from found(asked)

    def _update(self, asked: Json) -> Iterator[Json]:
        given = asked.get("session") or {}
        # The model of a session can't be changed.
        self._about |= {name: value for name, value in given.items() if name not in ("id", "object", "model")}
        yield _event("session.updated", session=self._about)

    def _add(self, asked: Json) -> Iterator[Json]:
        item = {"id": _name("item"), "object": "realtime.item", **(asked.get("item") or {})}
        item["status"] = "completed"
        self._words += answers.words(item)
        yield from self._placed(item)

    def _placed(self, item: Json) -> Iterator[Json]:
        before, self._last_item = self._last_item, item["id"]
        yield _event("conversation.item.added", previous_item_id=before, item=item)
        yield _event("conversation.item.done", previous_item_id=before, item=item)

    def _append(self, asked: Json) -> Iterator[Json]:
        self._buffer += len(str(asked.get("audio") or "")) * 3 // 4
        yield from ()

    def _clear(self, _: Json) -> Iterator[Json]:
        self._buffer = 0
        yield _event("input_audio_buffer.cleared")

    def _commit(self, asked: Json) -> Iterator[Json]:
        if not self._buffer:
            message = "The buffer has no sound to commit."
            yield refused(message, "input_audio_buffer_commit_empty", asked.get("event_id"))
            return
        size, self._buffer = self._buffer, 0
        self._heard += size
        name, before = _name("item"), self._last_item
        yield _event("input_audio_buffer.committed", previous_item_id=before, item_id=name)
        part = {"type": "input_audio", "transcript": None}
        item = {"id": name, "object": "realtime.item", "type": "message", "role": "user"}
        yield from self._placed({**item, "status": "completed", "content": [part]})
        if self._transcribes():
            yield _event(
                "conversation.item.input_audio_transcription.completed",
                item_id=name,
                content_index=0,
                transcript=TEXT,
                usage=_transcription_usage(_sound_tokens(size)),
            )

    def _transcribes(self) -> bool:
        given = self._about.get("audio")
        heard = given.get("input") if isinstance(given, dict) else None
        return bool(isinstance(heard, dict) and heard.get("transcription"))

    def _respond(self, asked: Json) -> Iterator[Json]:
        given = asked.get("response") or {}
        ways = given.get("output_modalities") or self._about.get("output_modalities") or ["audio"]
        name, item = _name("resp"), _name("item")
        response = {
            "object": "realtime.response",
            "id": name,
            "status": "in_progress",
            "status_details": None,
            "conversation_id": None,
            "output": [],
            "output_modalities": ways,
            "max_output_tokens": self._about.get("max_output_tokens"),
            "metadata": given.get("metadata"),
            "usage": None,
        }
        yield _event("response.created", response=response)
        spoken = "audio" in ways
        part = (
            {"type": "output_audio", "transcript": TEXT} if spoken else {"type": "output_text", "text": TEXT}
        )
        message = {"id": item, "object": "realtime.item", "type": "message", "role": "assistant"}
        whole = {**message, "status": "completed", "content": [part]}
        yield from self._written(
            name, {**message, "status": "in_progress", "content": []}, whole, spoken=spoken
        )
        words = answers.words(
            [
                *answers.as_list(given.get("input")),
                given.get("instructions") or self._about.get("instructions") or "",
            ]
        )
        usage = self._usage(words, spoken=spoken)
        yield _event(
            "response.done", response=response | {"status": "completed", "output": [whole], "usage": usage}
        )
        self._words += len(answers.pieces())

    def _written(self, response: str, begun: Json, whole: Json, *, spoken: bool) -> Iterator[Json]:
        """Yield the events of one message, word by word."""
        place = {"response_id": response, "output_index": 0}
        part = {**place, "item_id": whole["id"], "content_index": 0}
        kind, said = ("audio", "transcript") if spoken else ("text", "text")
        yield _event("response.output_item.added", **place, item=begun)
        yield _event("conversation.item.added", previous_item_id=self._last_item, item=begun)
        yield _event("response.content_part.added", **part, part={"type": kind, said: ""})
        words = "response.output_audio_transcript" if spoken else "response.output_text"
        for piece in answers.pieces():
            yield _event(f"{words}.delta", **part, delta=piece)
            if spoken:
                yield _event("response.output_audio.delta", **part, delta=SILENCE)
        if spoken:
            yield _event("response.output_audio.done", **part)
        yield _event(f"{words}.done", **part, **{said: TEXT})
        yield _event("response.content_part.done", **part, part={"type": kind, said: TEXT})
        yield _event("conversation.item.done", previous_item_id=self._last_item, item=whole)
        self._last_item = whole["id"]
        yield _event("response.output_item.done", **place, item=whole)

    def _usage(self, words: int, *, spoken: bool) -> Json:
        """Return what the answer used: all that was said in the session so far goes in."""
        text, heard = self._words + words, _sound_tokens(self._heard)
        written = len(answers.pieces())
        sound = _sound_tokens(written * BYTES_PER_SECOND // 20) if spoken else 0
        return {
            "total_tokens": text + heard + written + sound,
            "input_tokens": text + heard,
            "output_tokens": written + sound,
            "input_token_details": {
                "text_tokens": text,
                "audio_tokens": heard,
                "image_tokens": 0,
                "cached_tokens": 0,
                "cached_tokens_details": {"text_tokens": 0, "audio_tokens": 0, "image_tokens": 0},
            },
            "output_token_details": {"text_tokens": written, "audio_tokens": sound},
        }


def refused(message: str, code: str | None, event_id: Any) -> Json:
    """Return an `error` event; the session goes on."""
    error = answers.error(message, "invalid_request_error", code)["error"]
    return _event("error", error=error | {"event_id": event_id})


def _transcription_usage(heard: int) -> Json:
    written = len(answers.pieces())
    return {
        "type": "tokens",
        "total_tokens": heard + written,
        "input_tokens": heard,
        "input_token_details": {"text_tokens": 0, "audio_tokens": heard},
        "output_tokens": written,
    }


def _sound_tokens(size: int) -> int:
    return -(-size * TOKENS_PER_SECOND // BYTES_PER_SECOND)


def _event(kind: str, **fields: Any) -> Json:
    return {"type": kind, "event_id": _name("event"), **fields}


def _name(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex[:21]}"
