"""Count completions and embeddings: plain texts, without overhead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from addons.openai.counting.model import Model
from addons.openai.counting.tally import Tally, maps, text


def count_prompt(model: Model, prompt: object) -> Tally | None:
    """Give a text, token ids, or a list of either; None for anything else."""
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
    """Give the prompt of a completion, and the text that shall follow it."""
    tally = count_prompt(model, body.get("prompt"))
    if tally is not None:
        tally.add(model.n(text(body.get("suffix"))))
    return tally


def count_output(model: Model, body: Mapping[str, Any], answer: Mapping[str, Any]) -> Tally:
    """Give the texts of all choices; an echoed prompt is not generated again."""
    choices = maps(answer.get("choices"))
    written = [text(choice.get("text")) for choice in choices]
    tally = Tally(sum(map(model.n, written)))
    if body.get("echo") is True:
        _take_off_prompts(tally, model, body, written)
    if _count_of(body, "best_of") > _count_of(body, "n"):
        tally.lack("best_of")
    if not choices or any(choice.get("finish_reason") is None for choice in choices):
        tally.lack("cut")
    return tally


def _take_off_prompts(tally: Tally, model: Model, body: Mapping[str, Any], written: list[str]) -> None:
    """Leave what was generated: it begins with a token of its own, also where the prompt ends mid-word."""
    prompt, number = body.get("prompt"), _count_of(body, "n")
    texts = [prompt] if isinstance(prompt, str) else prompt if isinstance(prompt, list) else []
    prompts = [item for item in texts if isinstance(item, str) for _ in range(number)]
    pairs = list(zip(written, prompts, strict=False))
    if len(pairs) == len(written) and all(said.startswith(echoed) for said, echoed in pairs):
        tally.tokens = sum(model.n(said.removeprefix(echoed)) for said, echoed in pairs)
    elif (given := count_prompt(model, prompt)) is not None:
        tally.tokens = max(0, tally.tokens - given.tokens * number)
        tally.guess("echo")


def _count_of(body: Mapping[str, Any], key: str) -> int:
    value = body.get(key)
    return value if isinstance(value, int) and value > 0 else 1
