"""Answer as the stand-in: in the shapes of the OpenAI API, made from the request alone.

A "token" here is a word; the counts are honest for that unit and need no vocabulary.
"""

from __future__ import annotations

import base64
import io
import json
import random
import struct
import time
import uuid
import wave
from collections.abc import Iterator, Mapping
from typing import Any

from scripts.quickstart.standin_tools import Call, insisted_call
from scripts.quickstart.standin_tools import response_events as call_events

TEXT = "This is the local stand-in for the OpenAI API speaking, not a model. Everything around it is real."
MODELS = ("gpt-4o-mini", "gpt-3.5-turbo-instruct", "gpt-realtime", "text-embedding-3-small")

Json = dict[str, Any]

PIXEL = base64.b64encode(
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89"
    b"\x00\x00\x00\rIDATx\x9cc\xf8\xff\xff?\x00\x05\xfe\x02\xfe\r\xefF\xb8\x00\x00\x00\x00IEND\xaeB`\x82"
).decode()
"""A PNG of one white pixel."""


def words(value: Any) -> int:
    """Count words in all texts of `value`, however deep; an image or a file counts nothing."""
    if isinstance(value, str):
        return len(value.split())
    if isinstance(value, list):
        return sum(words(item) for item in value)
    if isinstance(value, dict):
        return words(value.get("content")) + words(value.get("text"))
    return 0


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def pieces() -> list[str]:
    """Give the answer's text as it is streamed: word by word, joined without loss."""
    first, *rest = TEXT.split(" ")
    return [first, *(f" {word}" for word in rest)]


def models(_: Json) -> Json:
    data = [{"id": name, "object": "model", "created": 1715367049, "owned_by": "stand-in"} for name in MODELS]
    return {"object": "list", "data": data}


def embeddings(request: Json) -> Json:
    """Give one unit vector for each input, the same for the same text, as floats or as base64 of float32."""
    given = request.get("input", "")
    # A list of numbers is one input of token ids, any other list is several inputs.
    several = isinstance(given, list) and not all(isinstance(item, int) for item in given)
    inputs = given if several else [given]
    size = int(request.get("dimensions") or 1536)
    encoded = request.get("encoding_format") == "base64"
    data = []
    for index, text in enumerate(inputs):
        vector = _vector(json.dumps(text), size)
        value = base64.b64encode(struct.pack(f"<{size}f", *vector)).decode() if encoded else vector
        data.append({"object": "embedding", "index": index, "embedding": value})
    count = sum(len(item) if isinstance(item, list) else words(item) for item in inputs)
    usage = {"prompt_tokens": count, "total_tokens": count}
    return {"object": "list", "data": data, "model": _model(request), "usage": usage}


def _vector(seed: str, size: int) -> list[float]:
    source = random.Random(seed)  # noqa: S311 - reproducible numbers, no secret
    raw = [source.gauss(0, 1) for _ in range(size)]
    length = sum(number * number for number in raw) ** 0.5 or 1.0
    return [number / length for number in raw]


def completion(request: Json) -> Json:
    """Give a legacy text completion."""
    choice = {"text": TEXT, "index": 0, "logprobs": None, "finish_reason": "stop"}
    return _head(request, "cmpl", "text_completion") | {
        "choices": [choice],
        "usage": _chat_usage(words(request.get("prompt"))),
    }


def completion_stream(request: Json) -> Iterator[str]:
    whole = completion(request)
    usage = whole.pop("usage")
    for piece in pieces():
        yield _data(whole | {"choices": [whole["choices"][0] | {"text": piece, "finish_reason": None}]})
    yield _data(whole | {"choices": [whole["choices"][0] | {"text": ""}]})
    if _include_usage(request):
        yield _data(whole | {"choices": [], "usage": usage})
    yield "data: [DONE]\n\n"


def chat(request: Json) -> Json:
    call = insisted_call(request)
    said = {"content": None, "tool_calls": [call.in_chat()]} if call else {"content": TEXT}
    message: Json = {"role": "assistant", "refusal": None, "annotations": [], **said}
    finish = "tool_calls" if call else "stop"
    return _head(request, "chatcmpl", "chat.completion") | {
        "service_tier": "default",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
        "usage": _chat_usage(words(request.get("messages")), call),
    }


