"""What ``llmproxy doctor`` looks at, one function a check."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from addons.openai.vocabulary import VOCABULARIES, cache_folder
from scripts.options import Places
from scripts.spent import Watch
from store import master_key
from store.errors import KeyUnavailable, StoreError
from store.spool import cursor, segment
from store.tokens import TokenStore

URL = "https://api.openai.com/v1/models"
"""Costs nothing, and is recorded like any other call."""
CLIENT_SECONDS = 60.0
EVENT_SECONDS = 10.0
SKEW_SECONDS = 240.0
"""AWS refuses requests whose clock is five minutes off."""
LOW_DISK = 512 * 2**20
STALE_SECONDS = 300.0

# Each prints the status, then the Date header, of a call to argv[1] with the token in OPENAI_API_KEY.
PYTHON = """
import os, sys, urllib.error, urllib.request
headers = {"authorization": "Bearer " + os.environ["OPENAI_API_KEY"]}
try:
    answer = urllib.request.urlopen(urllib.request.Request(sys.argv[1], headers=headers), timeout=50)
except urllib.error.HTTPError as error:
    answer = error
print(answer.status, answer.headers.get("date") or "")
"""
# By hand, because Node's own fetch goes through a proxy from Node 24 on only.
NODE = """
const http = require('http'), https = require('https'), tls = require('tls');
const url = new URL(process.argv[1]), proxy = new URL(process.env.HTTPS_PROXY);
const fail = error => { console.error(error.message); process.exit(1); };
const headers = {authorization: 'Bearer ' + process.env.OPENAI_API_KEY};
http.request({host: proxy.hostname, port: proxy.port, method: 'CONNECT', path: url.host + ':443'})
  .on('connect', (_, socket) => {
    const createConnection = () => tls.connect({socket, servername: url.hostname});
    https.get(url, {createConnection, headers}, answer => {
      console.log(answer.statusCode, answer.headers.date || '');
      process.exit(0);
    }).on('error', fail);
  })
  .on('error', fail).end();
"""
TRUST_REMEDY = "set SSL_CERT_FILE, CURL_CA_BUNDLE, NODE_EXTRA_CA_CERTS as `llmproxy env` does"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    check: str
    status: str
    """ok, warning, failed or skipped."""
    detail: str
    remedy: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def ok(check: str, detail: str) -> Finding:
    return Finding(check, "ok", detail)


def failed(check: str, detail: str, remedy: str) -> Finding:
    return Finding(check, "failed", detail, remedy)


def warning(check: str, detail: str, remedy: str) -> Finding:
    return Finding(check, "warning", detail, remedy)


def store(places: Places) -> Finding:
    try:
        tokens = TokenStore.open(places.store, create=False)
    except (StoreError, OSError) as error:
        return failed("store", str(error), "make one with `llmproxy project create NAME --api-key KEY`")
    try:
        projects = tokens.list_projects()
        count = len(tokens.list_tokens())
        plain = tokens.keys.check()
    except KeyUnavailable as error:
        return failed("store", str(error), "bring the master key back; without it no key can be read")
    finally:
        tokens.close()
    active = sum(project.active for project in projects)
    said = f"{places.store}: {active} of {len(projects)} projects active, {count} tokens"
    if not active:
        return failed("store", said, "make a project, or activate one: `llmproxy project --help`")
    if plain:
        return warning("store", f"{said}, {plain} keys in plain text", "run `llmproxy keys encrypt`")
    key = master_key.beside(places.store)
    if key and key.exists() and key.stat().st_mode & 0o077:
        return warning("store", f"{key} can be read by others", f"chmod 600 {key}")
    if places.store.path and places.store.path.stat().st_mode & 0o077:
        return warning("store", f"{places.store} can be read by others", f"chmod 600 {places.store}")
    return ok("store", said)


def spool(places: Places) -> Finding:
    folder = places.spool
    probe = folder / ".doctor"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        return failed(
            "spool", f"{folder}: {error.strerror}", "give the proxy's user this folder, or name another"
        )
    free = shutil.disk_usage(folder).free
    size = sum(path.stat().st_size for path in segment.segments(folder))
    said = f"{folder}: {size / 2**20:.1f} MiB in segments, {free / 2**30:.1f} GiB free"
    if free < LOW_DISK:
        return warning("spool", said, "make room: a proxy whose disk is full refuses calls")
    return ok("spool", said)


def vocabularies() -> Finding:
    folder = cache_folder()
    missing = [name for name, vocabulary in VOCABULARIES.items() if not vocabulary.is_in(folder)]
    if missing:
        return warning(
            "vocabularies", f"{', '.join(missing)} not in {folder}", "run `llmproxy tokenizers install`"
        )
    return ok("vocabularies", f"{', '.join(VOCABULARIES)} in {folder}")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client saw of the call."""

    status: int
    date: str


