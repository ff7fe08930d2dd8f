"""No assert of ours does anything: under PYTHONOPTIMIZE they are not there."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HARMLESS = {"isinstance", "tuple", "len"}
"""Functions that an assert may call."""


def asserts() -> Iterator[tuple[Path, ast.Assert]]:
    for room in ("addons", "store", "dispatch", "scripts"):
        for file in (ROOT / room).rglob("*.py"):
            if "benchmarks" not in file.parts:
                yield from (
                    (file, node)
                    for node in ast.walk(ast.parse(file.read_text()))
                    if isinstance(node, ast.Assert)
                )


def test_asserts_only_look() -> None:
    found = list(asserts())
    assert len(found) > 20, "the test tests nothing"
    wrong = []
    for file, each in found:
        for node in ast.walk(each.test):
            name = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else None
            if isinstance(node, (ast.NamedExpr, ast.Await, ast.Yield)) or (
                isinstance(node, ast.Call) and name not in HARMLESS
            ):
                wrong.append(f"{file.relative_to(ROOT)}:{each.lineno}: {ast.unparse(each)}")
    assert wrong == []
