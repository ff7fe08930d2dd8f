"""Keep what each dispatcher says of itself, in a small file: ``SPOOL/dispatchers/NAME.json``.

It is replaced every few seconds, and when the dispatcher ends, so that its last error outlives it.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from store.core.private_files import make_folder, open_private

FOLDER = "dispatchers"


def write(spool: Path, states: Mapping[str, Mapping[str, Any]]) -> None:
    """Replace the state of each consumer. Raises OSError."""
    folder = spool / FOLDER
    make_folder(folder)
    for name, state in states.items():
        fresh = folder / f"{name}.{os.getpid()}.new"
        with open_private(fresh, "w") as file:
            json.dump(state, file)
        fresh.replace(folder / f"{name}.json")


def read(spool: Path) -> dict[str, dict[str, Any]]:
    """Return the last state of each consumer, by name; unreadable files are left out."""
    found = {}
    for path in sorted((spool / FOLDER).glob("*.json")):
        with contextlib.suppress(OSError, ValueError):
            value = json.loads(path.read_bytes())
            if isinstance(value, dict):
                found[path.stem] = value
    return found
