"""The configuration of nginx in the documents before two proxies: streams, sessions, tunnels, a restart."""

from __future__ import annotations

import contextlib
import shutil
import signal
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import openai
import pytest

from scripts.client.proxy_process import pick_port
from scripts.quickstart.standin import KEY, StandIn
from scripts.quickstart.standin_answers import TEXT
from store.tokens.store import TokenStore
from tests.live.clients import HELLO, MODEL
from tests.live.harness import ROOT, Proxy, wait_for

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
STREAM = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
CLIENTS, CALLS = 6, 8

pytestmark = [
    pytest.mark.slow,
    pytest.mark.once,
    pytest.mark.skipif(
        NGINX is None or not STREAM.exists(), reason="nginx and its stream module are not installed"
    ),
]


@dataclass
class Nginx:
    """Runs nginx with what docs/scaling.md shows."""

    folder: Path
    ports: dict[str, str] = field(
        default_factory=lambda: {port: str(pick_port(0, "")) for port in ("9080", "9081")}
    )

    @property
    def reverse_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['9081']}/v1"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['9080']}"

    def write(self, one: Proxy, two: Proxy) -> None:
        shown = (ROOT / "docs" / "scaling.md").read_text().partition("```nginx\n")[2].partition("```")[0]
        for number, proxy in (("81", one), ("82", two)):
            shown = shown.replace(f"127.0.0.1:{number}81", f"127.0.0.2:{proxy.reverse_port}")
            shown = shown.replace(f"127.0.0.1:{number}80", f"127.0.0.1:{proxy.port}")
        for port, free in self.ports.items():
            shown = shown.replace(port, free)
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        folders = "".join(f"{kind}_temp_path {self.folder}/{kind};\n" for kind in kinds)
        shown = shown.replace("http {\n", f"http {{\naccess_log off;\n{folders}", 1)
        head = f"load_module {STREAM};\ndaemon off;\nuser root;\npid {self.folder}/pid;\nevents {{}}\n"
        (self.folder / "nginx.conf").write_text(head + shown)

    @contextlib.contextmanager
    def running(self) -> Iterator[Nginx]:
        command = [str(NGINX), "-c", str(self.folder / "nginx.conf"), "-e", str(self.folder / "errors")]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE)
        try:
            wait_for(lambda: (self.folder / "pid").exists() or self.process.poll() is not None, "nginx")
            assert self.process.poll() is None, self.process.stderr and self.process.stderr.read()
            yield self
        finally:
            self.process.terminate()
            self.process.wait(20)

    def reload(self) -> None:
        self.process.send_signal(signal.SIGHUP)


@pytest.fixture
def standin() -> Iterator[StandIn]:
    with StandIn() as running:
        yield running


@pytest.fixture
def token(tmp_path: Path) -> str:
    store = TokenStore.open(tmp_path / "store.db")
    try:
        return store.create_token(store.create_project("search", KEY).id)[1].reveal()
    finally:
        store.close()


def stream(client: openai.OpenAI) -> str:
    chunks = client.chat.completions.create(model=MODEL, messages=HELLO, stream=True)  # type: ignore[call-overload]
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def test_nginx_before_two_proxies(tmp_path: Path, standin: StandIn, token: str) -> None:
    nginx = Nginx(tmp_path)
    options = [f"llm_upstream={standin.base_url}", "llm_shutdown_linger=3"]
    with Proxy(tmp_path, options) as one, Proxy(tmp_path, options) as two:
        nginx.write(one, two)
        with nginx.running():
            client = openai.OpenAI(api_key=token, base_url=nginx.reverse_url, max_retries=0)
            texts: list[str] = []
            failures: list[Exception] = []

            def work() -> None:
                own = httpx.Client(trust_env=False, timeout=60)  # keeps its connection
                with client.with_options(http_client=own) as mine:
                    for _ in range(CALLS):
                        try:
                            texts.append(stream(mine))
                        except Exception as error:
                            failures.append(error)

            threads = [threading.Thread(target=work) for _ in range(CLIENTS)]
            for thread in threads:
                thread.start()
            wait_for(lambda: len(texts) >= CLIENTS, "calls under way", 60)
            one.process.send_signal(signal.SIGTERM)  # in the midst of them
            assert one.wait() == 0
            with Proxy(tmp_path, options) as three:
                nginx.write(three, two)
                nginx.reload()
                for thread in threads:
                    thread.join(120)
                assert failures == []
                assert texts == [TEXT] * (CLIENTS * CALLS)
                calls = two.wait_calls(CLIENTS * CALLS)
                assert {call["outcome"] for call in calls} == {"ok"}
                assert len({call["writer"] for call in calls}) > 1, "both had some"
                sessions(client, nginx)
                tunnel(token, nginx, three.ca_file)


def sessions(client: openai.OpenAI, nginx: Nginx) -> None:
    here = {"proxy": None}
    with client.realtime.connect(model="gpt-realtime", websocket_connection_options=here) as session:  # type: ignore[arg-type]
        session.response.create()
        done = next(event for event in session if event.type == "response.done")
        assert done.response.usage
    with client.responses.connect(websocket_connection_options=here) as socket:  # type: ignore[arg-type]
        socket.response.create(model=MODEL, input="hello")
        last = next(event for event in socket if event.type == "response.completed")
        assert last.response.output_text == TEXT
    assert nginx.process.poll() is None


def tunnel(token: str, nginx: Nginx, authority: Path) -> None:
    """By HTTPS_PROXY, through the TCP listener."""
    trust = ssl.create_default_context(cafile=str(authority))
    own = httpx.Client(proxy=nginx.url, verify=trust, trust_env=False, timeout=60)
    with openai.OpenAI(api_key=token, max_retries=0, http_client=own) as client:
        assert stream(client) == TEXT
