"""A stream that its client has read to the end is `ok`, whoever closes first.

The official SDKs close the connection when they have read the last event; upstream may end the body later.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.live.clients import MODEL, chat, reverse_sdk, sdk
from tests.live.conftest import Running, chat_chunks, response_chunks
from tests.live.upstream import ABORT, Answer, Seen, stream_answer

NODE = Path(__file__).parent / "node"
LATE = (0, 1, 20, 300)
"""Milliseconds between the last event and the end of the body."""
WAYS = {
    "connect-h1": sdk,
    "connect-h2": lambda proxy, token: sdk(proxy, token, http2=True),
    "reverse-plain": reverse_sdk,
}


def late_answer(seen: Seen) -> Answer:
    """A stream whose body ends as much later as the request's `user` says."""
    chunks: list[Any] = response_chunks() if seen.path.endswith("/responses") else chat_chunks()
    late = int(seen.json["user"])
    return stream_answer([*chunks, late / 1000] if late else chunks)


def events_of(data: list[dict[str, Any]]) -> list[bytes]:
    return [f"event: {each.get('type', '')}\ndata: {json.dumps(each)}\n\n".encode() for each in data]


@pytest.fixture(scope="module")
def running(start_shared: Callable[..., Running]) -> Running:
    running = start_shared("llm_endpoints=inference,storage,listing,unmetered")
    running.upstream.handler = late_answer
    return running


@pytest.fixture(scope="module")
def draining(start_shared: Callable[..., Running]) -> Running:
    running = start_shared("llm_on_abort=drain")
    running.upstream.handler = late_answer
    return running


def checked(calls: list[dict[str, Any]]) -> int:
    """Hold each call against what it should be; return how many they are."""
    for call in calls:
        assert (call["outcome"], call["error"], call["truncated"]) == ("ok", None, []), call["path"]
        assert call["usage"]["source"] == "api"
        assert call["usage"]["total_tokens"] in (14, 17)
        assert call["drained"] is False
    return len(calls)


def read_all(client: openai.OpenAI, late: int) -> None:
    with chat(client, stream=True, user=str(late)) as stream:
        said = "".join(piece.choices[0].delta.content or "" for piece in stream if piece.choices)
    assert said == "one two three"
    with client.responses.create(model=MODEL, input="hello", stream=True, user=str(late)) as events:
        for event in events:
            if event.type == "response.completed":
                break


@pytest.mark.parametrize("way", WAYS)
def test_python_sdk(way: str, running: Running) -> None:
    for late in LATE:
        with WAYS[way](running.proxy, running.token) as client:
            read_all(client, late)
    assert checked(running.events(2 * len(LATE))) == 2 * len(LATE)


def test_python_sdk_where_answers_of_clients_that_left_are_drained(draining: Running) -> None:
    """Nothing is left to read, so the call's place is free at once."""
    for late in LATE:
        with reverse_sdk(draining.proxy, draining.token) as client:
            read_all(client, late)
    assert checked(draining.events(2 * len(LATE))) == 2 * len(LATE)


@pytest.fixture(scope="session")
def node() -> str:
    """The path of Node, with the packages that the scripts in tests/live/node import."""
    path, npm = shutil.which("node"), shutil.which("npm")
    if path is None or npm is None:
        pytest.skip("no Node.js here")
    if not (NODE / "node_modules" / "openai").is_dir():
        install = [npm, "install", "--no-package-lock", "--no-audit", "--no-fund"]
        done = subprocess.run(install, cwd=NODE, capture_output=True, text=True, timeout=180, check=False)
        if done.returncode != 0:
            pytest.skip(f"npm could not install the openai SDK: {done.stderr.strip()[-200:]}")
    return path


@pytest.mark.parametrize("way", ["reverse-plain", "reverse-h2"])
def test_node_sdk(way: str, node: str, running: Running) -> None:
    proxy = running.proxy
    environment = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    environment |= {"OPENAI_API_KEY": running.token, "LATE": ",".join(map(str, LATE))}
    environment["OPENAI_BASE_URL"] = f"{proxy.reverse_url}/v1"
    if way == "reverse-h2":
        environment["OPENAI_BASE_URL"] = f"{proxy.reverse_url}/v1".replace("http:", "https:")
        environment |= {"HTTP2": "1", "CA_FILE": str(proxy.ca_file)}
    done = subprocess.run(
        [node, str(NODE / "streams.mjs")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr + proxy.output[-2000:]
    assert json.loads(done.stdout) == ["one two three"] * 2 * len(LATE)
    assert checked(running.events(2 * len(LATE))) == 2 * len(LATE)


RUN = {"object": "thread.run", "id": "run_1", "thread_id": "thread_1", "model": MODEL}
TOLD = {"usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}
IMAGE = {"type": "image_generation.completed", "b64_json": "aGk="}
STREAMS = {
    "run": (
        "/v1/threads/runs",
        [{**RUN, "status": "queued"}, {**RUN, **TOLD, "status": "completed"}],
        b"completed",
    ),
    "image": (
        "/v1/images/generations",
        [{**IMAGE, "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}}],
        b"completed",
    ),
    "failed response": (
        "/v1/responses",
        [
            {"type": "response.created", "response": {"id": "resp_9", "status": "in_progress"}},
            {
                "type": "response.failed",
                "response": {"id": "resp_9", "status": "failed", "error": {"code": "x", "message": "y"}},
            },
        ],
        b"failed",
    ),
}


@pytest.mark.parametrize("name", STREAMS)
def test_streams_without_a_done_end_with_their_last_event(name: str, running: Running) -> None:
    path, events, last = STREAMS[name]
    running.upstream.handler = lambda seen: stream_answer([*events_of(events), 20.0])
    body = {"model": MODEL, "stream": True, "input": "x", "prompt": "x"}
    request = {"json": body, "headers": {"authorization": f"Bearer {running.token}"}, "timeout": 60}
    with httpx.stream("POST", running.proxy.reverse_url + path, trust_env=False, **request) as answer:
        assert answer.status_code == 200
        for piece in answer.iter_bytes():
            if last in piece:
                break
    running.upstream.handler = late_answer
    call = running.events(1)[0]
    assert call["truncated"] == []
    assert call["outcome"] == ("http_error" if "failed" in name else "ok")


def test_upstream_that_breaks_off_behind_the_last_event(running: Running) -> None:
    running.upstream.handler = lambda seen: stream_answer([*chat_chunks(), ABORT])
    with reverse_sdk(running.proxy, running.token) as client, chat(client, stream=True) as stream:
        assert len(list(stream)) > 0
    running.upstream.handler = late_answer
    assert checked(running.events(1)) == 1
