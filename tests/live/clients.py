"""Clients as users have them: the openai SDK and httpx, through the proxy."""

from __future__ import annotations

import ssl
from typing import Any

import httpx
import openai

from tests.live.harness import Proxy

HELLO = [{"role": "user", "content": "hello"}]
MODEL = "gpt-4o-mini"
CHAT_URL = "https://api.openai.com/v1/chat/completions"


def http(proxy: Proxy, **settings: Any) -> httpx.Client:
    """httpx through the proxy's CONNECT, with the proxy's CA."""
    trust = ssl.create_default_context(cafile=str(proxy.ca_file))
    return httpx.Client(proxy=proxy.url, verify=trust, timeout=60, **settings)


def sdk(proxy: Proxy, token: str, *, http2: bool = False) -> openai.OpenAI:
    """The openai SDK through the proxy's CONNECT; never retries."""
    return openai.OpenAI(api_key=token, max_retries=0, http_client=http(proxy, http2=http2))


def reverse_sdk(proxy: Proxy, token: str) -> openai.OpenAI:
    """The openai SDK with the reverse listener as its base URL; plain http on the way to the proxy."""
    return openai.OpenAI(
        api_key=token,
        base_url=f"{proxy.reverse_url}/v1",
        max_retries=0,
        http_client=httpx.Client(trust_env=False, timeout=60),
    )


def chat(client: openai.OpenAI, **settings: Any) -> Any:
    """One chat completion."""
    return client.chat.completions.create(model=MODEL, messages=HELLO, **settings)  # type: ignore[call-overload]


def authorised(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}
