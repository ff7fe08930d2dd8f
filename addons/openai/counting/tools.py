"""Write function tools as the model reads them: TypeScript declarations in a namespace.

    namespace functions {

    // What the function does
    type get_weather = (_: {
    // The city
    city: string,
    unit?: "c" | "f", // default: "c"
    }) => any;

    } // namespace functions

A description's lines are trimmed; nothing is indented, at any depth. What a schema restricts further
(patterns, formats, minima, additionalProperties) is not shown to the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from addons.openai.counting.model import Model
from addons.openai.counting.tally import Tally, TooMuch, mapping, text, to_json

MAX_DEPTH = 60
"""Levels of a schema; OpenAI allows ten in strict ones."""
MAX_NODES = 20_000
"""Schemas within the tools of one request, references followed; rendering them takes about 0.1 s."""
MAX_LENGTH = 4_000_000
"""Characters of comments and values, references followed."""

UNION = " | "
PRIMITIVES = {
    "integer": "number",
    "number": "number",
    "string": "string",
    "boolean": "boolean",
    "null": "null",
}


@dataclass(frozen=True, slots=True)
class Rendered:
    text: str
    exact: bool
    """False where a schema contains itself; how the API writes that is not known."""


def count_functions(tally: Tally, model: Model, functions: list[Mapping[str, Any]]) -> None:
    """Count the block that declares them."""
    try:
        rendered = render(functions)
    except TooMuch:
        tally.weigh(functions)
        return
    tally.add(model.n(rendered.text))
    if not rendered.exact:
        tally.guess("recursive_schema")


def render(functions: Iterable[Mapping[str, Any]]) -> Rendered:
    """Give the block that stands for `functions`. Raises :class:`TooMuch` for what nobody would send."""
    writer = _Writer()
    declarations = [f"{writer.function(function)}\n\n" for function in functions]
    block = "".join(["namespace functions {\n\n", *declarations, "} // namespace functions"])
    return Rendered(block, exact=not writer.recursive)


def comment(value: object) -> str:
    """Write a description's lines as comments, trimmed on both sides; an empty one within stays as ``//``."""
    lines = text(value).strip().split("\n")
    return "".join(f"// {line.strip()}".rstrip() + "\n" for line in lines) if lines != [""] else ""


class _Writer:
    """Renders schemas, and minds their number and length: references can make a small text large."""

    def __init__(self) -> None:
        self.recursive = False
        self._nodes = 0
        self._length = 0
        self._root: Mapping[str, Any] = {}
        self._open: list[str] = []
        """References that are being followed."""

    def function(self, function: Mapping[str, Any]) -> str:
        name = text(function.get("name"))
        self._root = mapping(function.get("parameters"))
        head = self._spend(comment(function.get("description")))
        if not mapping(self._root.get("properties")):
            return f"{head}type {name} = () => any;"
        return f"{head}type {name} = (_: {self._titled(self._root, 0)}) => any;"

    def _spend(self, written: str) -> str:
        self._length += len(written)
        if self._length > MAX_LENGTH:
            raise TooMuch
        return written

    def _titled(self, schema: Mapping[str, Any], depth: int) -> str:
        """Give the parameters, or what a reference within a type leads to: a title comes before the brace."""
        return self._spend(comment(schema.get("title"))) + self._type(schema, depth)

    def _type(self, schema: Mapping[str, Any], depth: int) -> str:
        self._nodes += 1
        if depth > MAX_DEPTH or self._nodes > MAX_NODES:
            raise TooMuch
        if isinstance(reference := schema.get("$ref"), str):
            return self._referred(reference, depth)
        if "const" in schema:
            return self._value(schema["const"])
        for key in ("enum", "anyOf", "oneOf"):
            if isinstance(options := schema.get(key), list):
                write = self._value if key == "enum" else (lambda one: self._type(mapping(one), depth + 1))
                return UNION.join(write(option) for option in options)
        kind = schema.get("type")
        if isinstance(kind, list):
            return UNION.join(self._type({**schema, "type": one}, depth + 1) for one in kind)
        if kind == "array":
            items = schema.get("items")
            return f"{self._type(items, depth + 1)}[]" if isinstance(items, Mapping) else "any[]"
        if kind == "object" or "properties" in schema:
            return self._object(schema, depth)
        return PRIMITIVES.get(text(kind), "any")

    def _value(self, value: object) -> str:
        return self._spend(to_json(value, spaces=True))

    def _referred(self, reference: str, depth: int) -> str:
        target = self._resolve(reference)
        if target is None or reference in self._open:
            self.recursive = self.recursive or target is not None
            return "any"
        self._open.append(reference)
        written = self._titled(target, depth + 1)
        self._open.pop()
        return written

    def _object(self, schema: Mapping[str, Any], depth: int) -> str:
        """Write an object on one line, unless a property has a comment."""
        properties = mapping(schema.get("properties"))
        if not properties:
            return "object"
        required = schema.get("required")
        required = required if isinstance(required, list) else []
        lines = [self._property(name, value, name in required, depth) for name, value in properties.items()]
        if not any(notes or default for notes, _, default in lines):
            return f"{{ {', '.join(line for _, line, _ in lines)} }}"
        return "{\n" + "".join(f"{notes}{line},{default}\n" for notes, line, default in lines) + "}"

    def _property(self, name: str, value: object, required: bool, depth: int) -> tuple[str, str, str]:
        """Give the comments before a property, the property, and the comment after it."""
        about = mapping(value)
        reference = about.get("$ref")
        opened = isinstance(reference, str) and reference not in self._open
        if opened:
            # Title and description of what it refers to become those of the property.
            self._open.append(str(reference))
            about = {**(self._resolve(str(reference)) or {}), **about}
            about.pop("$ref", None)
        title, description = comment(about.get("title")), comment(about.get("description"))
        between = "//\n" if title and description else ""
        notes = self._spend(f"{title}{between}{description}")
        default = f" // default: {self._value(about['default'])}" if "default" in about else ""
        written = f"{name}{'' if required else '?'}: {self._type(about, depth + 1)}"
        if opened:
            self._open.pop()
        return notes, written, default

    def _resolve(self, reference: str) -> Mapping[str, Any] | None:
        """Give a JSON pointer into the parameters (RFC 6901), None where it leads nowhere."""
        found: object = self._root
        for step in reference.removeprefix("#").split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, Mapping) or key not in found:
                return None
            found = found[key]
        return found if isinstance(found, Mapping) else None
