"""Run ``scripts/clients``: real clients through a real proxy, by either way in, as a table.

Each client is installed by name into an environment of its own, gets the lines that ``llmproxy up`` prints
and nothing else, and makes its calls to the stand-in. It works where its program ends well and its calls have
events that are ``ok``; others that it made besides are noted.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import click

from scripts.output import show_all

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(__file__).parent / "client_programs"
PAGE = ROOT / "docs" / "clients.md"
BEGIN, END = "<!-- table: clients, by scripts/clients --write -->", "<!-- /table -->"
FOLDER = Path.home() / ".cache" / "llmproxy" / "clients"
SECONDS = 180
INSTALL_SECONDS = 600
KINDLY = ("nice", "-n", "10")
START_SECONDS = 60
EVENT_SECONDS = 10
BASE_URLS = ("OPENAI_BASE_URL", "OPENAI_API_BASE")
PROXIES = ("HTTPS_PROXY", "https_proxy")
COLUMNS = ("client", "version", "calls", "proxy", "base_url", "note")
BATCHES = "llm_endpoints=inference,storage,listing,unmetered"
"""Batches are not allowed by default."""
CURL = (
    'curl -sS --fail "${OPENAI_BASE_URL:-https://api.openai.com/v1}/chat/completions" '
    '-H "Authorization: Bearer $OPENAI_API_KEY" -H "Content-Type: application/json" '
    """-d '{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}'"""
)
CODEX = (
    'export CODEX_HOME="$HOME"; codex exec --skip-git-repo-check -m gpt-4o-mini '
    '${OPENAI_BASE_URL:+-c openai_base_url="\\"$OPENAI_BASE_URL\\""} hello </dev/null'
)
LLM = "llm -m gpt-4o-mini hello"
AIDER = (
    "aider --model openai/gpt-4o-mini --no-git --no-show-model-warnings --no-check-update --no-analytics "
    "--yes-always --message hello </dev/null"
)


@dataclass(frozen=True, slots=True)
class Client:
    """Says what is installed, and what it runs: a program of ours, or a line of shell."""

    name: str
    packages: Sequence[str]
    run: str
    calls: str = ""
    """It is what it does, for the table."""
    node: str | None = None
    """The version of Node that npm brings along; `any` takes what is there; None for other programs."""
    python: str | None = None
    """The version of Python that it wants, unless it runs with ours."""
    note: str = ""
    """It is what its users have to know."""

    @property
    def command(self) -> list[str]:
        if self.run.endswith(".py"):
            return ["python", str(PROGRAMS / self.run)]
        if self.run.endswith(".mjs"):
            return ["node", self.run]
        return ["sh", "-c", self.run]

    @property
    def installed(self) -> list[str]:
        return [*self.packages, *([f"node@{self.node}"] if self.node not in (None, "any") else [])]


TEXT = "chat, stream, tools"
ALL = (
    f"{TEXT}, Responses (streamed too), embeddings, moderations, pictures, speech, transcriptions, files, "
    "batches, Realtime, Responses over a WebSocket"
)
SOME = f"{TEXT}, Responses, embeddings, speech, transcriptions, files"
OLD_NODE = "Node 20 knows no proxy; without a base URL `doctor` says so"
TRACES = "traces: see above"

CLIENTS = (
    Client("curl", (), CURL, "chat"),
    Client("openai-python", ("openai[realtime]",), "openai_python.py", ALL),
    Client("openai-node", ("openai",), "openai_node.mjs", SOME, node="24"),
    Client("openai-node-20", ("openai",), "openai_node.mjs", SOME, node="20", note=OLD_NODE),
    Client("agents-python", ("openai-agents",), "agents_python.py", "Responses, tools", note=TRACES),
    Client(
        "agents-node",
        ("@openai/agents", "zod"),
        "agents_node.mjs",
        "Responses, tools",
        node="24",
        note=TRACES,
    ),
    Client("langchain", ("langchain-openai",), "langchain_client.py", f"{TEXT}, embeddings"),
    Client(
        "llama-index",
        ("llama-index-llms-openai",),
        "llama_index_client.py",
        "chat, stream",
        note="reads `OPENAI_API_BASE` only",
    ),
    Client(
        "litellm",
        ("litellm",),
        "litellm_client.py",
        f"{TEXT}, embeddings",
        note="fetches its table of prices from GitHub at the start, past the gate",
    ),
    Client("vercel-ai", ("ai", "@ai-sdk/openai", "zod"), "vercel_ai.mjs", TEXT, node="24"),
    Client("llm", ("llm",), LLM, "chat, streamed"),
    Client(
        "codex",
        ("@openai/codex",),
        CODEX,
        "`codex exec`",
        node="any",
        note="its base URL is a setting: `-c openai_base_url=...`",
    ),
    Client(
        "aider",
        ("aider-chat",),
        AIDER,
        "chat, streamed",
        python="3.12",
        note="not for Python 3.13; its base URL is `OPENAI_API_BASE`",
    ),
)


class Environment:
    """Says where one client is installed."""

    def __init__(self, folder: Path, client: Client) -> None:
        self.folder, self._client = folder / client.name, client

    @property
    def path(self) -> str:
        place = "node_modules/.bin" if self._client.node else "bin"
        return f"{self.folder / place}:{os.environ['PATH']}"

    def install(self) -> None:
        """Install it unless it is there. Raises CalledProcessError, TimeoutExpired."""
        done = self.folder / "installed"
        if done.exists() or not self._client.packages:
            self.folder.mkdir(parents=True, exist_ok=True)
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        deadline = time.monotonic() + INSTALL_SECONDS
        for command in self._commands():
            left = deadline - time.monotonic()
            subprocess.run(command, check=True, capture_output=True, timeout=left)  # noqa: S603
        if self._client.run.endswith(".mjs"):  # modules are looked for beside the program
            shutil.copy(PROGRAMS / self._client.run, self.folder)
        done.touch()

    def _commands(self) -> Iterator[list[str]]:
        if self._client.node:
            self.folder.mkdir(parents=True)
            yield [
                *KINDLY,
                "npm",
                "install",
                "--silent",
                "--prefix",
                str(self.folder),
                *self._client.installed,
            ]
            return
        uv = os.environ.get("LLMPROXY_UV", str(ROOT / ".venv-uv" / "bin" / "uv"))
        yield [uv, "venv", "--quiet", "--python", self._interpreter(), str(self.folder)]
        python = str(self.folder / "bin" / "python")
        yield [*KINDLY, uv, "pip", "install", "--quiet", "--python", python, *self._client.installed]

    def _interpreter(self) -> str:
        """Return the Python that it is installed for. Raises CalledProcessError where there is none."""
        if self._client.python is None:
            return sys.executable
        find = f'. "{ROOT}/scripts/_bootstrap.sh"; find_python {self._client.python}'
        done = subprocess.run(["bash", "-c", find], check=True, capture_output=True, text=True)  # noqa: S603, S607
        return done.stdout.strip()

    def version(self) -> str | None:
        """Return the version of the first package, and of what runs it."""
        if not self._client.packages:
            return self._said("curl", "--version").split()[1]
        package = self._client.packages[0].partition("[")[0]
        if self._client.node:
            found = json.loads((self.folder / "node_modules" / package / "package.json").read_text())
            return f"{found['version']}, Node {self._said('node', '--version').strip().removeprefix('v')}"
        code = (
            "import importlib.metadata as m, platform; "
            f"print(m.version({package!r}) + ', Python ' + platform.python_version())"
        )
        return self._said("python", "-c", code).strip()

    def _said(self, *command: str) -> str:
        """Return what a command of its environment prints."""
        environment = {**os.environ, "PATH": self.path}
        found = shutil.which(command[0], path=self.path) or command[0]
        return subprocess.run(  # noqa: S603
            [found, *command[1:]], check=True, capture_output=True, text=True, env=environment
        ).stdout


class Proxy:
    """Runs ``llmproxy up`` on ports of its own, and reads the lines that it prints for clients."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._output = data / "output"
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("OPENAI_", "LLMPROXY_ST"))
        }
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                [
                    *(sys.executable, "-P", "-m", "llmproxy", "up", "--data", str(data), "--no-call"),
                    *("--port", "0", "--reverse-port", "0", "--set", BATCHES),
                ],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
            )
        deadline = time.monotonic() + START_SECONDS
        while "Ctrl-C stops" not in self._output.read_text():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise click.ClickException(f"the proxy did not start: {self._output.read_text()[-500:]}")
            time.sleep(0.1)

    def variables(self) -> dict[str, str]:
        """Return what a client is to be given."""
        found: dict[str, str] = {}
        for line in self._output.read_text().splitlines():
            if line.strip().startswith("export "):
                found |= dict(pair.split("=", 1) for pair in shlex.split(line)[1:])
        return found

    def events(self) -> list[dict[str, Any]]:
        with contextlib.suppress(FileNotFoundError):
            lines = (self._data / "events.jsonl").read_text().splitlines()
            found = [json.loads(line) for line in lines]
            return [event for event in found if event["type"] == "llm_proxy_usage"]
        return []

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(60)


