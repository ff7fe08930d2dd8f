"""Messages of a conversation: what chat and the Responses API have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from addons.openai.counting import media
from addons.openai.counting.model import Model
from addons.openai.counting.rules import PER_MESSAGE, PER_NAME
from addons.openai.counting.tally import Tally, mapping, maps, text

SYSTEM = frozenset({"system", "developer"})


def is_system(message: Mapping[str, Any]) -> bool:
    return text(message.get("role")) in SYSTEM


def count_message(tally: Tally, model: Model, message: Mapping[str, Any], end: str = "") -> None:
    """A message with a role and a content; `end` is what the API appends to its text."""
    role = text(message.get("role"))
    tally.add(PER_MESSAGE + model.n(role))
    tally.add(model.n(content_text(tally, model, message.get("content")) + end))
    if isinstance(name := message.get("name"), str):
        tally.add(PER_NAME + model.n(name))
    if role == "assistant":
        tally.add(model.rules.assistant_text)


def content_text(tally: Tally, model: Model, content: object) -> str:
    """The text of a content, parts joined with nothing between; parts that are no text go to the tally."""
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
