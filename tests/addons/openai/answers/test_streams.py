"""Which object a stream becomes is told by its events, whatever path it came under."""

from __future__ import annotations

from typing import Any

import pytest

from addons.openai.answers import assemble, streams

CHUNK = {"choices": [{"index": 0, "delta": {"content": "a"}}]}
RUN = {"object": "thread.run", "id": "run_1", "status": "queued"}


MUTE = {"chat": assemble.chat, "completions": assemble.completion}


@pytest.mark.parametrize("endpoint", ["chat", "completions", "responses", "images", "other"])
@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([CHUNK], {"object": "chat.completion"}),
        ([{"choices": [{"index": 0, "text": "a"}]}], {"object": "text_completion"}),
        ([{"choices": [], "prompt_filter_results": []}, CHUNK], {"object": "chat.completion"}),
        ([{"type": "response.created", "response": {"id": "r"}}], {"id": "r"}),
        ([RUN], {"id": "run_1"}),
        ([{"type": "transcript.text.delta", "delta": "a"}], {"text": "a"}),
        ([{"type": "speech.audio.delta", "audio": "AAAA"}], {"audio": {"data": "AAAA"}}),
        ([{"type": "image_edit.completed", "b64_json": "AAAA"}], {"data": [{"b64_json": "AAAA"}]}),
        ([{"type": "keepalive"}, {"type": "error", "message": "no"}, CHUNK], {"object": "chat.completion"}),
    ],
)  # fmt: skip
def test_the_events_decide(endpoint: str, events: list[dict[str, Any]], expected: dict[str, Any]) -> None:
    found = streams.whole(events, MUTE.get(endpoint))
    assert {key: found[key] for key in expected} == expected


def test_the_endpoint_decides_where_events_are_mute() -> None:
    assert streams.whole([{"id": "c", "choices": []}], assemble.chat)["object"] == "chat.completion"
    assert streams.whole([{"id": "c"}]) == {"object": "event_stream", "events": [{"id": "c"}]}


@pytest.mark.parametrize("endpoint", ["chat", "completions", "responses", "other"])
def test_a_stream_of_nothing_is_nothing(endpoint: str) -> None:
    assert streams.whole([], MUTE.get(endpoint)) is None
    assert streams.whole([{"error": {"message": "no"}}], MUTE.get(endpoint)) is None
