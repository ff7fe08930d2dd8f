"""Four proxies on one store, and many calls at the same moment: limits hold to the last token.

The clients call again when they are refused, as clients do, until the budget is used up.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme

from store.tokens import limits
from store.tokens.amounts import NANO
from tests.live.clients import HELLO, MODEL, authorised
from tests.live.conftest import Tenant, chunk, delta
from tests.live.harness import Proxy, wait_for
from tests.live.upstream import Answer, Seen, Upstream, stream_answer

pytestmark = [pytest.mark.slow, pytest.mark.once]

PROXIES = 4
CALLS = 200
WORTH = 50
"""Calls that a budget is worth."""
USABLE = 0.95
"""Of a budget, at least."""
SECONDS = 60
"""In which that has to be used; a machine may be busy."""
INPUT, OUTPUT = 10, 100
COST = (INPUT * 150 + OUTPUT * 600) * NANO // 10**9
"""Of one call of gpt-4o-mini, in nano-USD."""


def answer(seen: Seen) -> Answer:
    """A stream that takes a moment, and reports as many tokens as the request's `seed` says."""
    output = seen.json["seed"]
    usage = {"prompt_tokens": INPUT, "completion_tokens": output, "total_tokens": INPUT + output}
    return stream_answer([delta("one"), 0.05, delta(finish="stop"), chunk(usage=usage), b"data: [DONE]\n\n"])


@dataclass
class Fleet:
    """Proxies on one store, behind one address or several."""

    tenant: Tenant
    upstream: Upstream
    urls: list[str]
    """Of the listeners of all proxies."""

    def token(self, **of_token: Any) -> tuple[str, str]:
        return self.tenant.token(limits=limits.of(of_token))

    def figure(self, sql: str, *values: Any) -> int:
        with closing(sqlite3.connect(self.tenant.store.path, timeout=60)) as connection:
            return int(connection.execute(sql, values).fetchone()[0] or 0)

    def spent(self, token_id: str, what: str = "nano_usd") -> int:
        return self.figure(f"SELECT sum({what}) FROM spend WHERE subject = ? AND period = 'total'", token_id)

    def held(self, token_id: str) -> int:
        return self.figure("SELECT count(*) FROM holds WHERE token_id = ? AND settled_at = 0", token_id)


@pytest.fixture(scope="module")
def fleet(
    authority: trustme.CA, authority_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    with ExitStack() as stack:
        tenant = Tenant(folder / "store.db")
        stack.callback(tenant.store.close)
        upstream = stack.enter_context(Upstream(answer, authority.issue_cert("localhost")).running())
        options = [f"llm_upstream={upstream.base_url}", f"ssl_verify_upstream_trusted_ca={authority_file}"]
        Proxy(folder, options).start().stop()  # makes the CA, which four at once would make four times
        proxies = [Proxy(folder, options) for _ in range(PROXIES)]
        with ThreadPoolExecutor(PROXIES) as pool:
            for proxy in pool.map(Proxy.start, proxies):
                stack.callback(proxy.stop)
        yield Fleet(tenant, upstream, [proxy.reverse_url for proxy in proxies])


@dataclass
class Crowd:
    """Many clients at once."""

    fleet: Fleet
    token: str
    body: dict[str, Any]
    retry: bool = True
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    passed: int = 0
    refused: int = 0
    pressed: int = 0
    """Refusals after the budget was used up, or nearly."""
    codes: set[str] = field(default_factory=set)

    async def run(self, calls: int) -> None:
        self.stop = asyncio.Event()
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, headers=authorised(self.token)
        ) as session:
            watch = asyncio.create_task(self._give_up())
            await asyncio.gather(*(self._client(session, number) for number in range(calls)))
            watch.cancel()

    async def _give_up(self) -> None:
        await asyncio.sleep(SECONDS)
        self.stop.set()

    async def _client(self, session: aiohttp.ClientSession, number: int) -> None:
        url = f"{self.fleet.urls[number % len(self.fleet.urls)]}/v1/chat/completions"
        while not self.stop.is_set():
            async with session.post(url, json=self.body) as response:
                said = await response.read()
            if response.status == 200:
                self.passed += 1
                assert said.endswith(b"data: [DONE]\n\n")
                return
            assert response.status == 429, said
            self.refused += 1
            self.codes.add((await response.json())["error"]["code"])
            if not self.retry:
                return
            self.pressed += self.passed >= USABLE * WORTH
            if self.pressed > CALLS // 2:
                self.stop.set()
            await asyncio.sleep(random.uniform(0.5, 1.5))


def body(output: int, **more: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": HELLO, "stream": True, "seed": output, **more}


def test_a_strict_budget_is_never_exceeded(fleet: Fleet) -> None:
    budget = WORTH * COST
    token_id, token = fleet.token(budgets={"usd": {"total": f"{budget / NANO:.9f}"}}, budget_mode="strict")
    crowd = Crowd(fleet, token, body(OUTPUT, max_tokens=OUTPUT))
    asyncio.run(crowd.run(CALLS))
    wait_for(lambda: fleet.held(token_id) == 0, "no hold is left", 60)
    wait_for(lambda: fleet.spent(token_id) == crowd.passed * COST, "every call is settled", 60)
    assert crowd.refused > 0
    assert crowd.codes == {"insufficient_quota"}
    assert USABLE * budget <= fleet.spent(token_id) <= budget


def test_an_expected_budget_is_exceeded_by_no_more_than_stated(fleet: Fleet) -> None:
    """By what the calls under way use beyond what they hold; twice as much as is expected of a first one."""
    output, at_once = 2_000, 40
    cost, expected = INPUT * 150 + output * 600, 1_000 * 600
    budget = WORTH * cost
    token_id, token = fleet.token(budgets={"usd": {"total": f"{budget / NANO:.9f}"}}, max_concurrent=at_once)
    crowd = Crowd(fleet, token, body(output))
    asyncio.run(crowd.run(CALLS))
    wait_for(lambda: fleet.held(token_id) == 0, "no hold is left", 60)
    wait_for(lambda: fleet.spent(token_id) == crowd.passed * cost, "every call is settled", 60)
    assert fleet.spent(token_id) >= USABLE * budget
    assert fleet.spent(token_id) - budget <= at_once * (cost - expected)


def test_requests_per_minute_over_all_proxies(fleet: Fleet) -> None:
    token_id, token = fleet.token(requests_per_minute=50)
    crowd = Crowd(fleet, token, body(OUTPUT), retry=False)
    begun = time.monotonic()
    asyncio.run(crowd.run(CALLS // 2))
    assert crowd.codes == {"rate_limit_exceeded"}
    assert crowd.passed >= 50
    if time.monotonic() - begun < 60:  # else a part of the window had passed
        assert crowd.passed == 50
    wait_for(lambda: fleet.held(token_id) == 0, "no hold is left", 60)


def test_tokens_per_minute_over_all_proxies(fleet: Fleet) -> None:
    used = INPUT + OUTPUT
    token_id, token = fleet.token(tokens_per_minute=50 * used, budget_mode="strict")
    crowd = Crowd(fleet, token, body(OUTPUT, max_tokens=OUTPUT), retry=False)
    begun = time.monotonic()
    asyncio.run(crowd.run(CALLS // 2))
    wait_for(lambda: fleet.held(token_id) == 0, "no hold is left", 60)
    wait_for(lambda: fleet.spent(token_id, "tokens") == crowd.passed * used, "every call is settled", 60)
    assert crowd.codes == {"rate_limit_exceeded"}
    assert crowd.passed > 10
    if time.monotonic() - begun < 60:
        assert fleet.spent(token_id, "tokens") <= 50 * used
