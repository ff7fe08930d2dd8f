"""Completions and embeddings: plain texts, without overhead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from addons.openai.counting.model import Model
from addons.openai.counting.tally import Tally, maps, text


def count_prompt(model: Model, prompt: object) -> Tally | None:
    """A text, token ids, or a list of either; None for anything else."""
    if isinstance(prompt, str):
        return Tally(model.n(prompt))
    if not isinstance(prompt, list):
        return None
    tally = Tally()
    for item in prompt:
        if isinstance(item, str):
            tally.add(model.n(item))
        elif isinstance(item, int | list):
            tally.add(len(item) if isinstance(item, list) else 1)
    return tally


def count_input(model: Model, body: Mapping[str, Any]) -> Tally | None:
    """The prompt of a completion, and the text that shall follow it."""
    tally = count_prompt(model, body.get("prompt"))
    if tally is not None:
        tally.add(model.n(text(body.get("suffix"))))
    return tally


def count_output(model: Model, body: Mapping[str, Any], answer: Mapping[str, Any]) -> Tally:
    """The texts of all choices; an echoed prompt is not generated again."""
    choices = maps(answer.get("choices"))
    tally = Tally(sum(model.n(text(choice.get("text"))) for choice in choices))
    if body.get("echo") is True and (prompt := count_prompt(model, body.get("prompt"))) is not None:
        tally.tokens = max(0, tally.tokens - prompt.tokens * (_count_of(body, "n")))
    if _count_of(body, "best_of") > _count_of(body, "n"):
        tally.lack("best_of")
    if not choices or any(choice.get("finish_reason") is None for choice in choices):
        tally.lack("cut")
    return tally


def _count_of(body: Mapping[str, Any], key: str) -> int:
    value = body.get(key)
    return value if isinstance(value, int) and value > 0 else 1
