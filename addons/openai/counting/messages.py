"""Count messages of a conversation: what chat and the Responses API have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from addons.openai.counting import media
from addons.openai.counting.model import Model
from addons.openai.counting.rules import PER_MESSAGE, PER_NAME
from addons.openai.counting.tally import Missing, Tally, mapping, maps, text

THOUGHTS = (
    *("reasoning_content", "reasoning", "thinking", "thought", "reasoning_details", "thinking_blocks"),
    *("reasoning_text", "thinking_content"),
)
"""Fields of a message: vLLM, SGLang, DeepSeek; newer vLLM, Groq, OpenRouter; Ollama; LiteLLM."""
SAID = frozenset(
    (
        *("role", "name", "content", "refusal", "annotations", "audio", "tool_calls", "function_call"),
        *("id", "index", "type", "object", "prefix", "end_turn", "padding", "provider_specific_fields"),
        *("extra_content", "cache_control", "weight", "recipient", "citations", "search_results", "sources"),
        *("usage", "token_usage", "reasoning_signature", "signature", "matched_stop", "context", "status"),
    )
)
"""Fields of an answer's message that are counted, or are no tokens; and THOUGHTS."""
SYSTEM = frozenset({"system", "developer"})


def is_system(message: Mapping[str, Any]) -> bool:
    return text(message.get("role")) in SYSTEM


def count_message(tally: Tally, model: Model, message: Mapping[str, Any], end: str = "") -> None:
    """Count a message with a role and a content; `end` is what the API appends to its text."""
    role = text(message.get("role"))
    tally.add(PER_MESSAGE + model.n(role))
    tally.add(model.n(content_text(tally, model, message.get("content")) + end))
    if isinstance(name := message.get("name"), str):
        tally.add(PER_NAME + model.n(name))
    if role == "assistant":
        tally.add(model.rules.assistant_text)


def content_text(tally: Tally, model: Model, content: object) -> str:
    """Join the text of a content's parts with nothing between; parts that are no text go to the tally."""
    if isinstance(content, str):
        return content
    texts = []
    for part in maps(content):
        written = part.get("text")
        written = part.get("refusal") if written is None else written
        if isinstance(written, str):
            texts.append(written)
        else:
            _count_part(tally, model, part)
    return "".join(texts)


def spoken(content: object) -> list[str]:
    """Give the texts of an answer's content, also its thinking, which some makers put there as parts."""
    if isinstance(content, str):
        return [content]
    found = []
    for part in [content] if isinstance(content, Mapping) else maps(content):
        for key in ("text", "refusal", "thinking", "reasoning", "content", "summary"):
            found += spoken(part.get(key))
    return found


def thoughts(message: Mapping[str, Any]) -> list[str]:
    """Give the reasoning that an answer shows beside its content, under whichever name: it is output.

    Servers that send it under several names send the same text.
    """
    shown = [message.get(name) for name in THOUGHTS]
    texts = [said for value in shown if (said := "".join(spoken(value)))]
    return [max(texts, key=len)] if texts else []


def unseen(message: Mapping[str, Any]) -> list[Missing]:
    """List what an answer's message holds that can't be counted: images, and fields not known here."""
    found: list[Missing] = []
    for key, held in message.items():
        if key in SAID or key in THOUGHTS or not isinstance(held, str | list | Mapping) or not held:
            continue
        found.append("images" if key == "images" else "unknown_content")
    encrypted = (part for name in THOUGHTS for part in maps(message.get(name)))
    if any(part.get("data") and not part.get("text") for part in encrypted):
        found.append("reasoning")
    return found


def _count_part(tally: Tally, model: Model, part: Mapping[str, Any]) -> None:
    kind = text(part.get("type"))
    if "image" in kind or kind == "computer_screenshot":
        media.count_image(tally, model, part)
    elif "audio" in kind:
        media.count_audio(tally, mapping(part.get("input_audio")))
    elif "file" in kind:
        tally.lack("files")
    else:
        tally.lack("unknown_content")
