"""Usage objects of every shape, and what is none."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.openai.usage.usage import merge, read, total


@pytest.mark.parametrize(
    ("value", "counts"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}, (9, 1, 10)),
        ({"input_tokens": 9, "output_tokens": 1, "total_tokens": 10}, (9, 1, 10)),
        ({"prompt_tokens": 9, "total_tokens": 9}, (9, 0, 9)),
        ({"prompt_tokens": 9, "completion_tokens": 1}, (9, 1, 10)),
        ({"total_tokens": 12, "completion_tokens": 2}, (10, 2, 12)),
        ({"total_tokens": 12}, (None, None, 12)),
        ({"prompt_tokens": 9}, (9, None, None)),
        ({"completion_tokens": 85}, (None, 85, None)),
        ({"prompt_tokens": 9.0, "completion_tokens": 1.0}, (9, 1, 10)),
        # What only the total shows is thinking: Gemini's compatible endpoint, x.ai.
        ({"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 40}, (9, 31, 40)),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 1,
                "total_tokens": 40,
                "completion_tokens_details": {"reasoning_tokens": 30},
            },
            (9, 31, 40),
        ),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 1,
                "completion_tokens_details": {"reasoning_tokens": 30},
            },
            (9, 31, 40),
        ),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 31,
                "total_tokens": 40,
                "completion_tokens_details": {"reasoning_tokens": 30},
            },
            (9, 31, 40),
        ),
        # Two names for one figure, one of them zero, or beside the total.
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 1,
                "total_tokens": 10,
                "input_tokens": 0,
                "output_tokens": 0,
            },
            (9, 1, 10),
        ),
        ({"input_tokens": 9, "output_tokens": 1, "prompt_tokens": 0, "completion_tokens": 0}, (9, 1, 10)),
        ({"input_tokens": 0, "prompt_tokens": 9, "output_tokens": 1, "completion_tokens": 0}, (9, 1, 10)),
        ({"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 0}, (9, 1, 10)),
        ({"input_tokens": 4, "prompt_tokens": 9, "output_tokens": 1, "total_tokens": 10}, (9, 1, 10)),
        # Numbers as texts, with a fraction, under other names.
        ({"prompt_tokens": "2100", "completion_tokens": "6", "total_tokens": "2106"}, (2100, 6, 2106)),
        ({"prompt_tokens": " 9.0 ", "completion_tokens": 1.5}, (9, 2, 11)),
        ({"promptTokens": 9, "completionTokens": 1, "totalTokens": 10}, (9, 1, 10)),
        (
            {
                "promptTokenCount": 9,
                "candidatesTokenCount": 1,
                "thoughtsTokenCount": 30,
                "totalTokenCount": 40,
            },
            (9, 31, 40),
        ),
        ({"prompt_eval_count": 9, "eval_count": 1}, (9, 1, 10)),
        ({"prompt_tokens": "1,234,567", "completion_tokens": "+1_000"}, (1234567, 1000, 1235567)),
        ({"prompt_tokens": "1e3", "completion_tokens": 5e1}, (1000, 50, 1050)),
        ({"prompt_cache_hit_tokens": 64, "prompt_cache_miss_tokens": 6, "completion_tokens": 3}, (70, 3, 73)),
        (
            {
                "promptTokenCount": 9,
                "candidatesTokenCount": 1,
                "thoughtsTokenCount": 30,
                "toolUsePromptTokenCount": 100,
                "totalTokenCount": 140,
            },
            (109, 31, 140),
        ),
        (
            {"prompt_tokens": 4, "completion_tokens": 27, "total_tokens": 635, "prompt_audio_seconds": 47},
            (608, 27, 635),
        ),
        ({"prompt_tokens": 9, "completion_tokens": None, "total_tokens": 9}, (9, 0, 9)),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, (0, 0, 0)),
        ({"type": "duration", "seconds": 3.5}, (None, None, None)),
        ({"type": "duration", "seconds": 0}, (None, None, None)),
        ({"prompt_tokens": 0, "completion_tokens": 50, "total_tokens": 1050}, (1000, 50, 1050)),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 1050}, (None, None, 1050)),
        ({"tokens": {"input_tokens": 9, "output_tokens": 1}}, (9, 1, 10)),
    ],
)
def test_counts(value: dict[str, Any], counts: tuple[int | None, ...]) -> None:
    usage = read(value)
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == counts


@pytest.mark.parametrize(
    "value",
    [
        None, 3, "9", [], {}, {"prompt_tokens": None}, {"prompt_tokens": "9 tokens"}, {"prompt_tokens": -1},
        {"prompt_tokens": True}, {"prompt_tokens": float("nan")}, {"prompt_tokens": 2**70}, {"tokens": 9},
        {"prompt_tokens": "1,5"}, {"prompt_tokens": "1e"}, {"prompt_tokens": ""},
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
    third = {"prompt_tokens": "100", "completion_tokens": 200, "input_tokens": 0, "queue_time": 0.5}
    usage = total(filter(None, map(read, (first, second, third))))
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (111, 222, 333)
    assert usage.input_tokens_details == {"text_tokens": 1, "image_tokens": 9}
    assert usage.other == {"queue_time": 0.5}
    assert read(usage.raw) == usage
    assert usage.missing == ()


def test_a_sum_is_a_lower_bound_where_a_part_lacks_a_figure() -> None:
    usage = total(
        filter(None, map(read, ({"prompt_tokens": 1}, {"prompt_tokens": 2, "completion_tokens": 3})))
    )
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.missing) == (3, 3, ("unreported",))


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
        ({**ANTHROPIC, "total_tokens": 15}, (130, 5, 135), CACHED, {}),
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 115,
          "prompt_tokens_details": {"cached_tokens": 100}}, (110, 5, 115), {"cached_tokens": 100}, {}),
        ({"prompt_tokens": 801, "completion_tokens": 2, "total_tokens": 803, "num_cached_tokens": 768},
         (801, 2, 803), {"cached_tokens": 768}, {}),
        ({"prompt_tokens": 801, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 0},
          "input_tokens_details": {"cached_tokens": "768"}}, (801, 2, 803), {"cached_tokens": 768}, {}),
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
    ("values", "counts"),
    [
        ([], None),
        ([None, {"prompt_tokens": 1}, 3], (1, None, None)),
        ([ONE, {"prompt_tokens": 2, "completion_tokens": 2}, None], (2, 2, 4)),
        ([ONE, {"prompt_tokens": 0, "completion_tokens": 0}], (1, 1, 2)),
        ([{"prompt_tokens": 0, "completion_tokens": 0}], (0, 0, 0)),
        # Halves: the input at the start, the output at the end, under any name.
        ([{"prompt_tokens": 1200, "completion_tokens": 1, "total_tokens": 1201}, {"completion_tokens": 85}],
         (1200, 85, 1285)),
        ([{"input_tokens": 1200, "output_tokens": 1}, {"completion_tokens": 85}], (1200, 85, 1285)),
        ([{"prompt_tokens": 1200}, {"output_tokens": 85}], (1200, 85, 1285)),
        ([{"prompt_tokens": 1300, "completion_tokens": 0, "total_tokens": 1300},
          {"prompt_tokens": 1200, "completion_tokens": 85}], (1200, 85, 1285)),
        ([{"prompt_tokens": 1200, "completion_tokens": 0}, {"total_tokens": 1285}], (1200, 85, 1285)),
        ([{"prompt_tokens": 1200, "completion_tokens": 1, "total_tokens": 1201}, {"total_tokens": 1285}],
         (1200, 85, 1285)),
        ([{"prompt_tokens": 901, "completion_tokens": 1}, {"prompt_tokens": 0, "completion_tokens": 5}],
         (901, 5, 906)),
        ([{"total_tokens": 5}, {"total_tokens": 12}], (None, None, 12)),
    ],
)  # fmt: skip
def test_several_reports_of_one_answer(values: list[Any], counts: tuple[int | None, ...] | None) -> None:
    usage = merge(values)
    assert (usage and (usage.input_tokens, usage.output_tokens, usage.total_tokens)) == counts
    if usage is not None:
        again = read(usage.raw)
        assert again is not None
        assert (again.input_tokens, again.output_tokens, again.total_tokens) == counts


def test_the_last_report_is_shown_as_it_came() -> None:
    last = {"prompt_tokens": 2, "completion_tokens": 2, "queue_time": 1}
    usage = merge([ONE, last, None])
    assert usage is not None
    assert usage.raw == last


NUMBERS = st.one_of(st.none(), st.booleans(), st.integers(-5, 2**70), st.floats(), st.text(max_size=3))
OBJECTS = st.dictionaries(
    st.sampled_from(
        ["prompt_tokens", "input_tokens", "output_tokens", "completion_tokens", "total_tokens",
         "cached_tokens", "reasoning_tokens", "cache_read_input_tokens", "seconds", "x"]
    ),
    NUMBERS,
)  # fmt: skip


@given(st.lists(OBJECTS, max_size=4))
def test_figures_agree_whatever_is_reported(values: list[dict[str, Any]]) -> None:
    usage = merge(values)
    if usage is None or usage.unreported or usage.total_tokens is None:
        return
    assert usage.input_tokens is not None
    assert usage.output_tokens is not None
    assert usage.input_tokens + usage.output_tokens == usage.total_tokens
    assert read(usage.raw) is not None
