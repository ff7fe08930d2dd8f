"""Reasoning of which no total tells whether it is in the output."""

from __future__ import annotations

from typing import Any

import pytest

from addons.openai.usage.reasoning import placed
from addons.openai.usage.usage import merge, read

PARTS: dict[str, Any] = {
    "prompt_tokens": 100,
    "completion_tokens": 50,
    "completion_tokens_details": {"reasoning_tokens": 30},
}


@pytest.mark.parametrize(
    ("usage", "host", "model", "missing"),
    [
        (PARTS, "api.x.ai", "grok-4", ("reasoning",)),
        (PARTS, "us-east-1.api.x.ai", None, ("reasoning",)),
        (PARTS, "acme.services.ai.azure.com", "grok-4-fast-reasoning", ("reasoning",)),
        (PARTS, "api.openai.com", "gpt-5", ()),
        (PARTS, "max.ai", "m", ()),
        ({**PARTS, "total_tokens": 150}, "api.x.ai", "grok-4", ()),
        ({**PARTS, "total_tokens": 180}, "api.x.ai", "grok-4", ()),
        ({**PARTS, "completion_tokens": 20}, "api.x.ai", "grok-4", ()),
        ({**PARTS, "completion_tokens_details": {"reasoning_tokens": 0}}, "api.x.ai", "grok-4", ()),
    ],
)
def test_only_what_nothing_tells_is_a_lower_bound(
    usage: dict[str, Any], host: str, model: str | None, missing: tuple[str, ...]
) -> None:
    found = read(usage)
    assert found is not None
    assert tuple(placed(found, host, model).missing) == missing


def test_halves_of_a_usage_are_marked_and_a_later_total_tells() -> None:
    halves = merge([{"prompt_tokens": 100}, {name: PARTS[name] for name in list(PARTS)[1:]}])
    assert halves is not None
    assert halves.reasoning_unplaced
    told = merge([PARTS, {**PARTS, "total_tokens": 180}])
    assert told is not None
    assert (told.output_tokens, told.reasoning_unplaced) == (80, False)
