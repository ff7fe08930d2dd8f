"""Give an installation its one name.

The rooms (``addons``, ``store``, ``dispatch``, ``scripts``) have names that other packages have too, so
none of them lies in ``site-packages`` itself: a wheel holds them in ``llmproxy/rooms``. Only processes of
llmproxy's own find them by those names.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOMS = Path(__file__).resolve().parent / "rooms"
"""The folder that holds the rooms. There is none where a checkout is installed: it is on the path."""


def find_rooms(*, first: bool) -> None:
    """Let ``import store`` and the others find the rooms.

    `first` is for a process of our own, in which they come before packages of the same name; in another's
    process they come last.
    """
    if ROOMS.is_dir() and str(ROOMS) not in sys.path:
        sys.path.insert(0 if first else len(sys.path), str(ROOMS))


def main() -> None:
    """Run the ``llmproxy`` command."""
    find_rooms(first=True)
    from scripts.cli import main as command  # noqa: PLC0415 - it is found from here on

    command(prog_name="llmproxy")
