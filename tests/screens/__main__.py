"""Write the screens of the documents anew, where they no longer are what is printed."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.screens.pages import marked, rewrite
from tests.screens.worlds import play


def main(worlds: list[str]) -> None:
    """Play these worlds; all without any."""
    for world in worlds or marked():
        with tempfile.TemporaryDirectory() as folder:
            screens = list(play(world, Path(folder)))
        for screen in screens:
            if screen.code:
                print(f"{screen.command.place}: exit code {screen.code}: {screen.printed}")
        for place in rewrite(screens):
            print(f"{place} is written anew")


if __name__ == "__main__":
    main(sys.argv[1:])
