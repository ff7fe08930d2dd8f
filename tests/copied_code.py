"""A copy of the product's code with a change, to show how many files a change touches, and that it works."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
Change = tuple[str, str]
"""Before which text what is put."""


def copy_code(tree: Path, changes: Mapping[str, Sequence[Change]]) -> None:
    """Copy the code to `tree`, and change these files; each text has to be there once."""
    for room in ("addons", "store", "scripts"):
        shutil.copytree(ROOT / room, tree / room, ignore=shutil.ignore_patterns("__pycache__", "benchmarks"))
    for name, insertions in changes.items():
        text = (tree / name).read_text()
        for before, added in insertions:
            assert text.count(before) == 1, f"{name} has {text.count(before)} times: {before}"
            text = text.replace(before, added + before)
        (tree / name).write_text(text)


def run_code(tree: Path, code: str, *arguments: object) -> Any:
    """Run `code` on the copy; returns the JSON that it prints."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
