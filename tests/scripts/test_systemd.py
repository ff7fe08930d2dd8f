"""The units, as systemd reads them, and what the processes tell it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.client.proxy_process import pick_two_ports
from store.core.systemd import notify, watchdog_seconds
from tests.dispatch.conftest import command, environment

ROOT = Path(__file__).parents[2]
UNITS = sorted((ROOT / "scripts" / "systemd").glob("*.service"))
DOCS = (ROOT / "docs" / "systemd.md").read_text()

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


class Listener:
    """Stands in for systemd's end of the socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.heard: list[str] = []

    def wait_for(self, message: str, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while message not in self.heard:
            self.socket.settimeout(max(0.01, deadline - time.monotonic()))
            self.heard.append(self.socket.recv(100).decode())


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    found = Listener(tmp_path / "notify")
    with contextlib.closing(found.socket):
        yield found


def test_there_are_two_units() -> None:
    assert [unit.name for unit in UNITS] == ["llmproxy-dispatcher.service", "llmproxy.service"]


@needs_systemd
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_units_are_valid(unit: Path, tmp_path: Path) -> None:
    """As they are, but for the place of the repository."""
    for name in ("python", "mitmdump"):
        program = tmp_path / "opt" / ".venv" / "bin" / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.touch(0o755)
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace("/opt/llmproxy", str(tmp_path / "opt")))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_the_exposure_is_as_documented(unit: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"exposure level for \S+ (\d+\.\d)", done.stdout)
    assert found, done.stderr
    stated = re.search(rf"^\| `{unit.name}` \| (\d+\.\d) \|", DOCS, re.MULTILINE)
    assert stated
    # Other versions of systemd look at more or fewer settings.
    assert float(found[1]) <= float(stated[1]) + 0.5


def test_the_proxy_may_make_callbacks() -> None:
    """With it, pyOpenSSL fails on every TLS connection."""
    text = (ROOT / "scripts" / "systemd" / "llmproxy.service").read_text()
    assert "MemoryDenyWriteExecute=yes" not in text


def test_the_dispatcher_tells_systemd(listener: Listener, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    told = environment(NOTIFY_SOCKET=str(listener.path), WATCHDOG_USEC="400000")
    process = subprocess.Popen(
        command(spool, "--service", "file", "--output", str(tmp_path / "x"), "--follow"),
        env=told,
        stderr=subprocess.DEVNULL,
    )
    listener.wait_for("READY=1")
    listener.wait_for("WATCHDOG=1")
    process.send_signal(signal.SIGTERM)
    listener.wait_for("STOPPING=1")
    assert process.wait(30) == 0


@pytest.mark.live
def test_the_proxy_tells_systemd(listener: Listener, tmp_path: Path) -> None:
    arguments = ["--mode", "regular@127.0.0.1:0", "-s", str(ROOT / "addons" / "llmproxy.py")]
    for setting in (
        f"llm_store={tmp_path}/s.db",
        "llm_store_create=true",
        f"llm_spool={tmp_path}/spool",
        f"confdir={tmp_path}/ca",
    ):
        arguments += ["--set", setting]
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / "mitmdump"), *arguments],
        env=environment(NOTIFY_SOCKET=str(listener.path), WATCHDOG_USEC="400000"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    listener.wait_for("READY=1")
    listener.wait_for("WATCHDOG=1")
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=30)
    listener.wait_for("STOPPING=1")
    assert "listening" in said


@pytest.mark.live
def test_a_proxy_that_refuses_its_start_is_never_ready(listener: Listener, tmp_path: Path) -> None:
    process = subprocess.run(
        [
            *(str(Path(sys.executable).parent / "mitmdump"), "-s", str(ROOT / "addons" / "llmproxy.py")),
            *("--mode", "regular@127.0.0.1:0", "--set", f"confdir={tmp_path}/ca", "--set", "llm_nonsense=1"),
            *(
                "--set",
                f"llm_store={tmp_path}/s.db",
                "--set",
                "llm_store_create=true",
                "--set",
                f"llm_spool={tmp_path}/spool",
            ),
        ],
        env=environment(NOTIFY_SOCKET=str(listener.path)),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert process.returncode == 1
    listener.socket.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            listener.heard.append(listener.socket.recv(100).decode())
    assert "READY=1" not in listener.heard


def test_without_systemd_nothing_is_sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    notify("READY=1")
    assert watchdog_seconds() is None
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    notify("READY=1")
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    assert watchdog_seconds() == 15.0
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid() + 1))
    assert watchdog_seconds() is None, "meant for another process"


