"""After which event a client has all of a stream."""

from __future__ import annotations

import json
from typing import Any

import pytest

from addons.openai import Request, Response, summarize
from addons.openai.answers.endings import LOOK_BYTES, ends_finished

Events = list[Any]

DONE = "[DONE]"


def body(events: Events) -> bytes:
    lines = []
    for event in events:
        if event == DONE:
            lines.append("data: [DONE]\n\n")
        else:
            name = f"event: {event['type']}\n" if "type" in event else ""
            lines.append(f"{name}data: {json.dumps(event)}\n\n")
    return "".join(lines).encode()


def choice(index: int = 0, finish: str | None = None) -> dict[str, Any]:
    return {
        "object": "chat.completion.chunk",
        "choices": [{"index": index, "delta": {}, "finish_reason": finish}],
    }


USAGE = {
    "object": "chat.completion.chunk",
    "choices": [],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}
IMAGE = {"type": "image_generation.completed", "b64_json": "aGk="}

FINISHED: dict[str, tuple[str, Events]] = {
    "chat": ("/v1/chat/completions", [choice(), DONE]),
    "chat, usage told": ("/v1/chat/completions", [choice(finish="stop"), USAGE]),
    "chat, usage beside the end": ("/v1/chat/completions", [{**choice(finish="stop"), "usage": {}}]),
    "error": (
        "/v1/chat/completions",
        [choice(), {"error": {"message": "overloaded", "type": "server_error"}}],
    ),
    "responses": ("/v1/responses", [{"type": "response.completed", "response": {"status": "completed"}}]),
    "responses, incomplete": ("/v1/responses", [{"type": "response.incomplete", "response": {}}]),
    "responses, failed": (
        "/v1/responses",
        [{"type": "response.failed", "response": {"error": {"code": "server_error", "message": "x"}}}],
    ),
    "run": ("/v1/threads/t/runs", [{"object": "thread.run", "status": "completed"}]),
    "run that needs a tool": ("/v1/threads/t/runs", [{"object": "thread.run", "status": "requires_action"}]),
    "transcription": ("/v1/audio/transcriptions", [{"type": "transcript.text.done", "text": "hi"}]),
    "speech": ("/v1/audio/speech", [{"type": "speech.audio.done"}]),
    "image": ("/v1/images/generations", [IMAGE]),
}
GOING_ON: dict[str, tuple[str, Events]] = {
    "nothing": ("/v1/chat/completions", []),
    "chat": ("/v1/chat/completions", [choice()]),
    "chat, usage to come": ("/v1/chat/completions", [choice(finish="stop")]),
    "chat that reports as it goes": ("/v1/chat/completions", [choice(), USAGE]),
    "responses": ("/v1/responses", [{"type": "response.created", "response": {"status": "in_progress"}}]),
    "responses, an item": ("/v1/responses", [{"type": "response.output_item.done", "item": {}}]),
    "run": ("/v1/threads/t/runs", [{"object": "thread.run", "status": "in_progress"}]),
    "image, in part": ("/v1/images/generations", [{"type": "image_generation.partial_image"}]),
}


def complete(path: str, data: bytes, request: Any = None) -> bool:
    headers = [("content-type", "text/event-stream")]
    asked = Request(
        "POST", path, [("content-type", "application/json")], json.dumps(request or {"stream": True}).encode()
    )
    summary = summarize(asked, Response(200, headers, data, complete=False))
    assert ("response: it broke off" in summary.truncated) is not summary.complete
    return summary.complete


@pytest.mark.parametrize("name", FINISHED)
def test_a_stream_that_broke_off_behind_its_last_event_is_whole(name: str) -> None:
    path, events = FINISHED[name]
    assert complete(path, body(events))
    assert ends_finished(body(events))
    assert not complete(path, body(events)[:-8])


@pytest.mark.parametrize("name", GOING_ON)
def test_a_stream_that_broke_off_before_it_is_not(name: str) -> None:
    path, events = GOING_ON[name]
    assert not complete(path, body(events))
    assert not ends_finished(body(events))


def test_of_several_choices_and_images_all_are_waited_for() -> None:
    two = {"n": 2, "stream": True}
    assert not complete("/v1/images/generations", body([IMAGE]), two)
    assert complete("/v1/images/generations", body([IMAGE, IMAGE]), two)
    one = [choice(0, "stop"), choice(1), USAGE]
    assert not complete("/v1/chat/completions", body(one), two)
    assert complete("/v1/chat/completions", body([choice(1, "stop"), *one]), two)


def test_json_that_broke_off_has_no_last_event() -> None:
    answer = Response(200, [("content-type", "application/json")], b'{"object": "list"}', complete=False)
    assert not summarize(Request("POST", "/v1/responses"), answer).complete


def test_a_long_last_event_is_told_by_its_name() -> None:
    created = {"type": "response.created", "response": {}}
    long = {"type": "response.completed", "response": {"output": "x" * 2 * LOOK_BYTES}}
    delta = {"type": "response.output_text.delta", "delta": "x" * 2 * LOOK_BYTES}
    assert ends_finished(body([created, long]))
    assert not ends_finished(body([created, delta]))
    many = [{"type": "response.output_text.delta", "delta": "x" * 100}] * (LOOK_BYTES // 50)
    assert ends_finished(body([*many, {"type": "response.completed", "response": {}}]))
