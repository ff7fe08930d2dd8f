"""Calls and answers whose tokens are counted in tests."""

from __future__ import annotations

from typing import Any

from addons.openai import tokens

HI = [{"role": "user", "content": "Hi"}]
SYSTEM = {"role": "system", "content": "Be kind."}
WEATHER = {
    "name": "get_weather",
    "description": "Get the weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
BLOCK = """namespace functions {

// Get the weather
type get_weather = (_: { city: string }) => any;

} // namespace functions"""
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "number"}},
    "required": ["a"],
    "additionalProperties": False,
}
SHOWN = '{"type":"object","properties":{"a":{"type":"number"}}}'
ARGUMENTS = '{"city":"Oslo"}'
OLD, O_SERIES, GPT5 = "gpt-4o-mini", "o4-mini", "gpt-5-mini"


def chat(content: str | None = "Hello there", finish: str | None = "stop", **message: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": content, **message}
    return {"choices": [{"index": 0, "message": said, "finish_reason": finish}]}


def response(*items: dict[str, Any], status: str = "completed") -> dict[str, Any]:
    return {"object": "response", "status": status, "output": list(items)}


def said(text: str = "Hello there") -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}


def chat_input(model: str, messages: list[Any], **body: Any) -> int | None:
    return tokens.count("chat", model, {"messages": messages, **body}, chat()).input_tokens


def responses_input(model: str, given: Any, **body: Any) -> int | None:
    return tokens.count("responses", model, {"input": given, **body}, response(said())).input_tokens
