"""Make events and spools for measurements: shaped like those of real calls, without content."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from uuid_utils import uuid7

from store.core.times import rfc3339
from store.spool import SpoolWriter

GROUP = 1000
"""Events of one write."""


def event(number: int, at: datetime) -> dict[str, Any]:
    """Give one chat completion; about a kilobyte as a line of the spool."""
    return {
        "schema": 1,
        "event_id": str(uuid7()),
        "type": "llm_proxy_usage",
        "timestamp": rfc3339(at),
        "duration_ms": 1200 + number % 700,
        "time_to_first_byte_ms": 310,
        "time_to_first_token_ms": 350 + number % 90,
        "outcome": "ok",
        "status": 200,
        "error": None,
        "request_id": str(uuid7()),
        "upstream_request_id": f"req_{number:032x}",
        "method": "POST",
        "host": "api.openai.com",
        "path": "/v1/chat/completions",
        "endpoint": "chat",
        "stream": True,
        "api_version": "2020-10-01",
        "project_id": "01a21102-cec9-72d8-ba5f-a8ac0136e112",
        "project_name": "search",
        "token_id": "01a21102-cec9-72d8-ba5f-a8ac0136e113",
        "token_metadata": {"team": "ranking", "env": "production"},
        "user": {"id": f"user-{number % 500}", "source": "token_metadata.user_id"},
        "client": {"ip": "10.0.3.7", "user_agent": "OpenAI/Python 2.8.1", "sdk": "python/2.8.1"},
        "model": "gpt-4o-mini-2024-07-18",
        "model_requested": "gpt-4o-mini",
        "service_tier": "default",
        "finish_reasons": ["stop"],
        "response_id": f"chatcmpl-{number:024x}",
        "previous_response_id": None,
        "conversation_id": None,
        "usage": {
            "input_tokens": 900 + number % 300,
            "output_tokens": 150 + number % 60,
            "total_tokens": 1050 + number % 300 + number % 60,
            "input_tokens_details": {"cached_tokens": 512},
            "output_tokens_details": {"reasoning_tokens": 0},
            "source": "api",
        },
        "usage_missing": None,
        "cost": {"usd": "0.000187", "price_source": "genai-prices/0.2.3"},
        "rate_limit": {"limit_requests": 10000, "remaining_requests": 9998, "remaining_tokens": 199000},
        "truncated": [],
        "dropped": {},
    }


def events(count: int) -> Iterator[dict[str, Any]]:
    """Yield `count` events of the last hour, in order."""
    begin = datetime.now(UTC) - timedelta(hours=1)
    step = timedelta(hours=1) / max(count, 1)
    return (event(number, begin + number * step) for number in range(count))


def fill(spool: Path, count: int) -> None:
    """Fill a spool with `count` events, as one proxy that then ended leaves it."""
    writer = SpoolWriter(spool)
    group: list[dict[str, Any]] = []
    for made in events(count):
        group.append(made)
        if len(group) == GROUP:
            writer.append(group)
            group = []
    if group:
        writer.append(group)
    writer.close()
