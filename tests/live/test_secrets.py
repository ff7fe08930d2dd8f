"""No key and no token, nor a piece of one, is anywhere but where it belongs."""

from __future__ import annotations

import contextlib
import secrets
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import httpx
import psutil
import pytest
from mitmproxy import version

from store.keys import master_key
from tests.live.clients import HELLO, MODEL
from tests.live.conftest import StartProxy, Tenant, chat_chunks
from tests.live.harness import Proxy, wait_for
from tests.live.upstream import ABORT, Answer, Seen, Upstream, json_answer, stream_answer

CALLS = 200
"""Of each of the two proxies."""
PIECE = 12
"""Characters of a secret that give it away: too many to be there by chance."""
SHOWN = len("sk-llmp-") + 6


@dataclass
class Secrets:
    """What to look for."""

    texts: list[str] = field(default_factory=list)

    def add(self, text: str) -> str:
        self.texts.append(text)
        return text

    def found_in(self, places: dict[str, bytes]) -> list[str]:
        pieces = {
            text[start : start + PIECE].encode()
            for text in self.texts
            for start in range(SHOWN, len(text) - PIECE + 1)
        }
        return [
            f"{name}: {place[max(place.find(piece) - 60, 0) :][:100]!r}"
            for name, place in places.items()
            for piece in pieces
            if piece in place
        ]


def mixed(seen: Seen) -> Answer:
    """Answers and failures of every kind, by what the request asks for."""
    kind = seen.header("x-kind")
    if kind == "stream":
        return stream_answer(chat_chunks())
    if kind == "cut":
        return stream_answer([*chat_chunks()[:2], ABORT])
    if kind == "hang":
        return stream_answer([*chat_chunks()[:2], 60.0])
    if kind == "rate":
        return json_answer(
            {"error": {"message": "slow down", "type": "requests", "code": "rate_limit_exceeded"}}, 429
        )
    if kind == "broken":
        return Answer([b"{not json"], chunked=False)
    return json_answer({"object": "list", "data": []})


KINDS = ("plain", "stream", "cut", "rate", "broken", "unknown", "revoked", "query", "subprotocol", "connect")


def call(proxy: Proxy, tokens: dict[str, str], number: int) -> None:
    """One call of the kind that is due; its failure is the client's affair."""
    kind = KINDS[number % len(KINDS)]
    token = tokens.get(kind, tokens["good"])
    url, headers = f"{proxy.reverse_url}/v1/chat/completions", {"x-kind": kind}
    if kind == "query":
        url += f"?api-key={token}"
    elif kind == "subprotocol":
        headers["sec-websocket-protocol"] = f"realtime, openai-insecure-api-key.{token}"
    elif number % 3:
        headers["authorization"] = f"Bearer {token}"
    else:
        headers["api-key"] = token
    body = {"model": MODEL, "messages": HELLO, "stream": kind in ("stream", "cut")}
    with contextlib.suppress(httpx.HTTPError):
        through = proxy.url if kind == "connect" else None
        target = "https://api.openai.com/v1/chat/completions" if through else url
        with httpx.Client(proxy=through, trust_env=False, verify=False, timeout=60) as client:
            client.post(target, headers=headers, json=body)


