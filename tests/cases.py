"""The judged cases beside the repository, where they are present: exchanges and the right figures.

They are not part of the repository; a clone without them skips the tests that want them. Each kind of case is
a scenario in tests/scenarios as well.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from mitmproxy import http
from mitmproxy.io import FlowWriter
from mitmproxy.test import tflow

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "cases" / "usage"
STARTED = 1_795_900_000.0
"""November 2026: the prices of that day hold."""

PRICED = sys.version_info >= (3, 12)
"""The last genai-prices for Python 3.11 lacks prices of younger models."""

FOUND = sorted(FOLDER.glob("*.json"))


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    request: Mapping[str, Any]
    response: Mapping[str, Any]
    expected: Mapping[str, Any]
    live: bool
    """Whether it must go through a proxy that runs; else it is imported."""
    closes_after: bytes | None
    """What the client waits for before it leaves."""
    hang_before_end: float

    @property
    def request_body(self) -> bytes:
        body = self.request["body"]
        return body.encode() if isinstance(body, str) else json.dumps(body).encode()

    @property
    def response_body(self) -> bytes:
        parts = self.response.get("body_parts") or [self.response.get("body", "")]
        texts = (part if isinstance(part, str) else part["repeat"] * part["times"] for part in parts)
        return "".join(texts).encode()

    def flow(self) -> http.HTTPFlow:
        """The exchange as mitmproxy records it."""
        asked, answered = self.request, self.response
        url = f"https://{asked['host']}{asked['path']}"
        flow = tflow.tflow(
            req=http.Request.make(asked["method"], url, self.request_body, dict(asked["headers"])),
            resp=http.Response.make(answered["status"], self.response_body, dict(answered["headers"])),
        )
        flow.id = f"case-{self.name}"
        flow.request.timestamp_start = STARTED
        assert flow.response is not None
        flow.response.timestamp_start = flow.response.timestamp_end = STARTED + 1
        return flow


def cases(*, live: bool) -> list[Any]:
    """The parameters of a test that takes one case; without cases one that is skipped with the reason."""
    found = [case for case in map(_read, FOUND) if case.live == live]
    absent = pytest.param(None, marks=pytest.mark.skip(reason=f"the judged cases are not here: {FOLDER}"))
    return [pytest.param(case, id=case.name) for case in found] or [absent]


def flow_file(found: list[Case]) -> bytes:
    file = io.BytesIO()
    writer = FlowWriter(file)
    for case in found:
        writer.add(case.flow())
    return file.getvalue()


def _read(path: Path) -> Case:
    value = json.loads(path.read_text("utf-8"))
    closes_after = value.get("client", {}).get("closes_after")
    return Case(
        value["name"],
        value["request"],
        value["response"],
        value["expected"],
        "live" in value["door"].partition(";")[0],
        closes_after.encode() if closes_after else None,
        float(value["response"].get("hang_before_end_s", 0)),
    )


def differences(case: Case, event: Mapping[str, Any]) -> list[str]:
    """What is not as expected; nothing where a wrong figure is marked, and the case allows that."""
    wrong: dict[str, tuple[Any, Any]] = {}
    for name, value in case.expected.items():
        if name == "or_lower_bound":
            continue
        wanted = value if name == "usage" else {name: value}
        prefix = "usage." if name == "usage" else ""
        for path, figure in wanted.items():
            found = _at(event, prefix + path)
            if not _same(found, figure):
                wrong[prefix + path] = found, figure
    if case.expected.get("or_lower_bound") and is_marked(event):
        wrong = {path: pair for path, pair in wrong.items() if not path.startswith(("usage.", "cost"))}
    if not PRICED:
        wrong = {path: pair for path, pair in wrong.items() if not path.startswith("cost")}
    return [f"{path} is {found!r}, not {figure!r}" for path, (found, figure) in wrong.items()]


def is_marked(event: Mapping[str, Any]) -> bool:
    """Whether an event says that its figures are not the whole."""
    usage, cost = event["usage"], event["cost"]
    return usage is None or usage.get("complete") is False or cost["usd"] is None or "reason" in cost


def _same(found: Any, wanted: Any) -> bool:
    if isinstance(found, str) and isinstance(wanted, str) and wanted.replace(".", "", 1).isdigit():
        return Decimal(found) == Decimal(wanted)
    return bool(found == wanted)


def _at(event: Mapping[str, Any], path: str) -> Any:
    if path == "cost":
        return (event["cost"] or {}).get("usd")
    if path in ("text", "tool_calls"):
        message = event["response"]["body"]["choices"][0]["message"]
        calls = [
            [call["function"]["name"], call["function"]["arguments"]]
            for call in message.get("tool_calls", [])
        ]
        return message.get("content") if path == "text" else calls
    found: Any = event
    for step in path.split("."):
        found = found.get(step) if isinstance(found, Mapping) else None
    return found
