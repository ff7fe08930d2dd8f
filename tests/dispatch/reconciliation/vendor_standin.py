"""The vendor's usage and costs endpoints on this machine, fed by the tests' own traffic."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

ADMIN_KEY = "sk-admin-0123456789"
PROJECT, KEY_ID, OTHER_KEY_ID = "proj_1", "key_ours", "key_other"
REAL_KEY = "sk-proj-abcdefghijklmnopqrstuvwxyz"
PAGE = 2
"""Buckets on a page: small, so that every answer has several."""


@dataclass(frozen=True)
class Billed:
    """One call as the vendor counts it."""

    day: str
    model: str = "gpt-4o-mini-2024-07-18"
    input_tokens: int = 100
    output_tokens: int = 10
    usd: str = "0.5"
    key: str = KEY_ID
    kind: str = "completions"
    batch: bool = False


@dataclass
class VendorStandin:
    """What it bills, and how often it is rude."""

    billed: list[Billed] = field(default_factory=list)
    throttle: int = 0
    """Answers of 429 before the next good one."""
    asked: list[str] = field(default_factory=list)
    url: str = ""

    @contextmanager
    def running(self) -> Iterator[VendorStandin]:
        handler = type("Handler", (_Handler,), {"vendor": self})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def answer(self, path: str, query: dict[str, list[str]]) -> dict[str, Any]:
        if path == "/v1/organization/projects":
            return _page([{"id": PROJECT, "name": "p"}, {"id": "proj_2", "name": "q"}])
        if path == f"/v1/organization/projects/{PROJECT}/api_keys":
            keys = [{"id": OTHER_KEY_ID, "redacted_value": "sk-proj-zz********yyyy"}]
            return _page([*keys, {"id": KEY_ID, "redacted_value": f"{REAL_KEY[:10]}***{REAL_KEY[-4:]}"}])
        if path.endswith("/api_keys"):
            return _page([])
        assert "project_id" in query["group_by[]"]
        assert query["project_ids[]"] == [PROJECT]
        costs = path.endswith("/costs")
        kind = path.rpartition("/")[2]
        return self._buckets(query, lambda one: costs or one.kind == kind, _cost if costs else _usage)

    def _buckets(self, query: dict[str, list[str]], wanted: Any, shown: Any) -> dict[str, Any]:
        start, end = (int(query[name][0]) for name in ("start_time", "end_time"))
        first, days = int(query.get("page", ["0"])[0]), []
        moment = datetime.fromtimestamp(start, UTC)
        while moment.timestamp() < end:
            found = [one for one in self.billed if one.day == f"{moment:%Y-%m-%d}" and wanted(one)]
            stamp = int(moment.timestamp())
            bucket = {"object": "bucket", "start_time": stamp, "end_time": stamp + 86400}
            days.append({**bucket, "results": [shown(one) for one in found]})
            moment += timedelta(days=1)
        more = first + PAGE < len(days)
        page = _page(days[first : first + PAGE])
        return {**page, "has_more": more, "next_page": str(first + PAGE) if more else None}


def _usage(one: Billed) -> dict[str, Any]:
    return {
        "object": f"organization.usage.{one.kind}.result",
        "input_tokens": one.input_tokens,
        "output_tokens": one.output_tokens,
        "num_model_requests": 1,
        "project_id": PROJECT,
        "api_key_id": one.key,
        "model": one.model,
        "batch": one.batch,
        "user_id": None,
    }


def _cost(one: Billed) -> dict[str, Any]:
    amount = {"value": float(Decimal(one.usd)), "currency": "usd"}
    line = {"line_item": f"{one.model}, input", "project_id": PROJECT, "api_key_id": one.key}
    return {"object": "organization.costs.result", "amount": amount, **line}


def _page(data: list[dict[str, Any]]) -> dict[str, Any]:
    return {"object": "page", "data": data, "has_more": False, "next_page": None}


class _Handler(BaseHTTPRequestHandler):
    vendor: VendorStandin

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.vendor.asked.append(parts.path)
        status, body = 200, b""
        if self.headers["authorization"] != f"Bearer {ADMIN_KEY}":
            status, body = 401, b'{"error": {"message": "no"}}'
        elif self.vendor.throttle:
            self.vendor.throttle -= 1
            status = 429
        else:
            body = json.dumps(self.vendor.answer(parts.path, parse_qs(parts.query))).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass
