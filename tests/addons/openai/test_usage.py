"""Usage objects of every shape, and what is none."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.openai.usage import add, from_tail, last_complete, read


@pytest.mark.parametrize(
    ("value", "counts"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}, (9, 1, 10)),
        ({"input_tokens": 9, "output_tokens": 1, "total_tokens": 10}, (9, 1, 10)),
        ({"prompt_tokens": 9, "total_tokens": 9}, (9, 0, 9)),
        ({"prompt_tokens": 9, "completion_tokens": 1}, (9, 1, 10)),
        ({"total_tokens": 12, "completion_tokens": 2}, (10, 2, 12)),
        ({"total_tokens": 12}, (12, 0, 12)),
        ({"prompt_tokens": 9.0, "completion_tokens": 1.0}, (9, 1, 10)),
        ({"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 40}, (9, 1, 40)),  # as reported
        ({"prompt_tokens": 9, "completion_tokens": None, "total_tokens": 9}, (9, 0, 9)),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, (0, 0, 0)),
        ({"type": "duration", "seconds": 3.5}, (None, None, None)),
    ],
)
def test_counts(value: dict[str, Any], counts: tuple[int | None, ...]) -> None:
    usage = read(value)
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == counts


@pytest.mark.parametrize(
    "value",
    [
        None, 3, "9", [], {}, {"prompt_tokens": None}, {"prompt_tokens": "9"}, {"prompt_tokens": -1},
        {"prompt_tokens": True}, {"prompt_tokens": float("nan")}, {"prompt_tokens": 2**70}, {"tokens": 9},
        {"prompt_tokens": 1.5},
    ],
)  # fmt: skip
def test_what_is_no_usage(value: object) -> None:
    assert read(value) is None


@pytest.mark.parametrize(
    "key", ["prompt_tokens_details", "prompt_token_details", "input_tokens_details", "input_token_details"]
)
def test_details_under_every_spelling(key: str) -> None:
    usage = read({"input_tokens": 9, "output_tokens": 1, key: {"cached_tokens": 8}})
    assert usage is not None
    assert usage.as_dict()["input_tokens_details"] == {"cached_tokens": 8}
    assert "other" not in usage.as_dict()


def test_unknown_keys_are_kept() -> None:
    usage = read({"prompt_tokens": 1, "completion_tokens": 2, "queue_time": 0.5})
    assert usage is not None
    assert usage.as_dict()["other"] == {"queue_time": 0.5}


def test_sum() -> None:
    first = {"input_tokens": 1, "output_tokens": 2, "input_tokens_details": {"text_tokens": 1}}
    second = {"input_tokens": 10, "output_tokens": 20, "input_tokens_details": {"image_tokens": 9}}
    total = read(add(add(None, first), second))
    assert total is not None
    assert (total.input_tokens, total.output_tokens, total.total_tokens) == (11, 22, 33)
    assert total.input_tokens_details == {"text_tokens": 1, "image_tokens": 9}


DEEPSEEK = {
    "prompt_tokens": 80, "completion_tokens": 5, "total_tokens": 85,
    "prompt_cache_hit_tokens": 64, "prompt_cache_miss_tokens": 16,
}  # fmt: skip
ANTHROPIC = {
    "input_tokens": 10, "output_tokens": 5,
    "cache_read_input_tokens": 100, "cache_creation_input_tokens": 20,
}  # fmt: skip
CACHED = {"cached_tokens": 100, "cache_write_tokens": 20}
DATABRICKS = {**ANTHROPIC, "input_tokens": 130, "total_tokens": 135}
TRANSCRIPTION = {
    "type": "tokens", "total_tokens": 27, "input_tokens": 17, "output_tokens": 10,
    "input_token_details": {"text_tokens": 0, "audio_tokens": 17},
}  # fmt: skip
REALTIME = {
    "total_tokens": 30, "input_tokens": 20, "output_tokens": 10,
    "input_token_details": {
        "text_tokens": 5, "audio_tokens": 15, "cached_tokens": 8,
        "cached_tokens_details": {"text_tokens": 3, "audio_tokens": 5, "image_tokens": None},
    },
    "output_token_details": {"text_tokens": 4, "audio_tokens": 6},
}  # fmt: skip
NEW = {
    "input_tokens": 9, "output_tokens": 3, "total_tokens": 12,
    "input_tokens_details": {"smell_tokens": 4, "note": "x", "video_tokens": None},
    "output_tokens_details": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("value", "counts", "inputs", "outputs"),
    [
        (DEEPSEEK, (80, 5, 85), {"cached_tokens": 64}, {}),
        ({**DEEPSEEK, "prompt_tokens_details": {"cached_tokens": 0}}, (80, 5, 85), {"cached_tokens": 64}, {}),
        # Anthropic counts the cache beside the input; where a total includes it, the input does too.
        (ANTHROPIC, (130, 5, 135), CACHED, {}),
        ({**ANTHROPIC, "total_tokens": 135}, (130, 5, 135), CACHED, {}),
        (DATABRICKS, (130, 5, 135), CACHED, {}),
        ({"prompt_tokens": 46, "completion_tokens": 4, "total_tokens": 50, "cached_tokens": 9}, (46, 4, 50),
         {"cached_tokens": 9}, {}),
        ({"prompt_tokens": 19, "total_tokens": 39, "completion_tokens": 20, "reasoning_tokens": 7},
         (19, 20, 39), {}, {"reasoning_tokens": 7}),
        (TRANSCRIPTION, (17, 10, 27), {"text_tokens": 0, "audio_tokens": 17}, {}),
        (REALTIME, (20, 10, 30),
         {"text_tokens": 5, "audio_tokens": 15, "cached_tokens": 8,
          "cached_tokens_details": {"text_tokens": 3, "audio_tokens": 5}},
         {"text_tokens": 4, "audio_tokens": 6}),
        (NEW, (9, 3, 12), {"smell_tokens": 4}, {}),
    ],
)  # fmt: skip
def test_details_have_one_name(
    value: dict[str, Any], counts: tuple[int, ...], inputs: dict[str, Any], outputs: dict[str, Any]
) -> None:
    usage = read(value)
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == counts
    assert (usage.input_tokens_details, usage.output_tokens_details) == (inputs, outputs)
    assert usage.as_dict()["raw"] == value


ONE = {"prompt_tokens": 1, "completion_tokens": 1}


def test_seconds_are_no_tokens() -> None:
    usage = read({"type": "duration", "seconds": 12})
    assert usage is not None
    shown = usage.as_dict()
    assert (shown["seconds"], shown["input_tokens"], shown["total_tokens"]) == (12, None, None)


@pytest.mark.parametrize(
    ("values", "best"),
    [
        ([], None),
        ([None, {"prompt_tokens": 1}, 3], 1),
        ([ONE, {"prompt_tokens": 2, "completion_tokens": 2}, None], 2),
        ([ONE, {"prompt_tokens": 9}], 1),
        ([ONE, {"prompt_tokens": 0, "completion_tokens": 0}], 1),
        ([{"prompt_tokens": 0, "completion_tokens": 0}], 0),
    ],
)  # fmt: skip
def test_the_last_complete_usage_counts(values: list[Any], best: int | None) -> None:
    usage = read(last_complete(values))
    assert (usage.input_tokens if usage else None) == best


TAIL = b'xt": "a", "model": "gpt-4o", "usage": {"input_tokens": 5, "output_tokens": 6, "total_tokens": 11}}'


@pytest.mark.parametrize(
    ("tail", "total", "model"),
    [
        (TAIL, 11, "gpt-4o"),
        (b'"usage" : null, ' + TAIL, 11, "gpt-4o"),
        (TAIL.replace(b'"gpt-4o"', b"null"), 11, None),
        (TAIL + b', "model": "later"}', 11, "later"),
        # Within a string the quotes are escaped: what a model wrote is not believed.
        (TAIL + b', "text": "\\"usage\\": {\\"total_tokens\\": 1}"}', 11, "gpt-4o"),
        (b'"usage": {"input_tokens": 5, "out', None, None),
        (b"", None, None),
        (b'\xff\xfe "usage": \xff', None, None),
    ],
)
def test_tail(tail: bytes, total: int | None, model: str | None) -> None:
    usage, found = from_tail(tail)
    assert (usage.total_tokens if usage else None, found) == (total, model)


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_tail_never_raises(before: bytes, after: bytes) -> None:
    usage, _ = from_tail(before + b'"usage": ' + after)
    assert usage is None or usage.as_dict()["source"] == "api"
