"""SIGTERM: no new connections, answers under way end, sessions get their close; then the process ends."""

from __future__ import annotations

import signal
import threading
import time
from typing import Any

import httpx

from tests.live.clients import chat, reverse_sdk
from tests.live.conftest import StartProxy, Tenant, chat_chunks
from tests.live.harness import Proxy, wait_for
from tests.live.upstream import Upstream, stream_answer


def terminate(proxy: Proxy) -> None:
    """Send SIGTERM, and wait until it has taken effect."""
    proxy.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "stopping" in proxy.output, "the proxy's stop")


def refuses_connections(proxy: Proxy) -> bool:
    try:
        httpx.get(f"{proxy.reverse_url}/v1/models", trust_env=False, timeout=5)
    except httpx.ConnectError:
        return True
    return False


def test_answers_under_way_end(start_proxy: StartProxy, tenant: Tenant, upstream: Upstream) -> None:
    go_on = threading.Event()
    chunks: list[Any] = chat_chunks()
    upstream.handler = lambda seen: stream_answer([*chunks[:1], go_on, *chunks[1:]])
    proxy = start_proxy()
    with reverse_sdk(proxy, tenant.token()[1]) as client:
        stream = iter(chat(client, stream=True))
        words = [next(stream).choices[0].delta.content]
        terminate(proxy)
        wait_for(lambda: refuses_connections(proxy), "the end of listening")
        go_on.set()
        words += [piece.choices[0].delta.content for piece in stream if piece.choices]
    assert [word for word in words if word] == ["one ", "two ", "three"]
    assert proxy.wait(30) == 0
    assert [call["outcome"] for call in proxy.calls()] == ["ok"]


def test_the_grace_is_bounded(start_proxy: StartProxy, tenant: Tenant, upstream: Upstream) -> None:
    upstream.handler = lambda seen: stream_answer([chat_chunks()[0], threading.Event()])
    proxy = start_proxy("llm_shutdown_grace=1")
    with reverse_sdk(proxy, tenant.token()[1]) as client:
        stream = iter(chat(client, stream=True))
        next(stream)
        began = time.monotonic()
        terminate(proxy)
        assert proxy.wait(60) == 0
    assert time.monotonic() - began >= 1
    assert [call["outcome"] for call in proxy.calls()] == ["shutdown"]
    assert "1 calls are cut by the end of the proxy" in proxy.output


def test_without_calls_it_ends_at_once(start_proxy: StartProxy) -> None:
    proxy = start_proxy("llm_shutdown_grace=600")
    proxy.process.send_signal(signal.SIGTERM)
    assert proxy.wait(60) == 0
