"""What differs between endpoints stands in their rows: no other module tells them apart by name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from addons.openai.endpoints import KNOWN_NAMES

ADDONS = Path(__file__).parents[3] / "addons"
TABLE = ("openai/endpoints.py", "openai/objects/kinds.py")
"""The rows, and the paths below which objects are."""
OWN = "/v1/llmproxy"
"""Answered by the proxy itself."""
ALSO_WORDS = frozenset(
    {
        *("images", "files", "models", "other", "responses", "live", "administration", "agents"),
        "embeddings",
    }
)
"""Names that are members of bodies, units or plain words too: they count where they are compared."""


def names_in(tree: ast.Module) -> Iterator[str]:
    """Each literal that is the name of an endpoint, or its path."""
    compared = {
        id(literal)
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        for literal in ast.walk(node)
        if "endpoint" in (text := ast.unparse(node)) and ".risk" not in text
    }
    described = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or id(node) in described:
            continue
        sure = node.value in KNOWN_NAMES - ALSO_WORDS or (
            node.value.startswith("/v1/") and len(node.value) > len("/v1/") and node.value != OWN
        )
        if sure or (node.value in KNOWN_NAMES and id(node) in compared):
            yield node.value


def test_no_module_tells_endpoints_apart_by_name() -> None:
    found: dict[str, set[str]] = {}
    for path in sorted(ADDONS.rglob("*.py")):
        file = path.relative_to(ADDONS).as_posix()
        if file not in TABLE and (names := set(names_in(ast.parse(path.read_text(encoding="utf-8"))))):
            found[file] = names
    assert found == {}
