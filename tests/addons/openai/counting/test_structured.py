"""JSON schemas for structured output."""

from __future__ import annotations

import pytest

from addons.openai.counting import structured
from addons.openai.counting.tally import TooMuch


def test_what_makes_a_schema_strict_is_dropped_at_every_level() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "array", "items": {"required": ["x"], "type": "object"}}},
        "required": ["a"],
        "additionalProperties": False,
    }
    assert structured.render(schema) == (
        '{"type":"object","properties":{"a":{"type":"array","items":{"type":"object"}}}}'
    )


def test_properties_of_these_names_are_kept() -> None:
    schema = {
        "properties": {"required": {"required": []}, "properties": {"type": "é"}},
        "$defs": {"additionalProperties": {"type": "null", "additionalProperties": True}},
    }
    assert structured.render(schema) == (
        '{"properties":{"required":{},"properties":{"type":"é"}},"$defs":{"additionalProperties":{"type":"null"}}}'
    )


def test_deep_nesting_is_given_up() -> None:
    schema: dict[str, object] = {}
    for _ in range(5000):
        schema = {"items": schema}
    with pytest.raises(TooMuch):
        structured.render(schema)


@pytest.mark.parametrize(
    ("value", "is_one"),
    [
        ({"type": "json_schema"}, True),
        ({"type": "json_object"}, False),
        ("json_schema", False),
        (None, False),
    ],
)
def test_is_schema(value: object, is_one: bool) -> None:
    assert structured.is_schema(value) is is_one
