"""What the tests of the CloudWatch sink share."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dispatch.delivery import Totals
from store.spool import Record

Drain = Callable[..., Totals]


def ids(messages: Sequence[dict[str, Any]]) -> list[str]:
    return [message["event_id"] for message in messages if message["type"] == "llm_proxy_usage"]


def letters(spool: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (spool / "dead" / "cloudwatch.jsonl").read_text().splitlines()]


def record(value: dict[str, Any]) -> Record:
    return Record(b"", value, "s", 0)
