"""Usage objects of every shape, and what is none."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.openai.usage import Usage, add, from_tail, read


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
    first = read({"input_tokens": 1, "output_tokens": 2, "input_tokens_details": {"text_tokens": 1}})
    second = read({"input_tokens": 10, "output_tokens": 20, "input_tokens_details": {"image_tokens": 9}})
    assert first is not None
    assert second is not None
    total = add(add(None, first), second)
    assert (total.input_tokens, total.output_tokens, total.total_tokens) == (11, 22, 33)
    assert total.input_tokens_details == {"text_tokens": 1, "image_tokens": 9}
    assert add(Usage(seconds=1.5), Usage(seconds=2)).seconds == 3.5


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
