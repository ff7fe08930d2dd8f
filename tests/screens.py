"""The screens of the documents: their commands are run, word for word, and what they print is compared.

A block that has ``<!-- run: NAME -->`` above it belongs to the world of that name: the blocks of one world
are run in order, in one shell, in a folder of their own. Ports, ids, tokens and times differ from run to run
and are not compared; `...` stands for anything, and on a line of its own for any lines. ``python -m
tests.screens`` writes what is printed now in the place of what no longer fits.
"""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from scripts.client.proxy_process import pick_port
from scripts.quickstart.standin import KEY, StandIn
from tests.docs_commands import PAGES, Block, Documented, blocks

ROOT = Path(__file__).parents[1]
MARK = re.compile(r"<!-- run: (\w+) -->\n?$")
SECONDS = 60
START_SECONDS = 90
PORTS = ("8080", "8081", "9090")
STORE = ("mkdir data", f"llmproxy keys init && echo {KEY} | llmproxy project create search --api-key -")
CREATE = "llmproxy token create --project search --json"
SETUP = {
    "client": ("./scripts/up",),
    "cli": (*STORE, f"{CREATE} --metadata env=staging --metadata team=ranking"),
    "explain": (*STORE, f"{CREATE} --budget 5usd/day --budget 100000tokens/month --max-concurrent 4"),
    "management": (
        "mkdir data",
        f"llmproxy keys init && echo {KEY} | llmproxy project create first --api-key -",
    ),
}
"""What a world begins with, before the blocks of the pages."""
SERVERS = {"./scripts/up": "Ctrl-C stops.", "mitmdump": "its page at"}
"""Commands that go on, and what they print last before they serve."""

ID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
TOKEN = r"sk-llmp-[\w-]{43}"
CHANGES = (
    (ID, "<id>"),
    (rf"{TOKEN}|sk-llmp-\w+\.\.\.", "<token>"),
    (r"sk-llmp-[\w-]{6}(?![\w-])", "<prefix>"),
    (r"os:\S+@\S+", "<actor>"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "<time>"),
    (r"\d{4}-\d\d-\d\d", "<day>"),
    (r"\[\d\d:\d\d:\d\d\.\d+\]", "<clock>"),
    (r"\d+ ms\b", "<ms>"),
    (r"http://127\.0\.0\.1:\d+", "<address>"),
    (r"chatcmpl-\w+|req_\w+|resp_\w+", "<api id>"),
    (r"\b[0-9a-f]{8,64}\b|\b[0-9a-f]{4}…", "<hex>"),
    (r"(?<=genai-prices/)[\d.]+", "<version>"),
    (r"-{3,}|─+", "<rule>"),
    (r"\s+", " "),
)
"""What differs from run to run."""


@dataclass(frozen=True, slots=True)
class Screen:
    """A command that was run, and what it printed."""

    command: Documented
    printed: str
    code: int = 0

    @property
    def fits(self) -> bool:
        """Tell whether the page shows what was printed; a page that shows nothing shows nothing wrong."""
        shown = [
            line
            for line in self.command.output.splitlines()
            if not line.startswith(("Making .venv", "Installing "))
        ]
        return not any(line.strip() for line in shown) or matches(shown, self.printed.splitlines())


def matches(shown: Sequence[str], printed: Sequence[str]) -> bool:
    """Tell whether lines are those that a page shows."""
    lines = [line for line in map(normal, shown) if line]
    pattern = "".join(r"(?:.*\n)*" if line == "..." else f"{_any(line)}\n" for line in lines)
    return bool(re.fullmatch(pattern, "".join(f"{normal(line)}\n" for line in printed if normal(line))))


def _any(line: str) -> str:
    return ".*".join(re.escape(part) for part in re.split(r"\.\.\.|…", line))


def normal(line: str) -> str:
    for pattern, name in CHANGES:
        line = re.sub(pattern, name, line)
    return line.strip()