def run(proxy: Proxy, tokens: dict[str, str]) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: call(proxy, tokens, number), range(CALLS)))
    proxy.wait_calls(CALLS // 2, 60)


@contextlib.contextmanager
def hanging_call(proxy: Proxy, token: str) -> Iterator[None]:
    """An answer that has begun, and does not end."""
    headers = {"authorization": f"Bearer {token}", "x-kind": "hang"}
    body = {"model": MODEL, "messages": HELLO, "stream": True}
    url = f"{proxy.reverse_url}/v1/chat/completions"
    with (
        httpx.Client(trust_env=False, timeout=60) as client,
        client.stream("POST", url, headers=headers, json=body) as answer,
    ):
        assert answer.status_code == 200
        yield


def of_processes(proxy: Proxy) -> dict[str, bytes]:
    """Arguments and environment of the proxy and of whatever it started."""
    found = {}
    for process in [proxy.process, *proxy.process.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            found[f"arguments of {process.pid}"] = "\0".join(process.cmdline()).encode()
            found[f"environment of {process.pid}"] = repr(process.environ()).encode()
    return found


def of_files(folder: Path) -> dict[str, bytes]:
    """All files but the master key and the proxy's own certificate authority."""
    return {
        str(path): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".key" and "ca" not in path.relative_to(folder).parts
    }


def shown_by(web: Proxy, port: int) -> dict[str, bytes]:
    """What mitmweb (at `port`, if it is one) and the management port say."""
    places = {}
    with httpx.Client(trust_env=False, headers={"authorization": "Bearer look"}, timeout=60) as client:
        if port:
            for path in ("flows", "events", "options", "state"):
                answer = client.get(f"http://127.0.0.1:{port}/{path}")
                assert answer.status_code == 200, path
                places[f"mitmweb's /{path}"] = answer.content
        line = wait_for(
            lambda: next((x for x in web.lines if "health and metrics at" in x), ""), "management"
        )
        for path in ("metrics", "health"):
            answer = client.get(line.split()[-1].rstrip(".").rstrip("/") + f"/{path}")
            places[path] = answer.content
    return places


@pytest.mark.slow
def test_no_secret_is_anywhere(
    start_proxy: StartProxy, tenant: Tenant, upstream: Upstream, tmp_path: Path
) -> None:
    """1,000 mixed calls, a killed proxy, all that can be logged, saved and shown."""
    upstream.handler = mixed
    wanted = Secrets()
    real = wanted.add("sk-real-" + secrets.token_urlsafe(40))
    tenant.store.update_project("acme", api_key=real)
    masters = master_key.load(tenant.store.path)
    assert masters
    wanted.add("-" * SHOWN + masters.primary.secret.reveal())
    rotated, first = tenant.token()
    _, second = tenant.store.rotate_token(rotated, overlap=timedelta(hours=1))
    revoked, text = tenant.token()
    tenant.store.revoke_token(revoked)
    tokens = {
        "good": wanted.add(first),
        "stream": wanted.add(second.reveal()),
        "revoked": wanted.add(text),
        "unknown": wanted.add("sk-llmp-" + secrets.token_urlsafe(32)),
    }

    talkative = ("termlog_verbosity=debug", "llm_management=127.0.0.1:0")
    dump = start_proxy(*talkative, "flow_detail=4", f"save_stream_file={tmp_path / 'flows-1'}", cold=True)
    run(dump, tokens)
    places = of_processes(dump)
    with contextlib.suppress(httpx.HTTPError), hanging_call(dump, tokens["good"]):
        dump.kill()

    settings, program, port = [], "mitmdump", 0
    if not version.VERSION.startswith("11."):  # whose mitmweb is refused
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        settings = ["web_open_browser=false", f"web_port={port}", "web_password=look"]
        program = "mitmweb"
    web = start_proxy(
        *talkative, *settings, f"save_stream_file={tmp_path / 'flows-2'}", program=program, cold=True
    )
    run(web, tokens)
    tenant.store.keys.rotate()
    call(web, tokens, 0)
    places |= {f"second, {name}": place for name, place in of_processes(web).items()}
    places |= shown_by(web, port)
    web.stop()
    places |= of_files(tmp_path)
    places |= {"the first log": dump.output.encode(), "the second log": web.output.encode()}

    used = {seen.header("authorization") for seen in upstream.requests}
    assert used == {f"Bearer {real}"}, "the real key was in use"
    assert len(upstream.requests) > CALLS
    outcomes = {event["outcome"] for event in web.calls()}
    assert outcomes >= {"ok", "http_error", "refused", "upstream_aborted", "proxy_died"}
    assert all(len(places[name]) > 0 for name in ("the first log", "metrics", str(tmp_path / "flows-1")))
    assert any(name.endswith("store.db") for name in places)
    assert any("spool" in name and name.endswith(".jsonl") for name in places)
    assert wanted.found_in({"a control": f"... {first} ...".encode()}), "the search finds what is there"
    assert wanted.found_in(places) == []
