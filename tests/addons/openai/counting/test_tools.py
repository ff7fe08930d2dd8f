"""How function tools are written out for the model; the forms were derived from recorded calls."""

from __future__ import annotations

import time
from typing import Any

import pytest

from addons.openai.counting import tools
from addons.openai.counting.tally import TooMuch


def block(*functions: dict[str, Any]) -> str:
    return tools.render(functions).text


def declared(parameters: dict[str, Any]) -> str:
    """What stands between the parentheses."""
    text = block({"name": "f", "parameters": parameters})
    return text.split("(_: ", 1)[1].rsplit(") => any;", 1)[0]


def test_a_function_without_parameters() -> None:
    assert block({"name": "now", "description": "Tell the time"}) == (
        "namespace functions {\n\n// Tell the time\ntype now = () => any;\n\n} // namespace functions"
    )


def test_two_functions_each_with_an_empty_line_after_it() -> None:
    assert block({"name": "a"}, {"name": "b", "parameters": {"type": "object", "properties": {}}}) == (
        "namespace functions {\n\ntype a = () => any;\n\ntype b = () => any;\n\n} // namespace functions"
    )


def test_uncommented_properties_stand_on_one_line() -> None:
    parameters = {
        "properties": {"a": {"type": "integer"}, "b": {"type": "string"}, "c": {"type": "boolean"}},
        "required": ["a"],
    }
    assert declared(parameters) == "{ a: number, b?: string, c?: boolean }"


def test_one_comment_puts_each_property_on_its_own_line() -> None:
    parameters = {
        "properties": {"city": {"type": "string", "description": "The city"}, "days": {"type": "number"}},
        "required": ["city", "days"],
    }
    assert declared(parameters) == "{\n// The city\ncity: string,\ndays: number,\n}"


def test_title_then_description() -> None:
    parameters = {
        "title": "Args",
        "properties": {"a": {"title": "A", "description": "First", "type": "null"}},
    }
    assert declared(parameters) == "// Args\n{\n// A\n//\n// First\na?: null,\n}"


def test_a_default_stands_behind_the_comma() -> None:
    parameters = {"properties": {"unit": {"enum": ["c", "f"], "default": "c"}}}
    assert declared(parameters) == '{\nunit?: "c" | "f", // default: "c"\n}'


@pytest.mark.parametrize(
    ("schema", "written"),
    [
        ({"type": "array", "items": {"type": "string"}}, "string[]"),
        ({"type": "array"}, "any[]"),
        ({"type": "object"}, "object"),
        ({"type": "object", "properties": {"x": {"type": "number"}}}, "{ x?: number }"),
        ({"type": ["string", "null"]}, "string | null"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "number | null"),
        ({"oneOf": [{"type": "array", "items": {"type": "integer"}}, {"const": 7}]}, "number[] | 7"),
        ({"const": "ünï"}, '"ünï"'),
        ({"enum": [1, None, "a"]}, '1 | null | "a"'),
        ({}, "any"),
        (True, "any"),
        ({"type": "string", "pattern": "^x", "format": "uri", "minLength": 3}, "string"),
        ({"type": 7, "items": [], "anyOf": "no"}, "any"),
        ({"$ref": "#/nowhere"}, "any"),
    ],
)
def test_types(schema: Any, written: str) -> None:
    assert declared({"properties": {"x": schema}, "required": ["x"]}) == f"{{ x: {written} }}"


def test_nothing_is_indented_at_any_depth() -> None:
    inner = {
        "type": "object",
        "properties": {"b": {"type": "string", "description": "deep"}},
        "required": ["b"],
    }
    assert declared({"properties": {"a": inner}, "required": ["a"]}) == "{ a: {\n// deep\nb: string,\n} }"


def test_a_descriptions_lines_are_trimmed_and_empty_ones_kept_within() -> None:
    assert tools.comment("\n  One.  \n\n\tTwo.\n\n") == "// One.\n//\n// Two.\n"
    assert tools.comment("  \n ") == tools.comment(None) == tools.comment(7) == ""


def test_a_reference_of_a_property_gives_it_title_and_description() -> None:
    parameters = {
        "$defs": {"P~/": {"title": "Point", "properties": {"x": {"type": "number"}}, "required": ["x"]}},
        "properties": {"at": {"$ref": "#/$defs/P~0~1"}},
        "required": ["at"],
    }
    assert declared(parameters) == "{\n// Point\nat: { x: number },\n}"


def test_a_reference_within_a_type_has_its_title_before_the_brace() -> None:
    parameters = {
        "$defs": {"P": {"title": "Point", "properties": {"x": {"type": "number"}}, "required": ["x"]}},
        "properties": {"all": {"type": "array", "items": {"$ref": "#/$defs/P"}}},
    }
    assert declared(parameters) == "{ all?: // Point\n{ x: number }[] }"


def test_a_schema_that_contains_itself_ends_and_says_so() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}
    parameters = {"$defs": {"Node": node}, "properties": {"head": {"$ref": "#/$defs/Node"}}}
    found = tools.render([{"name": "f", "parameters": parameters}])
    assert not found.exact
    assert "head?: { next?: any }" in found.text
    whole = {"properties": {"self": {"$ref": "#"}}}
    assert not tools.render([{"name": "f", "parameters": whole}]).exact


def bomb(levels: int, width: int, description: str = "") -> dict[str, Any]:
    """References that double the text with every level."""
    leaf: dict[str, Any] = {"type": "string", "description": description}
    definitions = {"D0": leaf} | {
        f"D{level}": {"properties": {f"p{n}": {"$ref": f"#/$defs/D{level - 1}"} for n in range(width)}}
        for level in range(1, levels)
    }
    return {
        "name": "f",
        "parameters": {"$defs": definitions, "properties": {"p": {"$ref": f"#/$defs/D{levels - 1}"}}},
    }


@pytest.mark.parametrize("function", [bomb(20, 20), bomb(59, 2), bomb(3, 100, "x" * 100_000)])
def test_references_that_multiply_are_given_up(function: dict[str, Any]) -> None:
    started = time.monotonic()
    with pytest.raises(TooMuch):
        tools.render([function])
    assert time.monotonic() - started < 30  # a bound, where it would be years


def test_deep_nesting_is_given_up() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(5000):
        schema = {"type": "array", "items": schema}
    with pytest.raises(TooMuch):
        declared({"properties": {"x": schema}})
