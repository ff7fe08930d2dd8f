"""Python programs as processes of their own, without the seconds of imports with which each would begin.

One process imports what they need and forks for each: with its own arguments, environment, folder and
standard streams, and with an end like any other's. Cold starts are for tests that use `subprocess`.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

IMPORTS = {
    "mitmdump": ("mitmproxy.tools.main", "mitmproxy.tools.dump", "addons.llmproxy"),
    "mitmweb": ("mitmproxy.tools.main", "mitmproxy.tools.web", "addons.llmproxy"),
    "dispatch": ("scripts.commands.dispatch", "dispatch.sinks.cloudwatch.sink"),
    "import": ("scripts.commands.figures.import_traffic", "mitmproxy.io", "genai_prices"),
    "reprice": ("scripts.commands.figures.reprice",),
    "run": ("scripts.client.run",),
    "doctor": ("scripts.client.doctor",),
}
"""What is worth importing before, by a word of the command."""


class Child:
    """A process of the nursery, as `subprocess.Popen` would show it."""

    def __init__(self, args: Sequence[str], state: int, stdout: IO[str] | None) -> None:
        self.args, self.stdout = args, stdout
        self.returncode: int | None = None
        self._state, self._lock = state, threading.Lock()
        self.pid = self._told()

    def _told(self) -> int:
        found = b""
        while len(found) < 4:
            piece = os.read(self._state, 4 - len(found))
            if not piece:
                raise ChildProcessError(f"the nursery is gone, before the end of {self.args}")
            found += piece
        return int(struct.unpack("i", found)[0])

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while the process runs."""
        return self._look(0)

    def _look(self, seconds: float | None) -> int | None:
        if self.returncode is None and select.select([self._state], [], [], seconds)[0]:
            with self._lock:
                if self.returncode is None:
                    self.returncode = self._told()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        code = self._look(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def __del__(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self._state)


class Nursery:
    """The process that forks; it ends with the one that made it."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair()
        self._lock = threading.Lock()
        with theirs:
            command = [sys.executable, "-P", __file__, str(theirs.fileno())]
            subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])

    def start(
        self, command: Sequence[str], env: Mapping[str, str], cwd: Path, streams: tuple[int, int, int]
    ) -> tuple[int, list[str]]:
        """Order a process; the file that tells its id and, later, its exit code."""
        order = json.dumps({"command": command, "env": dict(env), "cwd": str(cwd)}).encode()
        ours, theirs = os.pipe()
        try:
            with self._lock:
                socket.send_fds(self._control, [struct.pack("i", len(order))], [*streams, theirs])
                self._control.sendall(order)
        finally:
            os.close(theirs)
        return ours, list(command)


@functools.cache
def _nursery() -> Nursery:
    return Nursery()


def start(command: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Child:
    """Start `command`; its output, and its errors among it, are to be read from the child's `stdout`."""
    ours, theirs = os.pipe()
    null = os.open(os.devnull, os.O_RDONLY)
    try:
        state, args = _nursery().start(
            command, os.environ if env is None else env, cwd or Path.cwd(), (null, theirs, theirs)
        )
    finally:
        os.close(theirs)
        os.close(null)
    return Child(args, state, os.fdopen(ours, encoding="utf-8", errors="replace"))


def start_cold(
    command: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.Popen[str]:
    """As :func:`start`, from nothing."""
    return subprocess.Popen(
        command,
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    input: bytes = b"",
    timeout: float = 120,
) -> subprocess.CompletedProcess[bytes]:
    """Run `command` to its end, and return what it wrote."""
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(3)]
        files[0].write(input)
        files[0].seek(0)
        streams = (files[0].fileno(), files[1].fileno(), files[2].fileno())
        state, args = _nursery().start(
            command, os.environ if env is None else env, cwd or Path.cwd(), streams
        )
        child = Child(args, state, None)
        try:
            code = child.wait(timeout)
        finally:
            child.kill()
        for file in files[1:]:
            file.seek(0)
        return subprocess.CompletedProcess(args, code, files[1].read(), files[2].read())


def run_text(command: Sequence[str], **how: Any) -> subprocess.CompletedProcess[str]:
    """As :func:`run`, with texts."""
    done = run(command, **how)
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


# The process that forks.


def _import_for(command: Sequence[str]) -> None:
    """Import what the command will; what fails, the command itself will tell."""
    for word in (Path(command[0]).name, *command[1:]):
        for module in IMPORTS.get(word, ()):
            with contextlib.suppress(Exception):
                importlib.import_module(module)
    _read_vocabularies()
    assert threading.active_count() == 1, "an import has started a thread: a fork would not have it"


@functools.cache
def _read_vocabularies() -> None:
    """Into tiktoken's own memory; whether there are any is still looked up by who wants them."""
    vocabulary = importlib.import_module("addons.openai.vocabulary")
    folder = vocabulary.cache_folder()
    os.environ["TIKTOKEN_CACHE_DIR"] = str(folder)
    for name, one in vocabulary.VOCABULARIES.items():
        if one.is_in(folder):
            importlib.import_module("tiktoken").get_encoding(name)


def _next_order(control: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    header, files, *_ = socket.recv_fds(control, 4, 4)
    if not header:
        return None
    (length,) = struct.unpack("i", header)
    text = b""
    while len(text) < length:
        text += control.recv(length - len(text))
    return json.loads(text), files


def _watch(state: int) -> bool:
    """Fork once more and tell the fate of the child; True in the child itself."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if not (pid := os.fork()):
        return True
    os.write(state, struct.pack("i", pid))
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(BrokenPipeError):  # nobody wants to know
        os.write(state, struct.pack("i", code))
    os._exit(0)


def _order_of_child(control: socket.socket) -> dict[str, Any]:
    """Fork for each order, until there are no more; returns in the children only, each with its order."""
    while found := _next_order(control):
        order, files = found
        _import_for(order["command"])
        gc.collect()
        gc.freeze()  # or each collection of a child would copy all memory
        if not os.fork():
            control.close()
            for number in range(3):
                os.dup2(files[number], number)
                os.close(files[number])
            if _watch(files[3]):
                os.close(files[3])
                return order
        for file in files:
            os.close(file)
    sys.exit(0)


def _become(order: dict[str, Any]) -> None:
    """Be the program of the order, to its end."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(order["env"])
    os.chdir(order["cwd"])
    time.tzset()
    sys.path[:0] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    if "PYTHONUNBUFFERED" in os.environ:
        for stream in (sys.stdout, sys.stderr):
            assert hasattr(stream, "reconfigure")
            stream.reconfigure(line_buffering=True)
    program, *arguments = order["command"]
    if program == sys.executable:
        while arguments.pop(0) != "-m":
            pass
        module, *arguments = arguments
        sys.argv = [module, *arguments]
        sys.modules.pop(module, None)  # or a warning would say that it is there
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, str(Path(program).parent))
        sys.argv = [program, *arguments]
        sys.exit(getattr(importlib.import_module("mitmproxy.tools.main"), Path(program).name)())


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the children's end comes first
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # watchers need nobody to wait for them
    _become(_order_of_child(socket.socket(fileno=int(sys.argv[1]))))
