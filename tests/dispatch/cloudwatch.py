"""CloudWatch for tests: moto as a process. It accepts much that the service refuses, so the strict server of
scripts/benchmarks stands beside it."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import boto3

REGION = "eu-central-1"


@contextlib.contextmanager
def moto_server() -> Iterator[str]:
    """The address of a moto server in a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert time.monotonic() < deadline, "moto did not start"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def client(endpoint: str, service: str = "logs") -> Any:
    return boto3.client(
        service,  # type: ignore[call-overload]
        region_name=REGION,
        endpoint_url=endpoint,
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )


def stored(endpoint: str, group: str) -> list[dict[str, Any]]:
    """Every message that the log group holds, with its time as `stored_at`, in the order of time."""
    pages = client(endpoint).get_paginator("filter_log_events").paginate(logGroupName=group)
    return [
        {**json.loads(event["message"]), "stored_at": event["timestamp"]}
        for page in pages
        for event in page["events"]
    ]


def check_dashboard(board: dict[str, Any]) -> None:
    """By "Dashboard body structure and syntax"."""
    taken: set[tuple[int, int]] = set()
    assert 0 < len(board["widgets"]) <= 500
    for widget in board["widgets"]:
        assert widget["type"] in {"metric", "log"}
        assert 0 <= widget["x"] <= 23
        assert widget["x"] + widget["width"] <= 24
        assert 1 <= widget["height"] <= 1000
        cells = {
            (widget["x"] + column, widget["y"] + row)
            for column in range(widget["width"])
            for row in range(widget["height"])
        }
        assert not cells & taken, "widgets don't overlap"
        taken |= cells
        properties = widget["properties"]
        assert properties["region"]
        assert properties["title"]
        if widget["type"] == "log":
            assert properties["query"].startswith("SOURCE '")
            assert properties["view"] in {"table", "timeSeries", "bar", "pie"}
        else:
            assert properties["metrics"]
            identities = [
                part["id"] for metric in properties["metrics"] for part in metric[-1:] if "id" in part
            ]
            assert len(identities) == len(set(identities))
