"""Real processes claim at the same time, on one store; each claim that is refused is made again."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from store.database.engines import engine_of
from store.ledger import Finished, LedgerWorker, ReservationRequest
from store.tokens.amounts import NANO
from store.tokens.lookups import lookup_of
from store.tokens.models import Grant
from tests.store.engines import found
from tests.store.ledger.conftest import Ledger

PROCESSES = 4
CALLS = 100
"""Of each process and token."""
MOST = 100
"""That a call may use of whatever it is; each uses less."""
PATIENCE = 8
"""Rounds without any that passes, after which a process gives up."""


def claim(grant: Grant, worker: LedgerWorker, number: int) -> dict[str, int]:
    """Make the calls of one token; how many passed, and what they used."""
    chance = random.Random(number)
    ids = grant.token.id, grant.project.id
    asks = [
        ReservationRequest(f"{ids[0]}-{number}-{call}", grant, tokens=MOST, nano_usd=MOST)
        for call in range(CALLS)
    ]
    done, patience = {"granted": 0, "used": 0}, PATIENCE
    while asks and patience:
        answers = [(ask, worker.reserve(ask)) for ask in asks]
        granted = [ask for ask, answer in answers if answer.result(60).hit is None]
        time.sleep(chance.random() / 50)  # they run for a while
        used = [chance.randrange(MOST // 2, MOST) for _ in granted]
        calls = [
            Finished(ask.call_id, *ids, time.time(), "ok", "chat", seq=seq, total_tokens=n, nano_usd=n)
            for seq, (ask, n) in enumerate(zip(granted, used, strict=True), done["granted"] + 1)
        ]
        worker.finish(calls, f"{ids[0]}-{number}").result(60)
        done = {"granted": done["granted"] + len(granted), "used": done["used"] + sum(used)}
        asks = [ask for ask in asks if ask not in granted]
        patience = PATIENCE if granted else patience - 1
    return done


def run(place: str, number: int, texts: Sequence[str]) -> list[dict[str, int]]:
    lookup, worker = lookup_of(place), LedgerWorker(engine_of(place))
    results = []
    for text in texts:
        grant = found(lookup, text)
        assert grant
        results.append(claim(grant, worker, number))
    worker.close()
    lookup.close()
    return results


def race(ledger: Ledger, texts: Sequence[str]) -> list[dict[str, int]]:
    where = ledger.place.url.reveal() if ledger.place.url else str(ledger.place)
    command = [sys.executable, "-m", __name__, where]
    processes = [
        subprocess.Popen([*command, str(number), *texts], stdout=subprocess.PIPE, text=True)
        for number in range(PROCESSES)
    ]
    results = [json.loads(process.communicate(timeout=250)[0]) for process in processes]
    return [
        {name: sum(each[name] for each in of_token) for name in ("granted", "used")}
        for of_token in zip(*results, strict=True)
    ]


def tenant(ledger: Ledger, name: str, of_project: dict[str, Any], **of_token: Any) -> tuple[str, str]:
    """A token of a project of its own: its id and text."""
    ledger.store.create_project(name, "sk-live-1234567890")
    grant = ledger.grant(project=name, of_project=of_project, **of_token)
    _, text = ledger.store.rotate_token(grant.token.id, overlap=timedelta())
    return grant.token.id, text.reveal()


@pytest.mark.once
@pytest.mark.slow
def test_four_processes(ledger: Ledger) -> None:
    """Never more than a limit, nearly all of it in the end, and nothing is left held."""
    budget = CALLS * MOST * 3 // 4
    of_project = {"budgets": {"usd": {"total": f"{budget / NANO:.9f}"}}}
    spender, first = tenant(ledger, "spender", of_project, max_requests=1000)
    counted, second = tenant(ledger, "counted", {}, max_requests=150)
    _, third = tenant(ledger, "often", {"requests_per_minute": 100})
    _, fourth = tenant(ledger, "much", {}, tokens_per_minute=50 * MOST)
    started = time.monotonic()
    money, requests, often, much = race(ledger, [first, second, third, fourth])
    within_a_minute = time.monotonic() - started < 60

    assert budget * 0.95 <= money["used"] <= budget
    spent = ledger.rows("SELECT * FROM spend WHERE subject = :id AND period = 'total'", id=spender)
    assert [(row["requests"], row["nano_usd"]) for row in spent] == [(money["granted"], money["used"])]
    assert ledger.store.get_token(spender).request_count == money["granted"]
    assert ledger.rows("SELECT * FROM holds WHERE settled_at = 0") == []
    assert requests["granted"] == ledger.store.get_token(counted).request_count == 150
    if within_a_minute:  # else room came back
        assert often["granted"] == 100
        assert 0.95 * 50 * MOST <= much["used"] <= 50 * MOST


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], int(sys.argv[2]), sys.argv[3:])))
