from __future__ import annotations

import contextlib
import http.client
import json
import time
import urllib.request
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dispatch.delivery import Totals
from dispatch.metrics import served
from scripts.progress import ProgressLine


def scrape(port: int) -> dict[tuple[str, str], float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        assert answer.headers["content-type"].startswith("text/plain")
        text = answer.read().decode()
    return {
        (sample.name, sample.labels["sink"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_figures_of_each_sink() -> None:
    totals = {"file": Totals(sent=7, dead=1, retries=2, backlog=99), "otlp": Totals()}
    totals["otlp"].oldest, totals["otlp"].error = time.time() - 60, "down"
    with served(totals, "127.0.0.1", 0) as port:
        found = scrape(port)
        assert found["llmproxy_dispatch_sent_total", "file"] == 7
        assert found["llmproxy_dispatch_dead_total", "file"] == 1
        assert found["llmproxy_dispatch_retries_total", "file"] == 2
        assert found["llmproxy_dispatch_backlog_bytes", "file"] == 99
        assert found["llmproxy_dispatch_lag_seconds", "file"] == 0
        assert 59 < found["llmproxy_dispatch_lag_seconds", "otlp"] < 120
        assert found["llmproxy_dispatch_failing", "file"] == 0
        assert found["llmproxy_dispatch_failing", "otlp"] == 1
        totals["added"] = Totals(sent=3)
        assert scrape(port)["llmproxy_dispatch_sent_total", "added"] == 3


def health(port: int) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", "/health")
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def test_health() -> None:
    totals = {"file": Totals(sent=7), "otlp": Totals()}
    with served(totals, "127.0.0.1", 0) as port:
        status, found = health(port)
        assert (status, found["status"], found["reasons"]) == (200, "ok", [])
        assert found["sinks"]["file"]["sent"] == 7
        totals["otlp"].error = "connection refused"
        totals["file"].oldest = time.time() - 600
        status, found = health(port)
        assert (status, found["status"]) == (503, "unavailable")
        assert {(one["code"], one["sink"]) for one in found["reasons"]} == {
            ("sink_behind", "file"),
            ("sink_failing", "otlp"),
        }
        assert "connection refused" in [one["message"] for one in found["reasons"]]


def test_a_port_that_is_taken_is_named() -> None:
    with (
        served({}, "127.0.0.1", 0) as port,
        pytest.raises(OSError, match=f"--metrics-port {port}"),
        served({}, "127.0.0.1", port),
    ):
        pass


def test_the_line_of_progress() -> None:
    totals = Totals(sent=1200, retries=3, dead=1, backlog=3 * 2**20)
    totals.oldest = time.time() - 2
    text = ProgressLine().text("file", totals)
    assert text.startswith("file: 1,200 sent, ")
    assert text.endswith("/s, lag 2 s, 3.0 MB left, 3 retries, 1 dead letters")
