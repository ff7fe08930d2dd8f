"""A sink of a package that knows nothing of this repository but its interface."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.dispatch.conftest import Run, usage_event, write

PLUGIN = Path(__file__).parent / "plugin"
DOCS = Path(__file__).parents[2] / "docs" / "dispatch.md"


def test_a_sink_of_another_package(spool: Path, tmp_path: Path, dispatch: Run) -> None:
    written = write(spool, [usage_event(n) for n in range(3)])
    settings = {"PYTHONPATH": str(PLUGIN), "DISPATCHER_PIGEON_LOFT": str(tmp_path)}
    done = dispatch("--service", "pigeon", "--json", **settings)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["sinks"]["pigeon"]["sent"] == 4
    letters = [json.loads((tmp_path / f"{event_id}.json").read_text()) for event_id in written]
    assert [letter["event_id"] for letter in letters] == written
    assert "--pigeon-loft PATH" in dispatch("--help", **settings).stdout
    assert (spool / "cursors" / "pigeon.json").exists()


def test_without_its_required_option(spool: Path, dispatch: Run) -> None:
    done = dispatch("--service", "pigeon", PYTHONPATH=str(PLUGIN))
    assert done.returncode == 2
    assert "--pigeon-loft (or DISPATCHER_PIGEON_LOFT)" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise RuntimeError('boom')", "RuntimeError('boom')"),
        ("class PigeonSink:\n    options = ('loft',)", "'loft' is no option"),
    ],
)
def test_a_package_that_is_broken_is_named(code: str, said: str, tmp_path: Path, dispatch: Run) -> None:
    info = tmp_path / "pigeon_post-1.0.dist-info"
    info.mkdir()
    for name in ("METADATA", "entry_points.txt"):
        (info / name).write_text((PLUGIN / info.name / name).read_text())
    (tmp_path / "pigeon_post.py").write_text(code)
    done = dispatch("--service", "stdout", PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert "sink 'pigeon' of pigeon-post" in done.stderr.splitlines()[-1]
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_the_documentation_shows_this_very_sink() -> None:
    shown = (PLUGIN / "pigeon_post.py").read_text().partition("\n\n")[2].strip()
    assert shown in DOCS.read_text()
