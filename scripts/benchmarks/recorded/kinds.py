"""Sort exchanges by kind: by what input and output are made of, by model, by feature."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from addons.openai.counting import calls, chat
from addons.openai.counting.tally import mapping, maps, text
from addons.openai.vocabulary import normalise

Json = Mapping[str, Any]

FAMILIES = (
    ("gpt-audio", r"gpt-audio|gpt-4o.*audio"),
    ("gpt-4.1", r"gpt-4\.1"),
    ("gpt-4o", r"gpt-4o|chatgpt-4o"),
    ("gpt-3.5, gpt-4", r"gpt-4|gpt-3\.5"),
    ("o1, o3, o4", r"o\d"),
    ("gpt-5, 5.1", r"gpt-5(?:$|-|\.1(?!\d))"),
    ("gpt-5.2 and later", r"gpt-(?:5\.|[6-9]|\d\d)"),
    ("embeddings", r"text-embedding"),
    ("completions", r"davinci-002|babbage-002"),
)
HELD = ("previous_response_id", "conversation", "prompt")


def family(model: str | None) -> str:
    name = normalise(model or "")
    return next((label for label, pattern in FAMILIES if re.match(pattern, name)), "other names")


def input_kind(endpoint: str, body: Json) -> str:
    """Give the class of OPENAI.md's table that a request falls into."""
    if endpoint == "chat":
        return _chat_input(body)
    return _responses_input(body) if endpoint == "responses" else endpoint


def _chat_input(body: Json) -> str:
    messages, tools = maps(body.get("messages")), maps(body.get("tools"))
    if _has_media(messages):
        return "chat, images, audio or files"
    if any(tool.get("type") != "function" for tool in tools):
        return "chat, custom tools"
    if any(calls.of_message(one) or text(one.get("role")) in chat.RESULT_ROLES for one in messages):
        return "chat, function tools, calls in the history"
    if tools or body.get("functions"):
        return "chat, function tools"
    return (
        "chat, JSON schema"
        if mapping(body.get("response_format")).get("type") == "json_schema"
        else "chat, text"
    )


def _responses_input(body: Json) -> str:
    items, tools = maps(body.get("input")), maps(body.get("tools"))
    kinds = {text(item.get("type", "message")) for item in items}
    schema = mapping(mapping(body.get("text")).get("format")).get("type") == "json_schema"
    rules = (
        (any(body.get(key) for key in HELD), "previous response, conversation or prompt"),
        (any(tool.get("type") != "function" for tool in tools), "hosted or custom tools"),
        (
            bool(kinds - {"message", "function_call", "function_call_output", "reasoning"}),
            "hosted or custom tools",
        ),
        (bool(body.get("context_management")), "compaction by the server"),
        ("reasoning" in kinds, "earlier reasoning"),
        (_has_media(items), "images, audio or files"),
        ("function_call" in kinds, "function tools, calls in the history"),
        (bool(tools), "function tools"),
        (schema, "JSON schema"),
    )
    return "Responses, " + next((label for holds, label in rules if holds), "text")


def _has_media(messages: list[Json]) -> bool:
    parts = (part for message in messages for part in maps(message.get("content")))
    return any(not isinstance(part.get("text", part.get("refusal")), str) for part in parts)


def output_kind(endpoint: str, answer: Json, *, thinks: bool) -> str:
    """Give what an answer is made of; `thinks` where the model may have reasoned."""
    label = {"chat": "chat", "responses": "Responses"}.get(endpoint, endpoint)
    hidden = ", reasoning model" if thinks else ""
    if endpoint == "chat":
        messages = [mapping(choice.get("message")) for choice in maps(answer.get("choices"))]
        if any(isinstance(message.get("audio"), Mapping) for message in messages):
            return "chat, audio"
        withheld = any(
            choice.get("finish_reason") == "content_filter" for choice in maps(answer.get("choices"))
        )
        if withheld:
            return "chat, withheld by a filter"
        made = any(calls.of_message(message) for message in messages)
        return f"{label}, {'tool calls' if made else 'text'}{hidden}"
    if endpoint == "responses":
        kinds = {text(item.get("type")) for item in maps(answer.get("output"))}
        if answer.get("object") == "response.compaction":
            return "Responses, compaction by the server"
        if kinds - {"message", "reasoning", "function_call"}:
            return "Responses, hosted or custom tools"
        return f"{label}, {'tool calls' if 'function_call' in kinds else 'text'}{hidden}"
    return label


def features(endpoint: str, body: Json, answer: Json, *, azure: bool) -> Iterator[str]:
    """Give what a call uses; several may hold."""
    written = json.dumps(body, ensure_ascii=False)
    messages = maps(body.get("messages")) or maps(body.get("input"))
    choices = maps(answer.get("choices"))
    found = {
        "streamed": body.get("stream") is True,
        "not streamed": body.get("stream") is not True,
        "Azure": azure,
        "system message or instructions": bool(body.get("instructions"))
        or any(text(message.get("role")) in ("system", "developer") for message in messages),
        "several turns": sum(text(message.get("role")) == "user" for message in messages) > 1,
        "names on messages": any(
            "name" in one and text(one.get("role")) in ("user", "assistant") for one in messages
        ),
        "content in parts": any(isinstance(message.get("content"), list) for message in messages),
        "n > 1": len(choices) > 1,
        "json_object": '"type": "json_object"' in written,
        "prediction": bool(body.get("prediction")),
        "stop": bool(body.get("stop")),
        "legacy functions": bool(body.get("functions")),
        "tool_choice": body.get("tool_choice") not in (None, "auto"),
        "$ref in a schema": '"$ref"' in written,
        "several tools": len(maps(body.get("tools"))) > 1,
        "parallel calls": any(len(calls.of_message(mapping(one.get("message")))) > 1 for one in choices)
        or sum(item.get("type") == "function_call" for item in maps(answer.get("output"))) > 1,
        "refusal": '"refusal": "' in json.dumps(answer, ensure_ascii=False),
        "cut by length": any(one.get("finish_reason") == "length" for one in choices)
        or answer.get("status") == "incomplete",
    }
    return (f"{endpoint}: {name}" for name, holds in found.items() if holds)
