"""The table of windows and longest answers."""

from __future__ import annotations

import pytest
from genai_prices import data_snapshot

from addons.openai.bounds import model_sizes as sizes


@pytest.mark.parametrize(
    ("model", "window", "output"),
    [
        ("gpt-4o-mini", 128_000, 16_384),
        ("GPT-4o-2024-08-06", 128_000, 16_384),
        ("openai/gpt-4.1-nano", 1_047_576, 32_768),
        ("ft:gpt-3.5-turbo-0125:acme::1", 16_385, 4_096),
        ("gpt-35-turbo", 16_385, 4_096),
        ("gpt-4", 8_192, 8_192),
        ("gpt-4-turbo-2024-04-09", 128_000, 4_096),
        ("o3-mini", 200_000, 100_000),
        ("gpt-5", 400_000, 128_000),
        ("gpt-5-2025-08-07", 400_000, 128_000),
        ("gpt-5-chat-latest", 128_000, 16_384),
        ("gpt-5-pro", 400_000, 272_000),
        ("gpt-5.4-mini", 400_000, 128_000),
        ("gpt-6.1-sol", 1_050_000, 128_000),
        ("gpt-realtime", 32_000, 4_096),
    ],
)
def test_a_family(model: str, window: int, output: int) -> None:
    assert sizes.of(model) == sizes.Sizes(window, output)


def test_no_window_is_too_small() -> None:
    """For all models whose window genai-prices knows; embeddings have one for each text, and no answer."""
    provider = next(one for one in data_snapshot.get_snapshot().providers if one.id == "openai")
    known = {model.id: model.context_window for model in provider.models if model.context_window}
    assert len(known) > 30
    assert not {name: window for name, window in known.items() if sizes.of(name).window < window}


@pytest.mark.parametrize("model", ["my-deployment", "", None, "claude-x", "gpt"])
def test_an_unknown_model_has_the_largest(model: str | None) -> None:
    assert sizes.of(model) == sizes.LARGEST
    assert all(known.window <= sizes.LARGEST.window for _, known in sizes.FAMILIES)
    assert all(known.output <= sizes.LARGEST.output for _, known in sizes.FAMILIES)
