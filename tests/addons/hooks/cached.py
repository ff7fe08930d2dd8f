"""A proxy's hooks with a cache of answers, and an upstream that is a function: milliseconds a call."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mitmproxy import http

from addons.flow.call import open_calls
from addons.hooks.ownership import Ownership
from addons.hooks.recorder import Recorder
from addons.hooks.redaction import Redaction
from addons.hooks.response_cache import ResponseCache
from tests.addons.hooks.gated import CHAT, HELLO, Gated, gated

ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "Hi there"}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14},
}
JSON = {"content-type": "application/json"}
ASKS = {"cache-control": "public, max-age=60"}


@dataclass
class Upstream:
    """What upstream answers."""

    status: int = 200
    body: bytes = json.dumps(ANSWER).encode()
    headers: Mapping[str, str] | None = None
    pieces: tuple[bytes, ...] = ()
    """Of a stream, in the place of `body`."""
    breaks: bool = False
    """Whether it breaks off before the end."""


class Cached:
    """Calls that pass all hooks that the cache has to do with."""

    def __init__(self, world: Gated) -> None:
        self.world = world
        self.ownership, self.redaction = Ownership(world.runtime), Redaction()
        self.hook, self.recorder = ResponseCache(world.runtime), Recorder(world.runtime)
        self.token = world.token()
        self.seen: list[http.Request] = []
        """What went upstream."""

    @property
    def cache(self) -> Any:
        assert self.world.runtime.services is not None
        return self.world.runtime.services.cache

    def ask(
        self,
        upstream: Upstream | None = None,
        *,
        token: str | None = None,
        path: str = CHAT,
        body: Any = HELLO,
        headers: Mapping[str, str] | None = None,
        method: str = "POST",
    ) -> http.Response:
        """What the client gets."""
        content = b"" if method == "GET" else body
        given = ASKS if headers is None else headers
        flow = self.world.flow(token or self.token, path, content, headers=given, method=method)
        return asyncio.run(self._pass(flow, upstream or Upstream()))

    async def _pass(self, flow: http.HTTPFlow, upstream: Upstream) -> http.Response:
        await self.world.gate.requestheaders(flow)
        self.hook.requestheaders(flow)
        await self.world.gate.request(flow)
        self.world.usage.request(flow)
        streamed: list[bytes] = []
        if flow.response is None:
            self.seen.append(flow.request.copy())
            fields = [(k.encode(), v.encode()) for k, v in (upstream.headers or JSON).items()]
            flow.response = http.Response(
                b"HTTP/1.1", upstream.status, b"", http.Headers(fields), None, None, 0.0, 0.0
            )
            await self._heads(flow)
            self._body(flow, upstream, streamed)
            if upstream.breaks:
                self.recorder.error(flow)
                return flow.response
        else:
            await self._heads(flow)
        await self.ownership.response(flow)
        await self.redaction_of(flow)
        await self.hook.response(flow)
        await self.recorder.response(flow)
        if streamed:
            flow.response.raw_content = b"".join(streamed)
        return flow.response

    async def redaction_of(self, flow: http.HTTPFlow) -> None:
        self.redaction.response(flow)

    async def _heads(self, flow: http.HTTPFlow) -> None:
        await self.ownership.responseheaders(flow)
        self.redaction.responseheaders(flow)
        self.hook.responseheaders(flow)
        self.recorder.responseheaders(flow)

    def _body(self, flow: http.HTTPFlow, upstream: Upstream, streamed: list[bytes]) -> None:
        assert flow.response is not None
        stream = flow.response.stream
        if not callable(stream):
            flow.response.raw_content = upstream.body
            return
        for piece in upstream.pieces or (upstream.body,):
            passed = stream(piece)
            streamed += [passed] if isinstance(passed, bytes) else list(passed)
        if not upstream.breaks:
            last = stream(b"")
            streamed += [last] if isinstance(last, bytes) else list(last)

    def events(self) -> list[dict[str, Any]]:
        """The events on disk; the proxy is closed for them."""
        self.world.runtime.close()
        lines = [line for file in self.world.spool.glob("*.jsonl") for line in file.read_bytes().splitlines()]
        return [event for line in lines if (event := json.loads(line))["type"] == "llm_proxy_usage"]


@contextmanager
def cached(folder: Path, **options: Any) -> Iterator[Cached]:
    """A proxy's hooks with a cache of their own."""
    with gated(folder, **{"llm_cache": "memory", **options}) as world:
        try:
            yield Cached(world)
        finally:
            open_calls.clear()
