"""Run commands as a reader would: in a folder of their own, in one shell, with servers beside it."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import httpx

from scripts.client.proxy_process import pick_port
from tests.docs_commands import Documented
from tests.screens.pages import ID, TOKEN, Screen, normal

ROOT = Path(__file__).parents[2]
SECONDS = 60
START_SECONDS = 90
PORTS = ("8080", "8081", "8082", "9090")
ADDRESS = r"http://127\.0\.0\.1:\d+"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Server:
    """A command that goes on."""

    serves: str
    """What it prints last before it serves, as a pattern."""
    more: str = ""
    """What it is told beside what the page says."""


SERVERS = {
    "./scripts/up": Server(r"Ctrl-C stops\."),
    "llmproxy serve": Server(
        r"(?s)(its page at.*){2}|(reverse proxy to .*){2}",
        "--listen 127.0.0.1:8080 --listen-reverse 127.0.0.1:8081",
    ),
    "mitmdump": Server(r"its page at|reverse proxy to .* listening", "--set llm_upstream={upstream}"),
    "mitmweb": Server(
        r"Web server listening at", "--set llm_upstream={upstream} --set web_open_browser=false"
    ),
}
"""By the words that their commands begin with, after variables. Each takes the place of the one before."""


@dataclass
class World:
    """A folder, a shell in it, and servers that its commands started."""

    folder: Path
    upstream: str
    ports: Mapping[str, str] = field(default_factory=lambda: {port: str(pick_port(0, "")) for port in PORTS})
    known: dict[str, str] = field(default_factory=dict)
    """Ids, tokens and addresses by the text that stands for them in the documents."""
    stands: dict[str, str] = field(default_factory=dict)
    """What is here in the place of places that only the reader has."""
    _token_id: str = ""
    """Of the token that every other id, and `ID`, stands for: the last that was made."""

    def __post_init__(self) -> None:
        (self.folder / "scripts").symlink_to(ROOT / "scripts")
        (self.folder / "addons").symlink_to(ROOT / "addons")
        (self.folder / ".venv").symlink_to(sys.prefix)
        kept = ("PATH", "LANG", "TMPDIR")
        environment = {name: value for name, value in os.environ.items() if name in kept}
        path = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        environment |= {
            "PATH": path,
            "HOME": str(self.folder),
            "COLUMNS": "120",
            "NO_COLOR": "1",
            "PYTHONUNBUFFERED": "1",
        }
        environment["TIKTOKEN_CACHE_DIR"] = os.environ.get("TIKTOKEN_CACHE_DIR", "")
        (self.folder / ".curlrc").write_text("silent\nshow-error\n")  # as on a terminal
        self._beside = ExitStack()
        self._server: subprocess.Popen[bytes] | None = None
        self._shell = subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-O", "expand_aliases"],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> World:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_server()
        self._shell.kill()
        self._shell.wait()
        self._beside.close()

    def keep(self, thing: AbstractContextManager[T]) -> T:
        """Have something beside the shell as long as this world lasts."""
        return self._beside.enter_context(thing)

    def export(self, **variables: str) -> None:
        """Set variables as the reader is thought to have them."""
        self._run("export " + " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items()))

    def make_folder(self, shown: str) -> Path:
        """Make a folder that stands for one at the root of the reader's machine."""
        made = self.folder / shown.lstrip("/")
        made.mkdir(parents=True)
        self.stands[shown] = str(made)
        return made

    def begin(self, *commands: str) -> None:
        """Run what is before the pages begin, and note the token that it makes."""
        for text in commands:
            printed, _ = self._do(self._here(text))
            for line in printed.splitlines():
                if line.startswith("  export "):
                    self._run(line)
            if token := re.search(TOKEN, printed):
                self.known |= dict.fromkeys(("sk-llmp-...", "sk-proxy-..."), token[0])
                self._token_id = "".join((re.findall(rf'token ({ID})|"id": ?"({ID})"', printed) or [()])[-1])

    def call(self, path: str, *, token: str = "", **body: Any) -> int:
        """Call the API through the reverse listener, with the token that was made; return the status."""
        url = f"http://127.0.0.1:{self.ports['8081']}/v1/{path}"
        headers = {"authorization": f"Bearer {token or self.known['sk-llmp-...']}"}
        return httpx.post(url, json=body, headers=headers, trust_env=False, timeout=SECONDS).status_code

    def run(self, command: Documented) -> Screen:
        self._write_sample(command)
        printed, code = self._do(self._here(command.text))
        self._learn(command.output.splitlines(), printed.splitlines())
        if " token create " in command.text and (made := re.search(rf"^id +({ID})", printed, re.MULTILINE)):
            self._token_id = made[1]
        return Screen(command, self._there(printed), code)

    def printed_by(self, text: str) -> str:
        return self._run(self._here(text))[0]

    def _do(self, text: str) -> tuple[str, int]:
        name = next((name for name in SERVERS if re.match(rf"(\w+=\S* )*{re.escape(name)}( |$)", text)), None)
        if name == "./scripts/up":  # what it runs, in an environment that is there
            text = text.split("  #", maxsplit=1)[0].replace(name, f"{sys.executable} -P -m llmproxy up")
            text += f" --port {self.ports['8080']} --reverse-port {self.ports['8081']}"
        if name is None or " --once" in text:
            return self._run(text)
        return self._serve(text, SERVERS[name]), 0

    def _here(self, text: str) -> str:
        for port, free in self.ports.items():
            text = re.sub(rf"\b{port}\b", free, text)
        for shown, real in {**self.known, **self.stands}.items():
            text = text.replace(shown, real)
        if self._token_id:
            ours = {*self.known.values(), self._token_id}
            text = re.sub(r"(?<= )ID\b", self._token_id, text)
            text = re.sub(ID, lambda found: found[0] if found[0] in ours else self._token_id, text)
        return text

    def _write_sample(self, command: Documented) -> None:
        """Write a file that a page shows, and that the commands after it read."""
        if (shown := re.fullmatch(r"cat (\S+)", command.text)) and command.output:
            (self.folder / shown[1]).write_text(f"{command.output}\n")

    def _there(self, printed: str) -> str:
        """Return what was printed as a page may show it."""
        for port, free in self.ports.items():
            printed = re.sub(rf"\b{free}\b", port, printed)
        for shown, real in self.stands.items():
            printed = printed.replace(real, shown)
        return printed.replace(str(self.folder.resolve()), "...").replace(str(self.folder), "...")

    def _learn(self, shown: Sequence[str], printed: Sequence[str]) -> None:
        """Note which id stands for which, by what stands before it in its line."""
        for pattern in (ID, TOKEN, ADDRESS):
            for line in shown:
                for found in re.finditer(pattern, line):
                    before = normal(line[: found.start()])
                    real = (re.search(rf"(.*?)({pattern})", other) for other in printed)
                    same = [one[2] for one in real if one and normal(one[1]) == before]
                    if same:
                        self.known[found[0]] = same[0]

    def _run(self, text: str) -> tuple[str, int]:
        """Run a command in the shell; return what it printed, and its exit code."""
        assert self._shell.stdin
        end = f"-- {time.monotonic_ns()} --"
        self._shell.stdin.write(f"{text}\nprintf '\\n{end}%s\\n' $?\n")
        self._shell.stdin.flush()
        lines: list[str] = []
        while True:
            try:
                line = self._lines.get(timeout=SECONDS)
            except queue.Empty as error:
                raise AssertionError(f"{text} did not end: {lines}") from error
            if line.startswith(end):
                return "\n".join(lines).strip("\n"), int(line.removeprefix(end))
            lines.append(line)

    def _serve(self, text: str, kind: Server) -> str:
        """Start a server in the place of the one before; return what it printed until it served."""
        self._end_server()
        text = f"{text.split('  #', maxsplit=1)[0]} {self._here(kind.more).format(upstream=self.upstream)}"
        output = self.folder / "server.output"
        with output.open("wb") as file:
            server = self._server = subprocess.Popen(
                ["bash", "-c", _last(text)],
                cwd=self.folder,
                env=self._environment(),
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + START_SECONDS
        while not re.search(kind.serves, output.read_text()):
            if server.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{text} does not serve: {output.read_text()}")
            time.sleep(0.1)
        return output.read_text()

    def _environment(self) -> dict[str, str]:
        """Return the shell's own variables, of which some may have been exported."""
        file = self.folder / ".environment"
        self._run(f"env -0 > {file}")
        return dict(each.split("=", 1) for each in file.read_text().split("\0") if each)

    def _end_server(self) -> None:
        """End the server as Ctrl-C does."""
        if self._server is None:
            return
        self._server.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._server.wait(SECONDS)
        self._server.kill()
        self._server.wait()
        self._server = None

    def _read(self) -> None:
        assert self._shell.stdout
        for line in self._shell.stdout:
            self._lines.put(line.rstrip("\n"))


def _last(text: str) -> str:
    """Have the shell become the server, which is told to end."""
    return re.sub(r"^((?:\w+=\S* )*)", r"\1exec env \1", text, count=1)
