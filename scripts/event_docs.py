"""Documents the records of the spool from their types: tables of docs/event.md, and a JSON Schema.

In the page a table stands between ``<!-- table: NAME -->`` and ``<!-- end -->``. The meaning of a field is
the text below it in :mod:`store.core.event`, that of a code stands in :mod:`store.core.codes`.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET

from dispatch import message
from store.core import codes, event
from store.core.event import BaseRecord

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE, SCHEMA = DOCS / "event.md", DOCS / "event.schema.json"
TABLE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
RECORDS = (
    *(event.UsageEvent, event.RepricingRecord, event.SessionRecord, event.BudgetRecord),
    *(event.AlertRecord, event.AuditRecord, event.ReconciliationRecord),
    *(event.WriterRecord, event.DroppedRecord),
)
NOT_SENT = frozenset({*message.CONTENT})


def page(text: str) -> str:
    """Give the page with every table made anew."""
    return TABLE.sub(lambda found: found[1] + "\n".join(_table(found[2])) + "\n" + found[3], text)


def _table(name: str) -> Iterator[str]:
    kind = getattr(codes, name, None) or getattr(event, name)
    if issubclass(kind, codes.Code):
        yield "| value | meaning |"
        yield "| --- | --- |"
        yield from (f"| `{code}` | {code.meaning} |" for code in kind)
    elif kind is event.UsageEvent:
        yield "| field | | meaning |"
        yield "| --- | --- | --- |"
        for field, text in _meanings(kind).items():
            yield f"| `{field}` | {'' if field in NOT_SENT else '•'} | {text} |"
    else:
        yield "| field | meaning |"
        yield "| --- | --- |"
        meanings = _meanings(kind)
        alike = ", ".join(f"`{field}`" for field, text in meanings.items() if not text)
        yield f"| {alike} | as in the event of a call |"
        yield from (f"| `{field}` | {text} |" for field, text in meanings.items() if text)


@cache
def _texts() -> dict[str, dict[str, str]]:
    """Give the texts below the fields, by class and field."""
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(inspect.getsource(event)).body:
        if isinstance(node, ast.ClassDef):
            texts = found[node.name] = {}
            for field, below in zip(node.body, node.body[1:], strict=False):
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                    said = below.value if isinstance(below, ast.Expr) else None
                    text = said.value if isinstance(said, ast.Constant) else ""
                    texts[field.target.id] = " ".join(str(text).split())
    return found


def _meanings(kind: type[BaseRecord]) -> dict[str, str]:
    """Give what each field means; empty where that is what it means in the event of a call."""
    texts = _texts()[kind.__name__]
    return {field.name: texts.get(field.name, "") for field in msgspec.structs.fields(kind)}


def schema() -> dict[str, Any]:
    """Give a JSON Schema (2020-12) of a line."""
    references, parts = msgspec.json.schema_components(RECORDS, ref_template="#/$defs/{name}")
    for kind in _structs():
        part = parts.get(kind.__name__)
        if part is not None:
            part["required"] = _always_there(kind)
            for name, described in part["properties"].items():
                described.pop("default", None)
                if text := _texts()[kind.__name__].get(name):
                    described["description"] = text
    for kind in RECORDS:
        parts[kind.__name__]["properties"]["type"] = {"const": kind().type}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A line of the spool of llmproxy, schema 1",
        "description": "Later versions may add fields, codes and types of records.",
        "anyOf": list(references),
        "$defs": parts,
    }


def _always_there(kind: type[BaseRecord]) -> list[str]:
    found = [field.name for field in msgspec.structs.fields(kind) if field.default is not UNSET]
    if kind is event.SessionRecord:  # of one whose proxy died no more is known than of a call
        found = [name for name in found if name in _meanings(event.UsageEvent)]
    return found


def _structs() -> Iterator[type[BaseRecord]]:
    for value in vars(event).values():
        if isinstance(value, type) and issubclass(value, BaseRecord):
            yield value


def schema_text() -> str:
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Write both files."""
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
    SCHEMA.write_text(schema_text(), "utf-8")


if __name__ == "__main__":
    main()
