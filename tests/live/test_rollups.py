"""The hourly sums in the store are those of the events in the spool, exactly, whatever is killed when."""

from __future__ import annotations

import itertools
import json
import os
import random
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from scripts.cli import main
from store.core.event import UsageEvent
from store.core.event_fields import read_call
from store.database.engines import engine_of
from store.spool import SpoolReader, usage_checkpoint
from store.tokens import limits
from store.tokens.calendar import TOTAL
from store.usage.rollups import FIGURES, KEY, line_of
from tests.live.clients import HELLO, MODEL, authorised
from tests.live.conftest import StartProxy, Tenant
from tests.live.harness import wait_for
from tests.live.test_journal import load, slowly
from tests.live.upstream import Upstream, json_answer

ROUNDS = int(os.environ.get("LLMPROXY_KILL_ROUNDS", "3"))
"""By hand: LLMPROXY_KILL_ROUNDS=100 pytest tests/live/test_rollups.py -m slow"""


def drain(spool: Path, events: dict[str, dict[str, Any]]) -> None:
    """Be a dispatcher: read what is there, and tidy up, so that what is not needed any more is gone."""
    with SpoolReader(spool, "test") as reader:
        while batch := reader.read():
            events |= {record.value["event_id"]: record.value for record in batch.records}
            reader.commit(batch)
        reader.reclaim()


def sums(events: dict[str, dict[str, Any]]) -> dict[tuple[Any, ...], dict[str, int]]:
    found: dict[tuple[Any, ...], Counter[str]] = {}
    for event in events.values():
        if isinstance(read := read_call(event), UsageEvent):
            line = line_of(read)
            found.setdefault(line.key, Counter()).update(line.figures)
    return {key: {name: total[name] for name in FIGURES} for key, total in found.items()}


def table(store: Path) -> dict[tuple[Any, ...], dict[str, int]]:
    connection = engine_of(store).connect()
    rows = connection.rows("SELECT * FROM usage_hours")
    connection.close()
    return {tuple(row[name] for name in KEY): {name: row[name] for name in FIGURES} for row in rows}


def spent(store: Path, subject: str) -> Mapping[str, int]:
    connection = engine_of(store).connect()
    (row,) = connection.rows(
        "SELECT requests, tokens FROM spend WHERE subject = :subject AND period = :period",
        subject=subject,
        period=TOTAL,
    )
    connection.close()
    return row


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_kill_9_under_load(start_proxy: StartProxy, tenant: Tenant, upstream: Upstream) -> None:
    rng = random.Random(11)
    upstream.handler = slowly
    token_id, token = tenant.token(metadata={"user_id": "ada"})
    numbers = itertools.count(1)
    events: dict[str, dict[str, Any]] = {}
    caught_up = 0
    for _ in range(ROUNDS):
        proxy = start_proxy("flow_detail=0", "llm_capture=none")
        stop = threading.Event()
        clients = [threading.Thread(target=load, args=(proxy, token, numbers, stop)) for _ in range(6)]
        before = len(upstream.requests)
        for client in clients:
            client.start()
        wait_for(lambda before=before: len(upstream.requests) > before + 10, "first calls")
        stop.wait(rng.uniform(0, 0.6))
        proxy.kill()
        stop.set()
        for client in clients:
            client.join(20)
        for _ in range(2):  # the first one makes events of the calls that were cut off
            drain(proxy.spool, events)
        caught_up += sums(events) != table(proxy.store)
    proxy = start_proxy()
    wait_for(lambda: len(usage_checkpoint.behind(proxy.spool)) == 1, "all but its own are taken in", 60)
    proxy.stop()
    assert usage_checkpoint.behind(proxy.spool) == {}
    drain(proxy.spool, events)
    assert table(proxy.store) == sums(events)
    assert caught_up, "no kill left anything to be taken in: the test tests nothing"
    calls = [event for event in events.values() if event["type"] == "llm_proxy_usage"]
    assert any(event["outcome"] == "proxy_died" for event in calls)
    sent = [event for event in calls if event["usage_missing_code"] != "not_sent"]
    for subject in (token_id, tenant.project.id):
        assert spent(proxy.store, subject)["requests"] == len(sent)
    assert list(proxy.spool.glob("*.jsonl")) == []
    print(f"{ROUNDS} kills: {len(calls)} calls, {caught_up} times not all was in the store")


def test_budgets_tell_how_far_they_are_used_up(
    start_proxy: StartProxy, tenant: Tenant, upstream: Upstream
) -> None:
    usage = {"prompt_tokens": 900_000, "completion_tokens": 100_000, "total_tokens": 1_000_000}
    upstream.handler = lambda seen: json_answer({"model": MODEL, "choices": [], "usage": usage})
    budget = limits.of({"budgets": {"tokens": {"month": 2_000_000}}})
    token_id, token = tenant.token(limits=budget)
    proxy = start_proxy()

    def marks() -> list[tuple[Any, ...]]:
        found = [record for record in proxy.records() if record["type"] == "llm_proxy_budget"]
        return [(one["token_id"], one["limit"], one["reached"], one["percent"]) for one in found]

    for expected in (1, 3):
        body = {"model": MODEL, "messages": HELLO}
        url = f"{proxy.reverse_url}/v1/chat/completions"
        httpx.post(url, headers=authorised(token), json=body, trust_env=False).raise_for_status()
        wait_for(lambda expected=expected: len(marks()) == expected, "marks")
    name = "tokens/month"
    assert marks() == [(token_id, name, 50, 50.0), (token_id, name, 80, 100.0), (token_id, name, 100, 100.0)]
    proxy.stop()
    result = CliRunner().invoke(main, ["--store", str(proxy.store), "report", "budgets", "--json"])
    assert [row["reached"] for row in json.loads(result.output)] == [100]
    result = CliRunner().invoke(main, ["--store", str(proxy.store), "report", "usage", "--json"])
    assert [row["total_tokens"] for row in json.loads(result.output)] == [2_000_000]
