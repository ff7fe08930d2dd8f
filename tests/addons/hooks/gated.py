"""A gate with a store, a ledger and a spool of its own, asked without a proxy: milliseconds a call."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mitmproxy import http
from mitmproxy.addonmanager import Loader
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import taddons, tflow

from addons.flow import flow_metadata
from addons.flow.call import Call, open_calls
from addons.hooks.gate import Gate
from addons.hooks.include_usage import IncludeUsage
from addons.runtime import Runtime
from addons.settings import options as our_options
from store.core.secret import Secret
from store.tokens.limits import of
from store.tokens.models import Token
from store.tokens.store import TokenStore

CHAT = "/v1/chat/completions"
HELLO = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}
HANDSHAKE = {
    "connection": "Upgrade",
    "upgrade": "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
}


class _Runtime(Runtime):
    """The runtime, which leaves mitmproxy's internals of this process as they are."""

    def load(self, loader: Loader) -> None:
        our_options.declare(loader)


class Gated:
    """Asks the gate as mitmproxy does, hook by hook."""

    def __init__(self, folder: Path, context: taddons.context, **options: Any) -> None:
        self.context, self.folder, self.spool = context, folder, folder / "spool"
        self.store = TokenStore.open(folder / "store.db")
        self.project = self.store.create_project("acme", "sk-real-0123456789abcdefghij")
        self.runtime = _Runtime()
        context.master.addons.add(self.runtime)
        settings = {"llm_store": str(folder / "store.db"), "llm_spool": str(folder / "spool"), **options}
        context.configure(self.runtime, **settings)
        self.gate = Gate(self.runtime)
        self.usage = IncludeUsage(self.runtime)

    def token(self, limits: Mapping[str, Any] | None = None, **policy: Any) -> str:
        """The text of a new token."""
        return self.new_token(limits, **policy)[1].reveal()

    def new_token(self, limits: Mapping[str, Any] | None = None, **policy: Any) -> tuple[Token, Secret]:
        """A new token, and its text."""
        return self.store.create_token(self.project.id, limits=of(limits or {}), **policy)

    def flow(
        self,
        token: str | None = None,
        path: str = CHAT,
        body: Any = HELLO,
        *,
        method: str = "POST",
        headers: Mapping[str, str | bytes] | None = None,
        client: str = "127.0.0.1",
    ) -> http.HTTPFlow:
        """A call to the reverse listener, as it comes; `body` is bytes, or becomes JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        flow = tflow.tflow()
        flow.client_conn.proxy_mode = ProxyMode.parse("reverse:https://api.openai.com")
        flow.client_conn.peername = (client, 50_000)
        flow.request = http.Request.make(method, f"https://api.openai.com{path}", content)
        if token is not None:
            flow.request.headers["authorization"] = f"Bearer {token}"
        given = {"content-type": "application/json"} if method == "POST" else {}
        for name, value in {**given, **(headers or {})}.items():
            if value:
                flow.request.headers[name] = value
        return flow

    def ask(self, token: str | None = None, path: str = CHAT, body: Any = HELLO, **how: Any) -> Reply:
        """What becomes of one call."""
        return asyncio.run(self.pass_through(self.flow(token, path, body, **how)))

    async def pass_through(self, flow: http.HTTPFlow) -> Reply:
        """Run the hooks that come before upstream is dialled."""
        await self.gate.requestheaders(flow)
        call = open_calls.get(flow.id)
        await self.gate.request(flow)
        self.usage.request(flow)
        open_calls.pop(flow.id, None)
        return Reply(flow, call)

    def close(self) -> None:
        self.runtime.close()
        self.store.close()


class Reply:
    """A call that the gate has judged."""

    def __init__(self, flow: http.HTTPFlow, call: Call | None) -> None:
        self.flow, self.call = flow, call

    @property
    def status(self) -> int:
        """Of the refusal; 0 where the call may pass."""
        return self.flow.response.status_code if self.flow.response else 0

    @property
    def error(self) -> dict[str, Any]:
        assert self.flow.response is not None, "the call was not refused"
        found: dict[str, Any] = self.flow.response.json()["error"]
        return found

    @property
    def code(self) -> str | None:
        """Of the refusal; None where the call may pass. Event and client have the same."""
        if self.flow.response is None:
            assert flow_metadata.CLEARED in self.flow.metadata
            assert self.call is None or self.call.refused is None
            return None
        assert flow_metadata.CLEARED not in self.flow.metadata
        assert self.call is not None
        assert self.call.refused is not None
        return self.call.refused


@contextmanager
def gated(folder: Path, **options: Any) -> Iterator[Gated]:
    """A gate of its own for a test, or for a module's tests."""
    with taddons.context() as context:
        made = Gated(folder, context, **options)
        try:
            yield made
        finally:
            made.close()
