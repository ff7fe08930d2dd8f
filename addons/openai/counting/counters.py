"""Name the counters of tokens that rows of endpoints have: of a request, and of its answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from addons.openai.counting import chat, legacy, responses
from addons.openai.counting.model import Model
from addons.openai.counting.tally import Tally

Body = Mapping[str, Any]
Count = Callable[[Model, Body, Body], Tally | None]
"""Counts for a model what is in a request, or in the answer to it."""


@dataclass(frozen=True, slots=True)
class Counter:
    """Says how the bodies of an endpoint are counted."""

    input: Count
    output: Count | None = None
    """None where answers hold no tokens that are billed."""


CHAT = Counter(lambda model, request, _: chat.count_input(model, request), chat.count_output)
RESPONSES = Counter(responses.count_input, responses.count_output)
COMPLETIONS = Counter(lambda model, request, _: legacy.count_input(model, request), legacy.count_output)
EMBEDDINGS = Counter(lambda model, request, _: legacy.count_prompt(model, request.get("input")))
