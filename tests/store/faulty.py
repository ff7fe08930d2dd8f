"""A PostgreSQL of a test's own, which may be stopped, and a relay that stops passing bytes on."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg

from tests.live.harness import wait_for
from tests.store.engines import unless_ci

ACCOUNT = "postgres"
"""Who runs it where the tests are run by root, whom PostgreSQL refuses."""


def free_port() -> int:
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def binary(name: str) -> str:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    path = str(found[-1]) if found else shutil.which(name)
    if path is None:
        unless_ci(f"{name} of PostgreSQL is not installed")
        raise AssertionError
    return path


class PostgreSQL:
    """In a folder of its own; nothing else uses it."""

    def __init__(self, folder: Path) -> None:
        self._data = folder / "data"
        self._as = ["runuser", "-u", ACCOUNT, "--"] if os.geteuid() == 0 else []
        self.port = free_port()
        self._run(binary("initdb"), "-D", str(self._data), "-U", ACCOUNT, "-A", "trust", "--no-sync")

    def _run(self, *command: str) -> None:
        subprocess.run([*self._as, *command], check=True, stdout=subprocess.DEVNULL, cwd="/", timeout=60)

    def url(self, port: int) -> str:
        return f"postgresql://{ACCOUNT}@127.0.0.1:{port}/{ACCOUNT}"

    def start(self) -> None:
        settings = ("listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off")
        self._process = subprocess.Popen(
            [*self._as, binary("postgres"), "-D", str(self._data), "-p", str(self.port)]
            + [part for setting in settings for part in ("-c", setting)],
            stderr=subprocess.DEVNULL,
            cwd="/",
        )

        def answers() -> bool:
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(self.url(self.port), connect_timeout=2).close()
                return True
            return False

        wait_for(answers, "PostgreSQL", 60)

    def freeze(self) -> None:
        """Nothing answers any more, and nothing is refused."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)
        self._process.send_signal(
            signal.SIGCONT
        )  # `runuser` stops with its child, and does not go on with it

    def _signal(self, number: signal.Signals) -> None:
        postmaster = int((self._data / "postmaster.pid").read_text().splitlines()[0])
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text()
        for pid in [postmaster, *map(int, children.split())]:
            os.kill(pid, number)

    def stop(self) -> None:
        """As a crash: nobody is asked, nothing is flushed."""
        pid = int((self._data / "postmaster.pid").read_text().splitlines()[0])
        os.kill(pid, signal.SIGQUIT)
        self._process.wait(30)


@contextlib.contextmanager
def postgresql() -> Iterator[PostgreSQL]:
    folder = Path(tempfile.mkdtemp(prefix="llmproxy-pg-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, ACCOUNT)
        server = PostgreSQL(folder)
        server.start()
        try:
            yield server
        finally:
            with contextlib.suppress(FileNotFoundError):
                server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Relay:
    """Passes bytes between its port and another one, until told to hold them: a network without an end."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._passing = threading.Event()
        self._passing.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def hold(self) -> None:
        self._passing.clear()

    def resume(self) -> None:
        self._passing.set()

    def close(self) -> None:
        self._listener.close()
        self._passing.set()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            self._passing.wait()
            server = socket.create_connection(("127.0.0.1", self._target), 10)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        threading.Thread(target=self._pump, args=[server, client], daemon=True).start()
        self._pump(client, server)

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._passing.wait()
                target.sendall(data)
        for side in (source, target):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
