"""Clients as users have them: the openai SDK and httpx, through the proxy."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx
import openai

from tests.live.harness import Proxy

HELLO = [{"role": "user", "content": "hello"}]
MODEL = "gpt-4o-mini"
CHAT_URL = "https://api.openai.com/v1/chat/completions"


class OnlyHttp2(ssl.SSLContext):
    """httpx offers HTTP/1.1 before HTTP/2, and mitmproxy takes the first that it knows."""

    def set_alpn_protocols(self, alpn_protocols: Iterable[str]) -> None:
        super().set_alpn_protocols(["h2"])


def http(proxy: Proxy, *, http2: bool = False) -> httpx.Client:
    """httpx through the proxy's CONNECT, with the proxy's CA."""
    trust = OnlyHttp2(ssl.PROTOCOL_TLS_CLIENT) if http2 else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trust.load_verify_locations(proxy.ca_file)
    return httpx.Client(proxy=proxy.url, verify=trust, timeout=60, http2=http2)


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


def chat(client: openai.OpenAI, *, model: str = MODEL, **settings: Any) -> Any:
    """One chat completion."""
    return client.chat.completions.create(model=model, messages=HELLO, **settings)  # type: ignore[call-overload]


def authorised(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def socket_trust(ca_file: Path) -> ssl.SSLContext:
    """Make the trust of a WebSocket that threads use.

    TLS 1.3 brings tickets after the handshake. websockets reads them in one thread while another writes the
    request, which OpenSSL does not allow on one connection: one in 500 handshakes then waits for ever.
    """
    trust = ssl.create_default_context(cafile=str(ca_file))
    trust.maximum_version = ssl.TLSVersion.TLSv1_2
    return trust
