"""The recorded API exchanges beside the repository, where they are present.

They are not part of the repository; a clone without them skips the tests that want them.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from addons.openai import Request, Response, Summary, summarize

JSON_TYPE = [("content-type", "application/json")]
FILE = Path(__file__).resolve().parents[2] / "shared" / "corpus" / "openai_traffic.jsonl.gz"


def load() -> list[dict[str, Any]]:
    """All recorded exchanges, or skip the calling test with the reason."""
    if not FILE.exists():
        pytest.skip(f"recorded traffic is not here: {FILE}")
    return _read()


@lru_cache(maxsize=1)
def _read() -> list[dict[str, Any]]:
    with gzip.open(FILE, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def response_body(exchange: dict[str, Any]) -> bytes:
    """The response's plain bytes (after content decoding)."""
    if exchange.get("response_body_b64") is not None:
        return base64.b64decode(exchange["response_body_b64"])
    return (exchange.get("response_body") or "").encode()


def request_body(exchange: dict[str, Any]) -> bytes:
    """The request's bytes; empty where the recording holds only the response."""
    if exchange.get("request_body_b64"):
        return base64.b64decode(exchange["request_body_b64"])
    body = exchange.get("request_body")
    if body is None:
        return b""
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()


def reported_usage(exchange: dict[str, Any]) -> tuple[int, int] | None:
    """The input and output tokens that the answer reports, under whichever of the two pairs of names.

    The recording's own `usage` is the last one found at any depth; where the JSON answer has one at its top,
    that is the call's, and the others are parts of it. Zero for an answer that says something is no report.
    """
    usage = exchange["usage"]
    with contextlib.suppress(ValueError, AttributeError):
        usage = json.loads(response_body(exchange)).get("usage") or usage
    for inputs, outputs in (("input_tokens", "output_tokens"), ("prompt_tokens", "completion_tokens")):
        if usage and inputs in usage:
            given = usage[inputs]
            written = usage.get(outputs) or 0
            details = usage.get(outputs.replace("tokens", "tokens_details")) or {}
            # Thinking is output, also where it is beside it: the total shows that, or that it is larger.
            beside = thought if (thought := details.get("reasoning_tokens") or 0) > written else 0
            found = given, max(written + beside, (usage.get("total_tokens") or 0) - given)
            return found if any(found) else None
    return None


def summary(exchange: dict[str, Any]) -> Summary:
    """What the exchange is understood to be, from its plain bodies."""
    request = Request(exchange["method"], exchange["url"], JSON_TYPE, request_body(exchange))
    recorded = exchange.get("response_headers") or {}
    pairs = recorded.items() if isinstance(recorded, dict) else recorded
    headers = [(name, str(value)) for name, value in pairs if name.lower() != "content-encoding"]
    return summarize(request, Response(exchange["status"], headers, response_body(exchange)))
