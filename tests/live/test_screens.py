"""What the documents show is what their commands print."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.screens.pages import marked
from tests.screens.worlds import play

pytestmark = [
    pytest.mark.live,
    pytest.mark.slow,
    pytest.mark.once,
    pytest.mark.skipif(sys.version_info < (3, 12), reason="screens are of the mitmproxy for it"),
]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("world", marked())
def test_the_screens_of_the_documents(world: str, tmp_path: Path) -> None:
    for screen in play(world, tmp_path):
        said = f"{screen.command.place}: {screen.command.text}\n{screen.printed}"
        assert screen.code == 0, said
        assert screen.fits, f"{said}\nIf that is wanted: python -m tests.screens"
