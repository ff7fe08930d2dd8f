"""What live tests share: a certificate authority, an upstream, a store with a token, and a proxy."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.live.harness import SCRIPT, Proxy
from tests.live.served import Served, serving
from tests.live.tenant import REAL_KEY, Tenant
from tests.live.upstream import Answer, Seen, Upstream, json_answer, stream_answer

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.live)


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def authority_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(file)
    return file


@pytest.fixture
def upstream(authority: trustme.CA) -> Iterator[Upstream]:
    with Upstream(answer, authority.issue_cert("localhost")).running() as running:
        yield running


@pytest.fixture
def tenant(tmp_path: Path) -> Iterator[Tenant]:
    tenant = Tenant(tmp_path / "store.db")
    yield tenant
    tenant.store.close()


StartProxy = Callable[..., Proxy]


@pytest.fixture
def start_proxy(
    tmp_path: Path, tenant: Tenant, upstream: Upstream, authority_file: Path
) -> Iterator[StartProxy]:
    """Start a proxy in front of the upstream; it is stopped when the test ends."""
    with ExitStack() as stack:

        def start(*options: str, upstream_url: str = upstream.base_url, **settings: Any) -> Proxy:
            settings.setdefault("scripts", (SCRIPT,))
            proxy = Proxy(
                tmp_path,
                [
                    f"llm_upstream={upstream_url}",
                    f"ssl_verify_upstream_trusted_ca={authority_file}",
                    *options,
                ],
                **settings,
            )
            return stack.enter_context(proxy)

        yield start


@pytest.fixture
def proxy(start_proxy: StartProxy) -> Proxy:
    return start_proxy()


class Running:
    """A proxy, its upstream and a token, shared by the tests of a module."""

    def __init__(self, proxy: Proxy, tenant: Tenant, upstream: Upstream) -> None:
        self.proxy, self.tenant, self.upstream = proxy, tenant, upstream
        self.token = tenant.token()[1]
        self.url = f"{proxy.reverse_url}/v1/chat/completions"
        self._seen = 0

    def look_from_here(self) -> None:
        """Leave out what a test before this one has not looked at, since it failed."""
        self._seen = len(self.proxy.calls())

    def events(self, count: int) -> list[dict[str, Any]]:
        """The events of the `count` calls made since the last look."""
        calls = self.proxy.wait_calls(self._seen + count)[self._seen :]
        self._seen += count
        assert len(calls) == count
        return calls


@pytest.fixture(autouse=True)
def _each_test_for_itself(request: pytest.FixtureRequest) -> None:
    if "running" in request.fixturenames:
        shared = request.getfixturevalue("running")
        if isinstance(shared, Running):
            shared.look_from_here()


@pytest.fixture(scope="module")
def start_shared(
    authority: trustme.CA, authority_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Running]]:
    """Start a proxy with an upstream and a store of its own; it runs until the module's tests are done."""
    with ExitStack() as stack:

        def start(*options: str, upstream_url: str | None = None, **how: Any) -> Running:
            folder = tmp_path_factory.mktemp("shared")
            tenant = Tenant(folder / "store.db")
            stack.callback(tenant.store.close)
            upstream = stack.enter_context(Upstream(answer, authority.issue_cert("localhost")).running())
            settings = [
                f"llm_upstream={upstream_url or upstream.base_url}",
                f"ssl_verify_upstream_trusted_ca={authority_file}",
                *options,
            ]
            proxy = stack.enter_context(Proxy(folder, settings, **how))
            return Running(proxy, tenant, upstream)

        yield start


USAGE = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}


def chunk(**changes: Any) -> bytes:
    value = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [],
        **changes,
    }
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def delta(content: str | None = None, finish: str | None = None) -> bytes:
    message = {} if content is None else {"content": content}
    return chunk(choices=[{"index": 0, "delta": message, "finish_reason": finish}])


def chat_chunks() -> list[bytes]:
    """A streamed chat answer: three words, then the usage."""
    words = [delta(word) for word in ("one ", "two ", "three")]
    return [*words, delta(finish="stop"), chunk(usage=USAGE), b"data: [DONE]\n\n"]


def answer(seen: Seen) -> Answer:
    """The upstream's answers unless a test sets others; 401 for any key but the project's."""
    if seen.header("authorization") != f"Bearer {REAL_KEY}":
        return json_answer({"error": {"message": "wrong key", "type": "invalid_request_error"}}, 401)
    path = seen.path.partition("?")[0]
    wants_stream = bool(seen.body[:1] == b"{" and seen.json.get("stream"))
    if path == "/v1/chat/completions":
        return stream_answer(chat_chunks()) if wants_stream else json_answer(CHAT, headers=[RATE])
    if path == "/v1/responses":
        return stream_answer(response_chunks()) if wants_stream else json_answer(RESPONSE)
    if path == "/v1/embeddings":
        return json_answer(EMBEDDING)
    return json_answer({"object": "list", "data": []})


RATE = ("x-ratelimit-remaining-tokens", "149984")

CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1700000000,
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "one two three"},
            "finish_reason": "stop",
        }
    ],
    "usage": USAGE,
}

RESPONSE: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1700000000,
    "status": "completed",
    "model": "gpt-4o-mini-2024-07-18",
    "output": [
        {
            "type": "message",
            "id": "msg_1",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "one two three", "annotations": []}],
        }
    ],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "usage": {
        "input_tokens": 12,
        "input_tokens_details": {"cached_tokens": 4},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 17,
    },
}

EMBEDDING = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -0.5]}],
    "model": "text-embedding-3-small",
    "usage": {"prompt_tokens": 7, "total_tokens": 7},
}


def response_chunks() -> list[bytes]:
    """The event stream of RESPONSE."""
    text = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    item = RESPONSE["output"][0]
    part = item["content"][0]
    begun = {**item, "status": "in_progress", "content": []}
    started = {**RESPONSE, "status": "in_progress", "output": [], "usage": None}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": started},
        {"type": "response.output_item.added", "output_index": 0, "item": begun},
        {"type": "response.content_part.added", **text, "part": {**part, "text": ""}},
        {"type": "response.output_text.delta", **text, "delta": "one two ", "logprobs": []},
        {"type": "response.output_text.delta", **text, "delta": "three", "logprobs": []},
        {"type": "response.output_text.done", **text, "text": "one two three", "logprobs": []},
        {"type": "response.content_part.done", **text, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": RESPONSE},
    ]
    return [
        f"event: {event['type']}\ndata: {json.dumps({**event, 'sequence_number': number})}\n\n".encode()
        for number, event in enumerate(events)
    ]


@pytest.fixture(scope="module")
def served(
    authority: trustme.CA, authority_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """A running ``llmproxy serve`` with two proxies."""
    with serving(answer, authority, authority_file, tmp_path_factory.mktemp("serve")) as running:
        yield running
