"""Make the call of ``scripts/up`` through its own proxy, as any client would."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from store.spool import parse

HOST = "api.openai.com"
TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Call:
    """Describes a POST to the API."""

    path: str
    body: dict[str, Any]
    note: str


FREE = Call(
    "/v1/chat/completions",
    {
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": "Say hello."}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "user": "scripts/up",
    },
    "a streamed chat completion",
)
"""For the stand-in."""

CHEAP = Call(
    "/v1/embeddings",
    {"model": "text-embedding-3-small", "input": "hello", "encoding_format": "base64", "dimensions": 8},
    "one embedding of one word, which costs about $0.00000002",
)
"""For the real API: the cheapest call that reports usage."""


class CallFailed(Exception):
    """Says that there was no answer, or one that is not 200, and which."""


def make(call: Call, *, proxy_port: int, ca_file: Path, token: str) -> int:
    """Make `call` through the proxy's CONNECT with its authority trusted; returns the bytes of the answer.

    Raises CallFailed.
    """
    context = ssl.create_default_context(cafile=str(ca_file))
    connection = http.client.HTTPSConnection("127.0.0.1", proxy_port, context=context, timeout=TIMEOUT)
    connection.set_tunnel(HOST, 443)
    headers = {
        "authorization": f"Bearer {token}",
        "content-type": "application/json",
        "user-agent": "llmproxy-up",
    }
    try:
        connection.request("POST", call.path, json.dumps(call.body), headers)
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise CallFailed(f"no answer: {error}") from error
    finally:
        connection.close()
    if answer.status != 200:
        raise CallFailed(f"status {answer.status}: {_message(body)}")
    return len(body)


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return body[:200].decode("utf-8", "replace")


class EventFile:
    """Reads what the file sink appends from now on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = path.stat().st_size if path.exists() else 0

    def fresh(self) -> Iterator[dict[str, Any]]:
        """Give the complete lines since the last time."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._offset += len(line)
                if (event := parse(line)) is not None:
                    yield event
