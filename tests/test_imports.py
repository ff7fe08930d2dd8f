"""Imports point one way: addons -> store <- dispatch, scripts -> all, addons/openai -> nothing of ours."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

FORBIDDEN = {
    "store": ("addons", "dispatch", "scripts", "tests", "mitmproxy"),
    "dispatch": ("addons", "scripts", "tests", "mitmproxy"),
    "addons": ("dispatch", "scripts", "tests"),
    "addons/openai": ("store", "dispatch", "scripts", "tests", "mitmproxy"),
    "scripts": ("tests",),
}


def imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize("package", FORBIDDEN)
def test_direction_of_imports(package: str) -> None:
    files = list((ROOT / package).rglob("*.py"))
    assert files
    wrong = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in files
        for name in imported(file)
        if name.split(".")[0] in FORBIDDEN[package]
    ]
    assert wrong == []


def test_understanding_needs_nothing_else_of_ours() -> None:
    wrong = [
        f"{file.name} imports {name}"
        for file in (ROOT / "addons" / "openai").glob("*.py")
        for name in imported(file)
        if name.split(".")[0] == "addons" and not name.startswith("addons.openai")
    ]
    assert wrong == []
