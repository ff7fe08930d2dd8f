"""The dispatcher is killed again and again; nothing is lost, and little is sent twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from scripts.benchmarks.strict_cloudwatch import StrictCloudWatch
from store.spool import SpoolReader, SpoolWriter
from tests import nursery
from tests.dispatch.conftest import Run, command, environment, to_cloudwatch, usage_event

KILLS = int(os.environ.get("LLMPROXY_KILL_ROUNDS", "20"))
"""By hand: LLMPROXY_KILL_ROUNDS=100 pytest tests/dispatch/test_durability.py -m slow"""
BATCH = 50


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_kill_9_of_the_dispatcher(strict: StrictCloudWatch, group: str, spool: Path, dispatch: Run) -> None:
    rng = random.Random(3)
    written: list[str] = []
    stop = threading.Event()
    writer = SpoolWriter(spool, segment_bytes=200_000)

    def work() -> None:
        while not stop.is_set():
            events = [usage_event(n) for n in range(rng.randint(1, 40))]
            writer.append(events)
            written.extend(event["event_id"] for event in events)
            stop.wait(0.02)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(KILLS):
            before = len(strict.puts)
            arguments = to_cloudwatch(strict.url, group, "--follow", "--batch-size", str(BATCH))
            process = nursery.start(command(spool, *arguments), env=environment())
            deadline = time.monotonic() + 60
            # Sometimes before the first request, mostly in the midst of the work.
            while rng.random() < 0.95 and len(strict.puts) == before and time.monotonic() < deadline:
                time.sleep(0.005)
            time.sleep(rng.uniform(0, 0.1))
            process.send_signal(signal.SIGKILL)
            process.wait(10)
    finally:
        stop.set()
        thread.join(10)
        writer.close()
    assert dispatch(*to_cloudwatch(strict.url, group)).returncode == 0
    found = Counter(m["event_id"] for m in strict.messages(group) if m["type"] == "llm_proxy_usage")
    assert set(found) == set(written)
    # All but the first ones: a dispatcher may be killed before it has made the group and its stream.
    outcomes = [put.outcome for put in strict.puts]
    assert set(outcomes[outcomes.index("stored") :]) == {"stored"}
    assert sum(found.values()) - len(found) <= KILLS * BATCH
    with SpoolReader(spool, "cloudwatch") as reader:
        assert reader.backlog() == 0


def test_stop_by_signal(moto: str, group: str, spool: Path) -> None:
    """SIGTERM ends a follower with 0, and what it sent is not sent again."""
    writer = SpoolWriter(spool)
    writer.append([usage_event(1)])
    process = subprocess.Popen(
        command(spool, *to_cloudwatch(moto, group, "--follow")),
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    cursor = spool / "cursors" / "cloudwatch.json"
    while time.monotonic() < deadline and not (cursor.exists() and "jsonl" in cursor.read_text()):
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Sent 1 events" in said
    writer.close()
    with SpoolReader(spool, "cloudwatch") as reader:
        assert [record.value["type"] for record in reader.read().records] == ["llm_proxy_writer"]
