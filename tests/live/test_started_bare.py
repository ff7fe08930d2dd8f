"""`mitmdump -s addons/llmproxy.py` and nothing else, by who may open few files."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.live.conftest import Tenant
from tests.live.harness import SCRIPT, wait_for

FILES = 64


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def opened(host: str, port: int) -> socket.socket | None:
    with contextlib.suppress(OSError):
        return socket.create_connection((host, port), 5)
    return None


def test_it_listens_on_loopback_and_says_why_connections_wait(tenant: Tenant, tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log"
    places = {"LLMPROXY_STORE": str(tenant.store.path), "LLMPROXY_SPOOL": str(tmp_path / "spool")}
    program = Path(sys.executable).with_name("mitmdump")
    command = f'ulimit -n {FILES}; exec "{program}" -s "{SCRIPT}" -p {port} --set confdir="{tmp_path}/ca"'
    with contextlib.ExitStack() as stack:
        proxy = subprocess.Popen(
            ["bash", "-c", command],
            env={**os.environ, **places, "PYTHONUNBUFFERED": "1"},
            stdout=stack.enter_context(log.open("wb")),
            stderr=subprocess.STDOUT,
        )
        stack.callback(proxy.wait, 30)
        stack.callback(proxy.terminate)
        wait_for(lambda: f"listening at 127.0.0.1:{port}" in log.read_text(), "it listens")
        assert opened("127.0.0.2", port) is None, "only on loopback, and not on all addresses of it"
        for _ in range(FILES):
            if (client := opened("127.0.0.1", port)) is not None:
                stack.enter_context(client)
        wait_for(lambda: "open files" in log.read_text(), "the limit is named")
        time.sleep(1.5)  # it is tried again each second
        said = [line for line in log.read_text().splitlines() if "new connections wait" in line]
        assert len(said) == 1
        assert f"the limit of {FILES} open files is reached" in said[0]
        assert "Traceback" not in log.read_text()