def _try(client: Client, environment: Environment, proxy: Proxy, left_out: Sequence[str]) -> tuple[bool, str]:
    """Run a client without some of the variables. Returns whether all was well, and what was not."""
    before = len(proxy.events())
    given = {name: value for name, value in proxy.variables().items() if name not in left_out}
    with tempfile.TemporaryDirectory() as home:
        try:
            done = subprocess.run(  # noqa: S603 - of the list above
                client.command,
                cwd=environment.folder,
                env={"PATH": environment.path, "HOME": home, "LANG": "C.UTF-8", **given},
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return False, f"not done after {SECONDS} s"
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
        return False, said[-1]
    deadline = time.monotonic() + EVENT_SECONDS
    while time.monotonic() < deadline:
        events = proxy.events()[before:]
        if any(event["outcome"] == "ok" for event in events):
            return True, _others(events)
        time.sleep(0.1)
    return False, _others(proxy.events()[before:]) or "no event: its calls went past the proxy"


def _others(events: Sequence[Mapping[str, Any]]) -> str:
    """Name the calls that did not end well."""
    bad = [event for event in events if event["outcome"] != "ok"]
    return ", ".join(sorted({f"{event['method']} {event['path']}: {event['status']}" for event in bad}))


def _row(client: Client, folder: Path, proxy: Proxy) -> Mapping[str, Any]:
    environment = Environment(folder, client)
    try:
        environment.install()
    except (subprocess.SubprocessError, OSError) as error:
        said = getattr(error, "stderr", None) or b""
        last = said.decode("utf-8", "replace").strip().splitlines()[-1:] or [str(error)]
        nothing = {"version": None, "calls": None, "proxy": None, "base_url": None}
        return {"client": client.name, **nothing, "note": f"not run, it can't be installed: {last[0]}"}
    by_proxy, proxy_said = _try(client, environment, proxy, BASE_URLS)
    by_url, url_said = _try(client, environment, proxy, PROXIES)
    # Where a note says why it fails, its own last line is not wanted.
    said = [text for fine, text in ((by_proxy, proxy_said), (by_url, url_said)) if fine or not client.note]
    return {
        "client": client.name,
        "version": environment.version(),
        "calls": client.calls,
        "proxy": by_proxy,
        "base_url": by_url,
        "note": "; ".join(dict.fromkeys(filter(None, (client.note, *said)))) or None,
    }


def page(text: str, rows: Sequence[Mapping[str, Any]], today: date) -> str:
    """Return a document with the table in the place of the one it has."""
    words = {True: "yes", False: "no", None: "-"}
    machine = f"{platform.system()} {platform.machine()}"
    table = [
        f"Run on {today.isoformat()} by `./scripts/clients --write`, on {machine}:",
        "",
        "| client | version | its calls | proxy | base URL | note |",
        "| --- | --- | --- | --- | --- | --- |",
        *(
            f"| {row['client']} | {row['version'] or '-'} | {row['calls'] or '-'} | {words[row['proxy']]} "
            f"| {words[row['base_url']]} | {row['note'] or ''} |"
            for row in rows
        ),
    ]
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return "\n".join([f"{before}{BEGIN}", *table, f"{END}{after}"])


@click.command()
@click.option("--only", metavar="NAME[,NAME]", help=f"Of {', '.join(client.name for client in CLIENTS)}.")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=FOLDER,
    show_default=True,
    help="Where clients are installed; they stay there.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--write", is_flag=True, help=f"Write the table into {PAGE.relative_to(ROOT)} too.")
def main(*, only: str | None, folder: Path, as_json: bool, write: bool) -> None:
    """Run real clients through a real proxy, by HTTPS_PROXY and by base URL. Exit code 1 where one fails.

    Clients come from PyPI and npm, in their newest versions; remove the folder to get newer ones.
    """
    if write and only:
        raise click.UsageError("--write is for the whole table; leave --only away.")
    names = only.split(",") if only else [client.name for client in CLIENTS]
    chosen = [client for client in CLIENTS if client.name in names]
    if unknown := set(names) - {client.name for client in chosen}:
        raise click.UsageError(f"--only: there is no client {sorted(unknown)[0]!r}.")
    with tempfile.TemporaryDirectory() as data:
        proxy = Proxy(Path(data))
        try:
            rows = []
            for client in chosen:
                click.echo(f"{client.name} ...", err=True)
                rows.append(_row(client, folder, proxy))
        finally:
            proxy.close()
    show_all(rows, COLUMNS, as_json=as_json, nothing="")
    if write:
        PAGE.write_text(page(PAGE.read_text("utf-8"), rows, datetime.now(UTC).date()), "utf-8")
    sys.exit(0 if all(row["base_url"] for row in rows) else 1)


if __name__ == "__main__":
    main(prog_name="clients")
