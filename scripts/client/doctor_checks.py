"""Check what ``llmproxy doctor`` looks at, one function a check."""

from __future__ import annotations

import contextlib
import errno
import os
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
from scripts.client.spent import Watch
from scripts.options import Places
from store.core.errors import KeyUnavailable, NotFound, StoreError
from store.keys import master_key
from store.spool import segment, status_files
from store.spool.backlog import backlogs
from store.tokens.store import TokenStore
from store.upkeep.incidents import incidents

URL = "https://api.openai.com/v1/models"
"""Costs nothing, and is recorded like any other call."""
CLIENT_SECONDS = 60.0
EVENT_SECONDS = 10.0
SKEW_SECONDS = 240.0
"""AWS refuses requests whose clock is five minutes off."""
LOW_DISK = 512 * 2**20
SERVICES = {
    "proxy": "see its log; start it anew",
    "dispatcher": "see its log, and that it runs: `llmproxy dispatch --service SINK --follow`",
}
"""The remedy for each kind of service that is not well."""

# Each prints the status, then the Date header, of a call to argv[1] with the token in OPENAI_API_KEY;
# a second line names the URL that was called in fact.
PYTHON = """
import os, sys, urllib.error, urllib.request
headers = {"authorization": "Bearer " + os.environ["OPENAI_API_KEY"]}
try:
    answer = urllib.request.urlopen(urllib.request.Request(sys.argv[1], headers=headers), timeout=50)
except urllib.error.HTTPError as error:
    answer = error
print(answer.status, answer.headers.get("date") or "")
"""
# As OpenAI's SDK does it: a Node that ignores HTTPS_PROXY would take the token straight to the API.
NODE = """
const base = process.env.OPENAI_BASE_URL, proxied = parseInt(process.versions.node) >= 24
  || process.allowedNodeEnvironmentFlags.has('--use-env-proxy');
const fail = (text, code) => { console.error(text); process.exit(code); };
if (!proxied && !base) fail(`Node ${process.version} ignores HTTPS_PROXY, and no OPENAI_BASE_URL is set`, 3);
const url = proxied ? process.argv[1] : `${base}/models`;
fetch(url, {headers: {authorization: 'Bearer ' + process.env.OPENAI_API_KEY}})
  .then(answer => console.log(`${answer.status} ${answer.headers.get('date') || ''}\\n${url}`))
  .catch(error => fail(error.cause ? error.cause.message : error.message, 1));
"""
TRUST_REMEDY = "set SSL_CERT_FILE, CURL_CA_BUNDLE, NODE_EXTRA_CA_CERTS as `llmproxy env` does"
NODE_REMEDY = (
    "use Node 24 or newer, or give the proxy a second listener: "
    "--mode reverse:https://api.openai.com@127.0.0.1:8081"
)
NO_WAY = 3
"""Exit code of a client that no variable leads to the proxy; it may be that nobody uses it here."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Holds the result of one check."""

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
    except NotFound as error:
        if places.store_given or status_files.read_all(places.spool):
            return failed("store", str(error), "look whether its disk is there; `llmproxy store restore`")
        return failed("store", str(error), "make one with `llmproxy project create NAME --api-key -`")
    except (StoreError, OSError) as error:
        return failed("store", str(error), "mend what it says; the proxy refuses calls meanwhile")
    try:
        projects = tokens.list_projects()
        count = tokens.count_tokens()
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
        _write_through(probe)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = "make room: the proxy refuses calls" if full else "give the proxy's user this folder"
        return failed("spool", f"{folder}: {error.strerror}", remedy)
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
    free = shutil.disk_usage(folder).free
    size = sum(path.stat().st_size for path in segment.segments(folder))
    said = f"{folder}: {size / 2**20:.1f} MiB in segments, {free / 2**30:.1f} GiB free"
    if free < LOW_DISK:
        return warning("spool", said, "make room: a proxy whose disk is full refuses calls")
    return ok("spool", said)


def _write_through(probe: Path) -> None:
    """Write as much as an event has: an empty file can be made on a full disk, too."""
    with probe.open("wb") as file:
        file.write(b"\n" * 64 * 1024)
        file.flush()
        os.fsync(file.fileno())


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
    """Says what a client saw of the call."""

    status: int
    date: str


def clients(environment: Mapping[str, str]) -> Iterator[tuple[Finding, Answer | None]]:
    """Make the call with each kind of client that is installed here."""
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
    head, _, called = done.stdout.strip().partition("\n")
    status, _, date = head.partition(" ")
    if done.returncode == NO_WAY:
        return warning(check, done.stderr.strip(), NODE_REMEDY), None
    if done.returncode or not status.isdecimal():
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return failed(check, said, TRUST_REMEDY), None
    if called not in ("", URL):
        return ok(check, f"{name} reached the proxy by {called}"), Answer(int(status), date)
    return ok(check, f"{name} reached {URL} through the proxy, over TLS"), Answer(int(status), date)


def upstream(answer: Answer | None) -> Finding:
    """Tell whether the API answered, and took the project's key."""
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
            "give the project a key that works: `llmproxy project update NAME --api-key -`",
        )
    if answer.status >= 400:
        return failed(
            "upstream", f"status {answer.status}", "look at the call's event: `llmproxy spool tail`"
        )
    return ok("upstream", f"status {answer.status}; the project's key works")


def clock(answer: Answer | None, now: datetime | None = None) -> Finding:
    """Check this machine's clock against the API's."""
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
    """Tell whether the calls just made have their events."""
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


def services(places: Places) -> Iterator[Finding]:
    """Say of proxies and dispatchers what `llmproxy status` says."""
    statuses, consumers = status_files.read_all(places.spool), backlogs(places.spool)
    all_found = incidents(places.store, places.spool, statuses, consumers, store_given=places.store_given)
    found = [one for one in all_found if one.what in SERVICES]
    for incident in found:
        make = failed if incident.severe else warning
        yield make(incident.what, incident.message, SERVICES[incident.what])
    if not consumers:
        yield warning("dispatcher", "none has run on this spool", "start one: `llmproxy dispatch --help`")
    for name, backlog in consumers.items():
        said = f"{name}: {backlog.bytes / 1024:.0f} KiB behind"
        if not any(incident.message.startswith(f"{name} ") for incident in found):
            yield ok(
                "dispatcher",
                said + (f", the oldest {backlog.lag_seconds:.0f} s old" if backlog.bytes else ""),
            )
