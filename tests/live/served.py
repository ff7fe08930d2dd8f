"""A running ``llmproxy serve`` with two proxies and a dispatcher."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import trustme

from store.spool.status_files import read_all
from tests.live.clients import HELLO, MODEL, authorised
from tests.live.harness import ROOT, wait_for
from tests.live.tenant import Tenant
from tests.live.upstream import Answer, Seen, Upstream

CLIENTS = 6


def command_line(process: psutil.Process) -> list[str]:
    """Its arguments; none of one that has just ended."""
    with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        return process.cmdline()
    return []


class Served:
    """A running ``llmproxy serve`` with two proxies, and a token."""

    def __init__(
        self, folder: Path, upstream: Upstream, authority_file: Path, tenant: Tenant, workers: str = "thread"
    ) -> None:
        self.folder, self.upstream, self.tenant = folder, upstream, tenant
        self.token = tenant.token()[1]
        self.killed = False
        cert = trustme.CA()
        self.trusted = folder / "trusted.pem"
        cert.cert_pem.write_to_path(self.trusted)
        issued = cert.issue_cert("localhost")
        for number, blob in enumerate([*issued.cert_chain_pems, issued.private_key_pem]):
            blob.write_to_path(folder / "cert.pem", append=number > 0)
        self.log = folder / "serve.log"
        command = [
            *(sys.executable, "-P", "-m", "llmproxy.module", "scripts.cli"),
            *("--store", str(folder / "store.db"), "--spool", str(self.spool)),
            *("serve", "--workers", "2", "--listen", "127.0.0.1:0", "--listen-reverse", "127.0.0.1:0"),
            *("--management", "127.0.0.1:0", "--cert", str(folder / "cert.pem")),
            *("--hang-timeout", "12", "--dispatch", "file", "--"),
            *("--set", f"llm_upstream={upstream.base_url}", "--set", f"llm_workers={workers}"),
            *("--set", f"ssl_verify_upstream_trusted_ca={authority_file}"),
        ]
        environment = {
            name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")
        } | {"DISPATCHER_FILE_OUTPUT": str(self.delivered)}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        wait_for(lambda: len(self.pids()) == 2 or self.process.poll() is not None, "two proxies", 90)
        assert self.process.poll() is None, self.log.read_text()

    @property
    def spool(self) -> Path:
        return self.folder / "spool"

    @property
    def delivered(self) -> Path:
        return self.folder / "delivered.jsonl"

    def port(self, option: str) -> int:
        found = re.search(rf"{option} 127\.0\.0\.1:(\d+)", self.log.read_text())
        assert found, self.log.read_text()
        return int(found[1])

    def url(self, path: str = "/v1/chat/completions") -> str:
        return f"http://127.0.0.1:{self.port('listen-reverse')}{path}"

    def pids(self) -> set[int]:
        """The proxies that serve."""
        return {one.value["pid"] for one in read_all(self.spool) if one.alive and one.value.get("listeners")}

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.port('management')}{path}", trust_env=False, timeout=30)

    def events(self) -> list[dict[str, Any]]:
        """Each event once: those in the spool, then those that were sent, which leave it."""
        lines = [line for path in self.spool.glob("*.jsonl") for line in path.read_bytes().split(b"\n")[:-1]]
        lines += self.delivered.read_bytes().split(b"\n")[:-1] if self.delivered.exists() else []
        found = [event for line in lines if (event := json.loads(line))["type"] == "llm_proxy_usage"]
        return list({event["event_id"]: event for event in found}.values())

    def call(self, client: httpx.Client, user: str, token: str = "") -> int:
        body = {"model": MODEL, "messages": HELLO, "user": user, "stream": user.endswith("0")}
        return client.post(self.url(), headers=authorised(token or self.token), json=body).status_code

    def dispatcher(self) -> psutil.Process:
        """The dispatcher of `--dispatch`, once it runs."""

        def found() -> list[psutil.Process]:
            children = psutil.Process(self.process.pid).children()
            return [one for one in children if "dispatch" in command_line(one)]

        return wait_for(found, "a dispatcher", 60)[0]

    def pools(self) -> list[psutil.Process]:
        """What starts the processes that read finished calls; in a replacement, the old one, too."""
        children = psutil.Process(self.process.pid).children()
        return [one for one in children if "addons.recording.reading.pool" in command_line(one)]

    def readers(self) -> list[psutil.Process]:
        """The processes that read finished calls."""
        found = []
        for pool in self.pools():
            with contextlib.suppress(psutil.NoSuchProcess):
                found += pool.children()
        return found

    def stop(self) -> None:
        if self.killed:
            return
        assert self.process.poll() is None, self.log.read_text()[-4000:]
        self.process.terminate()
        assert self.process.wait(90) == 0, self.log.read_text()[-4000:]


class Load:
    """Clients that call without pause, each over a connection that it keeps."""

    def __init__(self, served: Served, name: str) -> None:
        self.served, self.name = served, name
        self.stop = threading.Event()
        self.statuses: list[int] = []
        self.failures: list[str] = []
        self.threads = [threading.Thread(target=self._run, args=(number,)) for number in range(CLIENTS)]

    def _run(self, number: int) -> None:
        with httpx.Client(trust_env=False, timeout=60) as client:
            count = 0
            while not self.stop.is_set():
                count += 1
                try:
                    self.statuses.append(self.served.call(client, f"{self.name}-{number}-{count}"))
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))

    def __enter__(self) -> Load:
        for thread in self.threads:
            thread.start()
        wait_for(lambda: len(self.statuses) >= CLIENTS, "the first calls", 60)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join(60)


@contextlib.contextmanager
def serving(
    answer: Callable[[Seen], Answer],
    authority: trustme.CA,
    authority_file: Path,
    folder: Path,
    workers: str = "thread",
) -> Iterator[Served]:
    """Serve, in front of an upstream that answers so, and with a store of its own; `workers`: who reads."""
    tenant = Tenant(folder / "store.db")
    with Upstream(answer, authority.issue_cert("localhost")).running() as upstream:
        running = Served(folder, upstream, authority_file, tenant, workers)
        yield running
        running.stop()
    tenant.store.close()