@dataclass
class World:
    """A folder, a shell in it, and servers that its commands started."""

    folder: Path
    upstream: str
    ports: Mapping[str, str] = field(default_factory=lambda: {port: str(pick_port(0, "")) for port in PORTS})
    known: dict[str, str] = field(default_factory=dict)
    """Ids and tokens by the text that stands for them in the documents."""
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
        self._environment = environment
        (self.folder / ".curlrc").write_text("silent\nshow-error\n")  # as on a terminal
        self._servers: list[subprocess.Popen[bytes]] = []
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
        for server in self._servers:
            server.send_signal(signal.SIGINT)
        for server in self._servers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(60)
            server.kill()
        self._shell.kill()
        self._shell.wait()

    def prepare(self, world: str) -> None:
        """Bring it to where the pages begin, and note its token."""
        for text in SETUP.get(world, ()):
            name = next((name for name in SERVERS if text.startswith(name)), None)
            printed = self._serve(text, name) if name else self._run(text)[0]
            for line in printed.splitlines():
                if line.startswith("  export "):
                    self._run(line)
            if token := re.search(TOKEN, printed):
                self.known |= dict.fromkeys(("sk-llmp-...", "sk-proxy-..."), token[0])
                self._token_id = "".join((re.findall(rf'token ({ID})|"id": ?"({ID})"', printed) or [()])[-1])

    def run(self, command: Documented) -> Screen:
        self._write_sample(command)
        text = self._here(command.text)
        server = next((name for name in SERVERS if re.search(rf"(^| ){re.escape(name)}( |$)", text)), None)
        code = 0
        if server:
            printed = self._serve(text, server)
        else:
            printed, code = self._run(text)
        self._learn(command.output.splitlines(), printed.splitlines())
        if " token create " in text and (made := re.search(rf"^id +({ID})", printed, re.MULTILINE)):
            self._token_id = made[1]
        return Screen(command, self._there(printed), code)

    def _here(self, text: str) -> str:
        for port, free in self.ports.items():
            text = re.sub(rf"\b{port}\b", free, text)
        for shown, real in self.known.items():
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
        return printed.replace(str(self.folder.resolve()), "...").replace(str(self.folder), "...")

    def _learn(self, shown: Sequence[str], printed: Sequence[str]) -> None:
        """Note which id stands for which, by what stands before it in its line."""
        for pattern in (ID, TOKEN):
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

    def _serve(self, text: str, name: str) -> str:
        """Start a server in the background; return what it printed until it served."""
        if name == "./scripts/up":
            text = text.replace(name, f"{sys.executable} -P -m llmproxy up")
            text += f" --port {self.ports['8080']} --reverse-port {self.ports['8081']}"
        else:
            text += f" --listen-port {self.ports['8080']} --set llm_upstream={self.upstream}"
        output = self.folder / "server.output"
        with output.open("wb") as file:
            server = subprocess.Popen(
                ["bash", "-c", self._last(text)],
                cwd=self.folder,
                env=self._environment,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        self._servers.append(server)
        deadline = time.monotonic() + START_SECONDS
        while SERVERS[name] not in output.read_text():
            if server.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{text} does not serve: {output.read_text()}")
            time.sleep(0.1)
        return output.read_text()

    @staticmethod
    def _last(text: str) -> str:
        """Have the shell become the server, which is told to end."""
        return re.sub(r"^((?:\w+=\S* )*)", r"\1exec env \1", text.split("  #", maxsplit=1)[0], count=1)

    def _read(self) -> None:
        assert self._shell.stdout
        for line in self._shell.stdout:
            self._lines.put(line.rstrip("\n"))


def marked() -> dict[str, list[Block]]:
    """Return the blocks to run, by world, in the order of the pages."""
    found: dict[str, list[Block]] = {}
    for page in PAGES:
        for block in blocks(page):
            if mark := MARK.search(block.before):
                found.setdefault(mark[1], []).append(block)
    return found


def play(world: str, folder: Path) -> Iterator[Screen]:
    """Run the blocks of one world."""
    with StandIn() as standin, World(folder, standin.base_url) as here:
        here.prepare(world)
        for block in marked()[world]:
            for command in block.commands():
                yield here.run(command)


def rewrite(screens: Sequence[Screen]) -> list[str]:
    """Write what is printed now into the pages where it does not fit. Returns the places."""
    changed = []
    for screen in screens:
        if screen.fits:
            continue
        page = next(page for page in PAGES if page.name == screen.command.page)
        before, text = screen.command.output, page.read_text("utf-8")
        start = text.index(screen.command.text) + len(screen.command.text)
        page.write_text(text[:start] + text[start:].replace(before, screen.printed, 1), "utf-8")
        changed.append(screen.command.place)
    return changed


def main() -> None:
    for world in marked():
        with tempfile.TemporaryDirectory() as folder:
            for place in rewrite(list(play(world, Path(folder)))):
                print(f"{place} is written anew")


if __name__ == "__main__":
    main()