def chat_stream(request: Json) -> Iterator[str]:
    """Yield chunks as the API does: a role, the text, a finish reason, usage if asked for, ``[DONE]``."""
    head = _head(request, "chatcmpl", "chat.completion.chunk") | {"service_tier": "default"}
    asked = {"usage": None} if _include_usage(request) else {}

    def chunk(delta: Json, finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _data(head | {"choices": [choice]} | asked)

    if call := insisted_call(request):
        yield chunk({"role": "assistant", "content": None, "tool_calls": [{"index": 0, **call.in_chat()}]})
        yield chunk({}, "tool_calls")
    else:
        yield chunk({"role": "assistant", "content": "", "refusal": None})
        for piece in pieces():
            yield chunk({"content": piece})
        yield chunk({}, "stop")
    if asked:
        yield _data(head | {"choices": [], "usage": _chat_usage(words(request.get("messages")), call)})
    yield "data: [DONE]\n\n"


def response(request: Json) -> Json:
    """Give a response object of ``/v1/responses``, completed."""
    given = words(request.get("input")) + words(request.get("instructions"))
    # On a socket a client may warm up, which makes no text.
    call = insisted_call(request)
    item: Json | None = (
        call.in_response() if call else _message(f"msg_{uuid.uuid4().hex}", "completed", [_part(TEXT)])
    )
    written = call.words if call else len(pieces())
    if request.get("generate") is False:
        item, written = None, 0
    return {
        "id": f"resp_{uuid.uuid4().hex}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": request.get("instructions"),
        "max_output_tokens": request.get("max_output_tokens"),
        "model": _model(request),
        "output": [item] if item else [],
        "parallel_tool_calls": True,
        "previous_response_id": request.get("previous_response_id"),
        "service_tier": "default",
        "store": request.get("store", True),
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": {
            "input_tokens": given,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": written,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": given + written,
        },
        "user": request.get("user"),
        "metadata": request.get("metadata") or {},
    }


def response_stream(request: Json) -> Iterator[str]:
    """Give the named events of a Responses stream; it has no ``[DONE]``."""
    for event in response_events(request):
        yield f"event: {event['type']}\n{_data(event)}"


def response_events(request: Json) -> Iterator[Json]:
    """Give the events of a Responses stream, numbered from 0."""
    for number, event in enumerate(_response_events(response(request))):
        yield event | {"sequence_number": number}


def _response_events(done: Json) -> Iterator[Json]:
    begun = done | {"status": "in_progress", "output": [], "usage": None}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for item in done["output"]:
        if item["type"] == "function_call":
            yield from call_events(Call(item["name"], item["arguments"], item["call_id"]))
        else:
            yield from _message_events(item)
    yield {"type": "response.completed", "response": done}


def _message_events(item: Json) -> Iterator[Json]:
    place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    added = _message(item["id"], "in_progress", [])
    yield {"type": "response.output_item.added", "output_index": 0, "item": added}
    yield {"type": "response.content_part.added", **place, "part": _part("")}
    for piece in pieces():
        yield {"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []}
    yield {"type": "response.output_text.done", **place, "text": TEXT, "logprobs": []}
    yield {"type": "response.content_part.done", **place, "part": _part(TEXT)}
    yield {"type": "response.output_item.done", "output_index": 0, "item": item}


def moderation(request: Json) -> Json:
    """Find nothing in anything."""
    names = ("harassment", "hate", "illicit", "self-harm", "sexual", "violence")
    given = request.get("input", "")
    inputs = given if isinstance(given, list) else [given]
    result = {
        "flagged": False,
        "categories": dict.fromkeys(names, False),
        "category_scores": dict.fromkeys(names, 0.0),
        "category_applied_input_types": {name: ["text"] for name in names},
    }
    model = request.get("model") or "omni-moderation-latest"
    return {"id": f"modr-{uuid.uuid4().hex}", "model": model, "results": [result for _ in inputs]}


def image(request: Json) -> Json:
    """Give one pixel, with the usage of a picture of a thousand."""
    count = int(request.get("n") or 1)
    given = words(request.get("prompt"))
    return {
        "created": int(time.time()),
        "data": [{"b64_json": PIXEL} for _ in range(count)],
        "usage": {
            "input_tokens": given,
            "input_tokens_details": {"text_tokens": given, "image_tokens": 0},
            "output_tokens": 1056 * count,
            "total_tokens": given + 1056 * count,
        },
    }


def transcription(request: Json) -> Json:
    """Give what the stand-in always says, as if it had heard it."""
    written = len(pieces())
    return {
        "text": TEXT,
        "usage": {
            "type": "tokens",
            "input_tokens": 14,
            "input_token_details": {"text_tokens": 0, "audio_tokens": 14},
            "output_tokens": written,
            "total_tokens": 14 + written,
        },
    } | ({"language": request["language"]} if "language" in request else {})


def speech(seconds: float = 0.25) -> bytes:
    """Give a WAV file of silence."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(1)
        sound.setframerate(8000)
        sound.writeframes(b"\x80" * int(8000 * seconds))
    return file.getvalue()


def error(message: str, kind: str, code: str | None) -> Json:
    """Give the error object of the API."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _part(text: str) -> Json:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def _message(name: str, status: str, content: list[Json]) -> Json:
    return {"id": name, "type": "message", "status": status, "role": "assistant", "content": content}


def _head(request: Json, prefix: str, kind: str) -> Json:
    return {
        "id": f"{prefix}-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": _model(request),
        "system_fingerprint": "fp_standin",
    }


def _model(request: Mapping[str, Any]) -> str:
    return str(request.get("model") or MODELS[0])


def _chat_usage(given: int, call: Call | None = None) -> Json:
    written = call.words if call else len(pieces())
    return {
        "prompt_tokens": given,
        "completion_tokens": written,
        "total_tokens": given + written,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _include_usage(request: Json) -> bool:
    return bool((request.get("stream_options") or {}).get("include_usage"))


def _data(value: Json) -> str:
    return f"data: {json.dumps(value)}\n\n"
