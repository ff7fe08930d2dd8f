"""What the stand-in says: answers in the shapes of the OpenAI API, made from the request alone.

A "token" here is a word; the counts are honest for that unit and need no vocabulary.
"""

from __future__ import annotations

import base64
import json
import random
import struct
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

TEXT = "This is the local stand-in for the OpenAI API speaking, not a model. Everything around it is real."
MODELS = ("gpt-4o-mini", "gpt-3.5-turbo-instruct", "text-embedding-3-small")

Json = dict[str, Any]


def words(value: Any) -> int:
    """Words in all texts of `value`, however deep; an image or a file counts nothing."""
    if isinstance(value, str):
        return len(value.split())
    if isinstance(value, list):
        return sum(words(item) for item in value)
    if isinstance(value, dict):
        return words(value.get("content")) + words(value.get("text"))
    return 0


def pieces() -> list[str]:
    """The answer's text as it is streamed: word by word, joined without loss."""
    first, *rest = TEXT.split(" ")
    return [first, *(f" {word}" for word in rest)]


def models(_: Json) -> Json:
    data = [{"id": name, "object": "model", "created": 1715367049, "owned_by": "stand-in"} for name in MODELS]
    return {"object": "list", "data": data}


def embeddings(request: Json) -> Json:
    """One unit vector for each input, the same for the same text, as floats or as base64 of float32."""
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
    """A legacy text completion."""
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
    message: Json = {"role": "assistant", "content": TEXT, "refusal": None, "annotations": []}
    return _head(request, "chatcmpl", "chat.completion") | {
        "service_tier": "default",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": _chat_usage(words(request.get("messages"))),
    }


def chat_stream(request: Json) -> Iterator[str]:
    """Chunks as the API sends them: a role, the text, a finish reason, usage if asked for, ``[DONE]``."""
    head = _head(request, "chatcmpl", "chat.completion.chunk") | {"service_tier": "default"}
    asked = {"usage": None} if _include_usage(request) else {}

    def chunk(delta: Json, finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _data(head | {"choices": [choice]} | asked)

    yield chunk({"role": "assistant", "content": "", "refusal": None})
    for piece in pieces():
        yield chunk({"content": piece})
    yield chunk({}, "stop")
    if asked:
        yield _data(head | {"choices": [], "usage": _chat_usage(words(request.get("messages")))})
    yield "data: [DONE]\n\n"


def response(request: Json) -> Json:
    """A response object of ``/v1/responses``, completed."""
    given = words(request.get("input")) + words(request.get("instructions"))
    written = len(pieces())
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
        "output": [_message(f"msg_{uuid.uuid4().hex}", "completed", [_part(TEXT)])],
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
    """The named events of a Responses stream, numbered from 0; it has no ``[DONE]``."""
    for number, event in enumerate(_response_events(response(request))):
        yield f"event: {event['type']}\n{_data(event | {'sequence_number': number})}"


def _response_events(done: Json) -> Iterator[Json]:
    item = done["output"][0]
    begun = done | {"status": "in_progress", "output": [], "usage": None}
    place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    added = _message(item["id"], "in_progress", [])
    yield {"type": "response.output_item.added", "output_index": 0, "item": added}
    yield {"type": "response.content_part.added", **place, "part": _part("")}
    for piece in pieces():
        yield {"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []}
    yield {"type": "response.output_text.done", **place, "text": TEXT, "logprobs": []}
    yield {"type": "response.content_part.done", **place, "part": _part(TEXT)}
    yield {"type": "response.output_item.done", "output_index": 0, "item": item}
    yield {"type": "response.completed", "response": done}


def error(message: str, kind: str, code: str | None) -> Json:
    """The error object of the API."""
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


def _chat_usage(given: int) -> Json:
    written = len(pieces())
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