def clients(environment: Mapping[str, str]) -> Iterator[tuple[Finding, Answer | None]]:
    """The call, made by each kind of client that is installed here."""
    programs: dict[str, list[str] | None] = {
        "python": [sys.executable, "-c", PYTHON, URL],
        "curl": _curl(),
        "node": [node, "-e", NODE, URL] if (node := shutil.which("node")) else None,
    }
    for name, command in programs.items():
        if command is None:
            yield Finding(f"trust: {name}", "skipped", f"{name} is not installed"), None
        else:
            yield _client(name, command, environment)


def _curl() -> list[str] | None:
    curl = shutil.which("curl")
    if curl is None:
        return None
    # The token comes by standard input: what is in the arguments can be read by every user.
    return [curl, "-sS", "-o", "/dev/null", "-w", "%{http_code} %header{date}", "--config", "-", URL]


def _client(name: str, command: list[str], environment: Mapping[str, str]) -> tuple[Finding, Answer | None]:
    check = f"trust: {name}"
    header = f'header = "Authorization: Bearer {environment["OPENAI_API_KEY"]}"\n'
    try:
        done = subprocess.run(  # noqa: S603 - our own commands
            command,
            env=dict(environment),
            input=header,
            capture_output=True,
            text=True,
            timeout=CLIENT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return failed(check, f"{name}: {error}", f"see whether {command[0]} works at all"), None
    status, _, date = done.stdout.strip().partition(" ")
    if done.returncode or not status.isdecimal():
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return failed(check, said, TRUST_REMEDY), None
    return ok(check, f"{name} reached {URL} through the proxy, over TLS"), Answer(int(status), date)


def upstream(answer: Answer | None) -> Finding:
    """Whether the API answered, and took the project's key."""
    if answer is None:
        return Finding("upstream", "skipped", "no client got through the proxy")
    if answer.status in (502, 504):
        return failed(
            "upstream", f"status {answer.status}", "see why this machine can't reach the API; the event tells"
        )
    if answer.status in (401, 403):
        return failed(
            "upstream",
            f"status {answer.status}: the call was refused",
            "give the project a key that works: `llmproxy project update NAME --api-key KEY`",
        )
    if answer.status >= 400:
        return failed(
            "upstream", f"status {answer.status}", "look at the call's event: `llmproxy spool tail`"
        )
    return ok("upstream", f"status {answer.status}; the project's key works")


def clock(answer: Answer | None, now: datetime | None = None) -> Finding:
    """This machine's clock against the API's."""
    try:
        there = parsedate_to_datetime(answer.date if answer else "")
    except ValueError:
        return Finding("clock", "skipped", "the answer had no date to compare with")
    skew = abs(((now or datetime.now(UTC)) - there).total_seconds())
    if skew > SKEW_SECONDS:
        return failed(
            "clock", f"{skew:.0f} s from the API's", "synchronise it (NTP); AWS refuses such clocks"
        )
    return ok("clock", f"within {skew:.0f} s of the API's")


def counted(watch: Watch, wanted: int) -> Finding:
    """Whether the calls just made have their events."""
    if not wanted:
        return Finding("events", "skipped", "no call was made")
    deadline = time.monotonic() + EVENT_SECONDS
    while watch.look().calls < wanted and time.monotonic() < deadline:
        time.sleep(0.1)
    found = watch.spent.calls
    if found != wanted:
        return failed(
            "events",
            f"{wanted} calls were made, {found} events came",
            "see that proxy and doctor use the same spool (--spool, LLMPROXY_SPOOL)",
        )
    return ok("events", f"{wanted} calls, {found} events")


def dispatchers(places: Places) -> Iterator[Finding]:
    """How far behind each consumer of the spool is."""
    files = sorted((places.spool / cursor.FOLDER).glob("*.json"))
    if not files:
        yield warning("dispatcher", "none has run on this spool", "start one: `llmproxy dispatch --help`")
    for file in files:
        yield _dispatcher(file.stem, cursor.load(file), places.spool)


def _dispatcher(name: str, offsets: Mapping[str, int], folder: Path) -> Finding:
    behind = 0
    oldest: float | None = None
    for path in segment.segments(folder):
        offset = offsets.get(path.name, 0)
        try:
            size = path.stat().st_size
            if size > offset:
                behind += size - offset
                oldest = min(oldest or 2**60, _time_at(path, offset))
        except FileNotFoundError:
            continue
    lag = 0.0 if oldest is None else max(0.0, time.time() - oldest)
    said = f"{name}: {behind / 1024:.0f} KiB behind" + (f", the oldest {lag:.0f} s old" if behind else "")
    if lag > STALE_SECONDS:
        return warning("dispatcher", said, f"see that it runs: `llmproxy dispatch --service {name} --follow`")
    return ok("dispatcher", said)


def _time_at(path: Path, offset: int) -> float:
    """When the record at `offset` was made, in seconds since 1970; now, where that can't be told."""
    with path.open("rb") as file:
        file.seek(offset)
        try:
            return datetime.fromisoformat(json.loads(file.readline())["timestamp"]).timestamp()
        except (ValueError, KeyError, TypeError):
            return time.time()