def test_a_socket_in_the_abstract_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"llmproxy-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind("\0" + name)
        end.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        notify("READY=1")
        assert end.recv(100) == b"READY=1"


class OtherUser:
    """Whoever the services run as: may read the checkout and Python, and write into one folder only."""

    PREFIX = (
        *("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"),
        *(
            "--inh-caps",
            "+dac_read_search",
            "--ambient-caps",
            "+dac_read_search",
        ),  # Python may be below /root
    )

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o755)
        self.folder, self.state, self.closed = folder, folder / "state", folder / "closed"
        self.state.mkdir(0o700)
        os.chown(self.state, 65534, 65534)
        self.closed.mkdir(0o755)

    def environment(self, state: Path, **extra: str) -> dict[str, str]:
        """As the unit sets it, but for the place and for ports that are free."""
        unit = (ROOT / "scripts" / "systemd" / "llmproxy.service").read_text()
        stated = dict(re.findall(r"^Environment=(\w+)=(.*)$", unit, re.MULTILINE))
        found = {name: value.replace("/var/lib/llmproxy", str(state)) for name, value in stated.items()}
        names = ("LLMPROXY_LISTEN", "LLMPROXY_LISTEN_REVERSE")
        ports = {name: f"127.0.0.1:{port}" for name, port in zip(names, pick_two_ports(), strict=True)}
        return environment(PYTHONPATH=str(ROOT), HOME=str(state), **{**found, **ports, **extra})

    def proxy(self, state: Path) -> list[str]:
        unit = (ROOT / "scripts" / "systemd" / "llmproxy.service").read_text().replace("\\\n", " ")
        found = re.search(r"^ExecStart=(.*)$", unit, re.MULTILINE)
        assert found
        text = found[1].replace("/opt/llmproxy/.venv/bin", str(Path(sys.executable).parent))
        text = text.replace("/opt/llmproxy", str(ROOT)).replace("/var/lib/llmproxy", str(state))
        return [*self.PREFIX, "sh", "-c", f"exec {text}"]

    def manage(self, state: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.PREFIX, sys.executable, "-P", "-m", "scripts.cli", *arguments],
            env=self.environment(state),
            cwd=self.folder,
            input="sk-real-1234567890\n",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def other() -> Iterator[OtherUser]:
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("takes root, and setpriv")
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to others
        yield OtherUser(Path(folder))


@pytest.mark.live
def test_the_recipe_works_as_another_user(other: OtherUser) -> None:
    made = other.manage(other.state, "project", "create", "search", "--api-key", "-", "--json")
    assert made.returncode == 0, made.stderr
    assert (other.state / "store.db").stat().st_uid == 65534
    listener = Listener(other.state / "notify")
    listener.path.chmod(0o777)
    process = subprocess.Popen(
        other.proxy(other.state),
        env=other.environment(other.state, NOTIFY_SOCKET=str(listener.path)),
        cwd=other.state,
        stdout=subprocess.DEVNULL,
    )
    try:
        with contextlib.closing(listener.socket):
            listener.wait_for("READY=1", 120)
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.live
def test_a_folder_that_is_not_theirs_ends_the_start_at_once(other: OtherUser) -> None:
    made = other.manage(other.closed, "project", "create", "search", "--api-key", "-")
    assert (made.returncode, made.stderr.count("\n")) == (1, 1)
    assert "Permission denied" in made.stderr or "unable to open" in made.stderr
    process = subprocess.run(
        other.proxy(other.closed),
        env=other.environment(other.closed),
        cwd=other.state,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.returncode == 1
    assert str(other.closed) in process.stdout + process.stderr
