"""Imports point one way, between the rooms and between the floors of a room, and never in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("addons", "store", "dispatch", "scripts")

FORBIDDEN = {
    "store": ("addons", "dispatch", "scripts", "tests", "mitmproxy"),
    "dispatch": ("addons", "scripts", "tests", "mitmproxy"),
    "addons": ("dispatch", "scripts", "tests"),
    "addons/openai": ("store", "dispatch", "scripts", "tests", "mitmproxy"),
    "scripts": ("tests",),
}
"""What a room never imports."""

FLOORS = {
    "addons": (
        "openai",
        "mitm",
        "flow",
        "caching",
        "checks",
        "recording",
        "services",
        "management_api",
        "management_page",
        "runtime",
        "hooks",
        "llmproxy",
    ),
    "store": ("core", "database"),
}
"""The floors of a room from the ground up: each imports only itself and those before it."""

DEBT: set[tuple[str, str]] = set()
"""Arrows that still point up."""


def modules() -> dict[str, Path]:
    """Map dotted names to files, for all rooms."""
    found = {}
    for room in ROOMS:
        for file in (ROOT / room).rglob("*.py"):
            found[dotted(file)] = file
    return found


def dotted(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported(file: Path) -> Iterator[str]:
    """Yield what `file` imports at run time, each as a module and as a name of one."""

    def walk(node: ast.AST) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if isinstance(child, ast.Import):
                yield from (alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert not child.level, f"{file} imports relatively"
                yield child.module or ""
                yield from (f"{child.module}.{alias.name}" for alias in child.names)
            yield from walk(child)

    yield from walk(ast.parse(file.read_text()))


@pytest.mark.parametrize("package", FORBIDDEN)
def test_direction_between_rooms(package: str) -> None:
    files = list((ROOT / package).rglob("*.py"))
    assert files
    wrong = {
        f"{file.relative_to(ROOT)} imports {name}"
        for file in files
        for name in imported(file)
        if name.split(".")[0] in FORBIDDEN[package]
    }
    assert wrong == set()


def test_understanding_needs_nothing_else_of_ours() -> None:
    wrong = {
        f"{file.name} imports {name}"
        for file in (ROOT / "addons" / "openai").rglob("*.py")
        for name in imported(file)
        if name.split(".")[0] == "addons" and name != "addons" and not name.startswith("addons.openai")
    }
    assert wrong == set()


@pytest.mark.parametrize("room", FLOORS)
def test_direction_between_floors(room: str) -> None:
    floors = FLOORS[room]
    wrong, known = set(), modules()
    for height, floor in enumerate(floors):
        place = ROOT / room / floor
        files = list(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
        assert files, f"{room}/{floor} is gone: mend FLOORS"
        above = tuple(f"{room}.{name}" for name in floors[height + 1 :])
        wrong |= {
            (str(file.relative_to(ROOT)), name)
            for file in files
            for name in imported(file)
            if name in known and f"{name}.".startswith(tuple(f"{each}." for each in above))
        }
    assert wrong - DEBT == set()
    assert {arrow for arrow in DEBT if arrow[0].startswith(f"{room}/")} <= wrong, "paid: strike it from DEBT"


@pytest.mark.parametrize("floor", ["core", "database"])
def test_the_ground_floors_of_the_store_import_no_other(floor: str) -> None:
    allowed = ("store.core", "store.database") if floor == "database" else ("store.core",)
    wrong = {
        f"{file.relative_to(ROOT)} imports {name}"
        for file in (ROOT / "store" / floor).rglob("*.py")
        for name in imported(file)
        if name.startswith("store.") and not name.startswith(allowed)
    }
    assert wrong == set()


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Find the strongly connected components of more than one module (Tarjan, SIAM J. Comput. 1, 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in sorted(edges[node]):
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            component = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(component) > 1:
                found.append(sorted(component))

    for node in sorted(edges):
        if node not in index:
            visit(node)
    return found


def test_no_circles() -> None:
    known = {name: file for name, file in modules().items() if file.name != "__init__.py"}
    edges = {
        name: {other for other in imported(file) if other in known and other != name}
        for name, file in known.items()
    }
    assert circles(edges) == []


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c"]]
