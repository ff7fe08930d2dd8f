"""What ``pip install .`` gives to somebody without a checkout: one name, and a command that works."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PIGEON = ROOT / "tests" / "dispatch" / "plugin"

pytestmark = [pytest.mark.slow, pytest.mark.live]


def run(*command: str | Path, cwd: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("LLM", "PYTHON"))}
    inherited.pop("OPENAI_API_KEY", None)
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**inherited, **extra},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ``bin`` of an environment that holds nothing but what pip put there, without our lock."""
    folder = tmp_path_factory.mktemp("installed")
    built = run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("*.whl")
    made = run(Path(sys.base_prefix) / "bin" / "python3", "-m", "venv", folder / "environment", cwd=folder)
    if made.returncode != 0:
        pytest.skip(f"this Python makes no environment with pip: {made.stdout} {made.stderr}")
    bin_folder = folder / "environment" / "bin"
    done = run(bin_folder / "python", "-m", "pip", "install", "--quiet", wheel, cwd=folder)
    if "No matching distribution found for hatchling" in done.stderr or "NameResolution" in done.stderr:
        pytest.skip("no package registry is reached from here")
    assert done.returncode == 0, done.stderr
    return bin_folder


def test_one_name_is_installed(installed: Path) -> None:
    (packages,) = (installed.parent / "lib").glob("python*/site-packages")
    ours = {
        entry.parts[0]
        for line in next(packages.glob("llmproxy-*.dist-info/RECORD")).read_text().splitlines()
        if not (entry := Path(line.partition(",")[0])).parts[0].startswith(".")
    }
    assert {name.partition("-")[0] for name in ours} == {"llmproxy"}
    for room in ("addons", "store", "dispatch", "scripts"):
        assert not (packages / room).exists()
    assert not list(packages.glob("llmproxy/**/benchmarks"))


def test_the_first_call_is_recorded(installed: Path, tmp_path: Path) -> None:
    ports = ("--port", "0", "--reverse-port", "0")
    done = run(installed / "llmproxy", "up", "--once", "--data", tmp_path / "data", *ports, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "outcome  ok, status 200" in done.stdout + done.stderr
    assert (tmp_path / "data" / "events.jsonl").read_text().count('"outcome":"ok"') == 1


def test_mitmdump_takes_the_script_where_it_is(installed: Path, tmp_path: Path) -> None:
    path = run(installed / "llmproxy", "addon-path", cwd=tmp_path).stdout.strip()
    assert Path(path).is_file()
    recorded = ("-n", "-r", "/dev/null", "--set", "llm_on_abort=drian")
    done = run(installed / "mitmdump", "-s", path, *recorded, cwd=tmp_path)
    assert "llm_on_abort='drian'" in done.stdout + done.stderr


def test_a_sink_of_another_package_needs_our_name_only(installed: Path, tmp_path: Path) -> None:
    arguments = ("dispatch", "--service", "pigeon", "--help")
    done = run(installed / "llmproxy", *arguments, cwd=tmp_path, PYTHONPATH=str(PIGEON))
    assert done.returncode == 0, done.stderr
    assert "--pigeon-loft PATH" in done.stdout
