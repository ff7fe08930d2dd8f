"""The shell functions that find a Python and make an environment, in a copy of the repository's shape."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
# pip and uv settings of the machine must not leak into what is tested.
CLEAN = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("PIP_", "UV_", "LLMPROXY_", "PYENV_"))
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "_bootstrap.sh", tmp_path / "scripts")
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / "requirements.txt").write_text("")
    (tmp_path / "bin").mkdir()
    return tmp_path


def run(root: Path, script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f". '{root}/scripts/_bootstrap.sh'\n{script}"],
        env={**CLEAN, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def executable(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_a_python_that_does_not_run_is_passed_over(root: Path) -> None:
    shim = executable(root / "bin" / f"python{VERSION}", "echo 'not selected' >&2; exit 127")
    real = root / "pyenv" / "versions" / f"{VERSION}.1" / "bin" / "python"
    real.parent.mkdir(parents=True)
    executable(real, f"exec '{sys.executable}' \"$@\"")
    done = run(
        root, f"find_python {VERSION}", PATH=f"{shim.parent}:/usr/bin:/bin", PYENV_ROOT=str(root / "pyenv")
    )
    found = Path(done.stdout.strip())
    assert done.returncode == 0
    assert found != shim
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    assert version.startswith(f"Python {VERSION}.")


def test_a_plain_python_of_the_right_version_counts_and_others_do_not(root: Path) -> None:
    tools = root / "bin"
    for name in ("dirname", "env", "cat"):
        (tools / name).symlink_to(shutil.which(name) or "")
    executable(tools / "python3", f"exec '{sys.executable}' \"$@\"")
    bash = shutil.which("bash") or "bash"
    script = f". '{root}/scripts/_bootstrap.sh'; find_python {VERSION}; find_python 3.99 || echo none"
    done = subprocess.run(
        [bash, "-c", script],
        env={"PATH": str(tools), "HOME": str(root), "PYENV_ROOT": "/nonexistent"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(tools / "python3"), "none"]


def test_no_python_is_one_line_with_the_remedy(root: Path) -> None:
    done = run(root, "preferred_python() { return 1; }\nbootstrap requirements.txt .venv")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: no usable Python >= 3.11")
    assert done.stderr.count("\n") == 1
    assert not (root / ".venv").exists()
    assert not (root / ".venv.lock").exists()


def test_an_environment_is_made_anew_only_when_what_it_is_made_from_changes(root: Path) -> None:
    python = root / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    executable(python, "exit 0")
    make = 'make_environment() { echo made; fingerprint "$1" >"$ROOT/$2/.stamp-$1"; }\n'
    bootstrap = f'{make}bootstrap requirements.txt .venv; echo "$PY"'
    first, second = run(root, bootstrap), run(root, bootstrap)
    assert first.stdout.split() == ["made", str(python)]
    assert second.stdout.split() == [str(python)]
    for changed in ("requirements.txt", "pyproject.toml"):
        (root / changed).write_text("changed\n")
        assert "made" in run(root, bootstrap).stdout.split(), changed
        assert "made" not in run(root, bootstrap).stdout.split(), changed
    python.unlink()
    assert "made" in run(root, bootstrap).stdout.split()


def test_a_failed_set_up_leaves_no_stamp_and_no_lock(root: Path) -> None:
    done = run(root, "make_environment() { die 'no network'; }\nbootstrap requirements.txt .venv")
    assert (done.returncode, done.stderr) == (1, "Error: no network\n")
    assert list(root.glob(".venv*")) == []


def test_a_lock_of_a_dead_process_is_taken_over(root: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    lock = root / ".venv.lock"
    lock.mkdir()
    (lock / "pid").write_text(f"{gone.pid}\n")
    assert run(root, f"lock '{lock}'; cat '{lock}/pid'").stdout.strip() != str(gone.pid)


def test_settings_of_pip_are_passed_on_to_uv(root: Path) -> None:
    script = f"adopt_pip_settings '{pip_python()}'; env"
    done = run(
        root,
        script,
        PIP_CONFIG_FILE=os.devnull,
        PIP_INDEX_URL="https://index.example/simple",
        PIP_EXTRA_INDEX_URL="https://one.example/simple https://two.example/simple",
        PIP_FIND_LINKS="/wheels /more",
        SSL_CERT_FILE="",
        PIP_CERT="/certificates.pem",
    )
    set_to = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    assert set_to["UV_DEFAULT_INDEX"] == "https://index.example/simple"
    assert set_to["UV_INDEX"] == "https://one.example/simple https://two.example/simple"
    assert set_to["UV_FIND_LINKS"] == "/wheels,/more"
    assert set_to["SSL_CERT_FILE"] == "/certificates.pem"


def test_settings_of_uv_are_left_alone(root: Path) -> None:
    script = f"adopt_pip_settings '{pip_python()}'; env"
    done = run(
        root, script, PIP_INDEX_URL="https://pip.example/simple", UV_INDEX_URL="https://uv.example/simple"
    )
    assert "UV_INDEX_URL=https://uv.example/simple" in done.stdout
    assert "UV_DEFAULT_INDEX" not in done.stdout


def pip_python() -> str:
    """A Python with pip: environments made by uv have none."""
    for candidate in (sys.executable, str(Path(sys.base_prefix) / "bin" / "python3"), "python3"):
        command = [candidate, "-m", "pip", "--version"]
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return candidate
    pytest.skip("no Python with pip here")


@pytest.fixture
def foreign(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """A checkout that somebody else owns, and how to run a command as one who may only read it."""
    if os.geteuid() != 0:
        root.chmod(0o555)
        yield root, []
        root.chmod(0o755)
        return
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed")
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to others
        copy = Path(folder) / "checkout"
        shutil.copytree(root, copy)
        for place in (Path(folder), copy, *copy.rglob("*")):  # whatever umask a test before has left
            place.chmod(place.stat().st_mode | (0o755 if place.is_dir() else 0o644))
        yield copy, ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]


def run_as(
    prefix: list[str], root: Path, script: str = "bootstrap requirements.txt .venv; echo ready"
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*prefix, "bash", "-euo", "pipefail", "-c", f". '{root}/scripts/_bootstrap.sh'\n{script}"],
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        cwd="/",
    )


def test_another_user_is_told_what_to_do_at_once(foreign: tuple[Path, list[str]]) -> None:
    """The recipe for systemd: root's checkout, and commands as the user of the services."""
    root, prefix = foreign
    done = run_as(prefix, root)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"Error: {root}/.venv is not made from this checkout's requirements yet")
    assert f"run {root}/scripts/manage --version once as " in done.stderr
    assert "Permission denied" in done.stderr


def test_another_user_uses_what_the_owner_made(foreign: tuple[Path, list[str]]) -> None:
    root, prefix = foreign
    root.chmod(0o755)
    python = root / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    executable(python, "exit 0")
    assert run(root, 'fingerprint requirements.txt >"$ROOT/.venv/.stamp-requirements.txt"').returncode == 0
    if not prefix:
        root.chmod(0o555)
    done = run_as(prefix, root)
    assert (done.returncode, done.stdout) == (0, "ready\n"), done.stderr


def test_a_lock_that_another_user_left_is_named(foreign: tuple[Path, list[str]]) -> None:
    root, prefix = foreign
    if not prefix:
        pytest.skip("takes two users")
    root.chmod(0o777)
    lock = root / ".venv.lock"
    lock.mkdir(mode=0o755)
    (lock / "pid").write_text("999999999\n")
    done = run_as(prefix, root)
    assert (done.returncode, done.stderr) == (
        1,
        f"Error: {lock} was left behind by another user's set-up; remove it.\n",
    )
