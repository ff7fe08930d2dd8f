from __future__ import annotations

from typing import Any

import pytest

from addons.hooks.inspector import conversation
from addons.openai import summarize
from tests import corpus
from tests.scenarios import SCENARIOS

PICTURE = "data:image/png;base64," + "iVBORw0KGgo" * 200


def asked(**body: Any) -> str:
    return "\n".join(conversation.request(body))


def answered(body: Any) -> str:
    return "\n".join(conversation.answer(body))


def test_a_chat_reads_as_a_conversation() -> None:
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"city":"Köln"}'},
    }
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": PICTURE}},
        {"type": "input_audio", "input_audio": {"data": "UklGR" * 300, "format": "wav"}},
        {
            "type": "file",
            "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64," + "JVBE" * 400},
        },
    ]
    shown = asked(
        model="gpt-4o",
        stream=True,
        tools=[
            {
                "type": "function",
                "function": {
                    "name": "weather",
                    "description": "The\n weather",
                    "parameters": {"properties": {"city": {}}},
                },
            }
        ],
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "name": "ada", "content": parts},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
        ],
    )
    assert shown == (
        "model: gpt-4o\nstream: true\n\n"
        "── tools ──\nweather(city)  The weather\n\n"
        "── system ──\nBe brief.\n\n"
        "── user · ada ──\nWhat is this?\n"
        "[image/png, 1,650 bytes]\n[audio wav, 1,125 bytes]\n[application/pdf, 1,200 bytes]\n\n"
        '── calls weather · call_1 ──\n{\n  "city": "Köln"\n}\n\n'
        "── tool · call_1 ──\nrain\n"
    )


def test_a_response_reads_as_a_conversation() -> None:
    shown = answered(
        {
            "object": "response",
            "output": [
                {
                    "type": "reasoning",
                    "summary": [{"type": "summary_text", "text": "I wonder."}],
                    "encrypted_content": "x",
                },
                {"type": "function_call", "name": "look", "call_id": "c1", "arguments": '{"q":1}'},
                {"type": "web_search_call", "id": "ws", "action": {"query": "rain"}},
                {"type": "image_generation_call", "output_format": "png", "result": {"bytes": 99}},
                {
                    "type": "message",
                    "role": "assistant",
                    "content": [
                        {
                            "type": "output_text",
                            "text": "It rains.",
                            "annotations": [
                                {"type": "url_citation", "title": "W", "url": "https://w.example"}
                            ],
                        },
                        {"type": "refusal", "refusal": "No more."},
                    ],
                },
            ],
        }
    )
    for part in (
        "── reasoning (encrypted) ──\nI wonder.\n",
        '── calls look · c1 ──\n{\n  "q": 1\n}\n',
        '── web_search_call ──\n{\n  "action": {\n    "query": "rain"\n  }\n}\n',
        "── image ──\n[png, 99 bytes]\n",
        "── assistant ──\nIt rains.\n  ^ W https://w.example\n[refusal] No more.\n",
    ):
        assert part in shown


def test_messages_of_a_session() -> None:
    done = {
        "type": "response.done",
        "response": {
            "output": [
                {
                    "type": "message",
                    "role": "assistant",
                    "content": [{"type": "output_audio", "transcript": "Hello."}],
                }
            ],
            "usage": {"total_tokens": 9},
        },
    }
    shown = "\n".join(conversation.event(done))
    assert shown.startswith("── response.done ──\n")
    assert "[audio] Hello." in shown
    assert '"total_tokens": 9' in shown
    delta = {"type": "response.output_text.delta", "delta": "Hel"}
    assert list(conversation.event(delta)) == ["── response.output_text.delta ──\nHel\n"]
    sound = {"type": "response.output_audio.delta", "delta": "UklGRiQAAABX"}
    assert "[audio, 9 bytes]" in "".join(conversation.event(sound))
    create = {"type": "response.create", "model": "gpt-5", "input": "Hi"}
    assert "── input ──\nHi" in "\n".join(conversation.event(create))


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_shape_of_answer_is_shown(name: str) -> None:
    scenario = SCENARIOS[name]
    summary = summarize(scenario.request, scenario.response)
    shown = "\n".join(conversation.answer(summary.output))
    "\n".join(conversation.request(summary.request))
    for said in _texts(summary.output):
        assert said in shown


def _texts(output: Any) -> list[str]:
    """What an answer says, where that stands in the usual places."""
    if not isinstance(output, dict):
        return []
    found: list[Any] = [output.get("text")] if "choices" not in output and "output" not in output else []
    for choice in output.get("choices") or []:
        found += [choice.get("text"), (choice.get("message") or {}).get("content")]
    for item in output.get("output") or []:
        if item.get("type") == "message":
            found += [part.get("text") for part in item["content"]]
    return [text for text in found if isinstance(text, str)]


@pytest.mark.slow
def test_recorded_traffic_can_be_shown() -> None:
    for exchange in corpus.load():
        summary = corpus.summary(exchange)
        shown = "\n".join([*conversation.request(summary.request), *conversation.answer(summary.output)])
        for said in _texts(summary.output):
            assert said.strip()[:1000] in shown, exchange.get("url")


JUNK = [None, 3, True, "x", [], {}, [None], [{}], {"type": 3}, [{"type": []}]]


@pytest.mark.parametrize("junk", JUNK, ids=str)
def test_nothing_that_a_body_holds_raises(junk: Any) -> None:
    for key in ("messages", "input", "prompt", "instructions", "tools", "functions", "model"):
        asked(**{key: junk})
    for key in ("choices", "output", "data", "audio", "error", "text", "events", "messages", "steps"):
        for kind in ("response", "thread.run", "event_stream", "list"):
            answered({"object": kind, key: junk})
    for member in ("content", "tool_calls", "function_call", "audio", "annotations", "role", "reasoning"):
        asked(messages=[{"role": "user", "content": "x", member: junk}])
        answered({"choices": [{"message": {member: junk}}]})
    for kind in (
        "message",
        "reasoning",
        "function_call",
        "function_call_output",
        "image_generation_call",
        "input_text",
        "mcp_call",
    ):
        for member in ("content", "summary", "arguments", "output", "name", "call_id", "result"):
            answered({"output": [{"type": kind, member: junk}]})
    for kind in ("text", "image_url", "input_image", "input_audio", "file", "input_file", "refusal"):
        for member in ("text", "image_url", "input_audio", "file", "refusal", "file_data", "annotations"):
            asked(messages=[{"role": "user", "content": [{"type": kind, member: junk}]}])
    for member in ("type", "response", "item", "delta", "audio"):
        list(conversation.event({"type": "response.done", member: junk}))
