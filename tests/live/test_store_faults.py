"""The store's server goes away under load: known tokens go on for a while, and nothing is lost."""

from __future__ import annotations

import base64
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from store.core.errors import StoreUnavailable
from store.keys import master_key
from store.ledger.offline_credit import CALLS
from store.tokens import limits
from tests.live.clients import HELLO, MODEL, authorised
from tests.live.conftest import Tenant
from tests.live.harness import Proxy, wait_for
from tests.live.upstream import Upstream
from tests.store.faulty import PostgreSQL, Relay, postgresql

GRACE = 10
THREADS = 3


class Load:
    """Clients that call without end, with a token that has no limit."""

    def __init__(self, proxy: Proxy, token: str) -> None:
        self._url, self._token = f"{proxy.reverse_url}/v1/chat/completions", token
        self.seen: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(THREADS)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        with httpx.Client(trust_env=False, timeout=60) as client:
            while not self._ended.is_set():
                said = outcome(client, self._url, self._token)
                with self._lock:
                    self.seen[said] += 1
                time.sleep(0.2)  # some thousand calls would be counted from the spool, a minute later

    def wait_more(self, said: str, count: int = 5) -> None:
        """Until so many more calls have had that outcome."""
        before = self.seen[said]
        try:
            wait_for(lambda: self.seen[said] >= before + count, f"{count} more of {said}", 60)
        except AssertionError as error:
            raise AssertionError(f"{error}; there were {self.seen}") from None

    def end(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(60)


def outcome(client: httpx.Client, url: str, token: str) -> str:
    """``200``, or the code of the refusal."""
    answer = client.post(url, headers=authorised(token), json={"model": MODEL, "messages": HELLO})
    return "200" if answer.status_code == 200 else f"{answer.status_code} {answer.json()['error']['code']}"


AWAY = "503 store_unavailable"


class Stage:
    """A server, a relay before it, a proxy behind that, and a load."""

    def __init__(self, upstream: Upstream, authority: Path, folder: Path, stack: ExitStack) -> None:
        self.server: PostgreSQL = stack.enter_context(postgresql())
        self.relay = Relay(self.server.port)
        stack.callback(self.relay.close)
        self.tenant = Tenant(self.server.url(self.server.port))
        self.token_id, self.token = self.tenant.token()
        _, self.unused = self.tenant.token()
        budget = limits.of({"budgets": {"usd": {"month": "100"}}})
        self.limited_id, self.limited = self.tenant.token(limits=budget)
        options = [f"llm_upstream={upstream.base_url}", f"ssl_verify_upstream_trusted_ca={authority}"]
        self.proxy = stack.enter_context(
            Proxy(
                folder,
                [*options, f"llm_store_grace={GRACE}"],
                store_url=self.server.url(self.relay.port),
            )
        )
        self.client = stack.enter_context(httpx.Client(trust_env=False, timeout=60))
        self.load = Load(self.proxy, self.token)
        stack.callback(self.load.end)
        self.load.wait_more("200", 20)
        # A server that has just been made is slow at first on a busy machine.
        wait_for(lambda: self.call(self.limited) == "200", "a call that is counted against a budget", 60)

    def call(self, token: str) -> str:
        return outcome(self.client, f"{self.proxy.reverse_url}/v1/chat/completions", token)

    def check_that_nothing_is_lost(self) -> None:
        """Each call that was answered has one event, and is counted in the store once."""
        self.load.end()
        served = self.load.seen["200"]

        def recorded() -> int:
            calls = [call for call in self.proxy.calls() if call["token_id"] == self.token_id]
            return sum(call["outcome"] == "ok" for call in calls)

        wait_for(lambda: recorded() == served, "the events", 60)
        wait_for(
            lambda: self.tenant.store.get_token(self.token_id).request_count == served, "the counts", 120
        )
        assert len({call["event_id"] for call in self.proxy.calls()}) == len(self.proxy.calls())


@pytest.fixture
def stage(
    upstream: Upstream, authority_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stage]:
    monkeypatch.setenv(master_key.VARIABLE, base64.b64encode(b"m" * 32).decode())
    with ExitStack() as stack:
        yield Stage(upstream, authority_file, tmp_path, stack)


@pytest.mark.slow
def test_a_server_that_dies_and_comes_back(stage: Stage) -> None:
    stage.server.stop()
    stage.load.wait_more("200")
    limited = Counter(stage.call(stage.limited) for _ in range(CALLS + 2))
    assert set(limited) == {"200", AWAY}
    assert limited["200"] <= CALLS, "no more than what is kept of the budget"
    assert stage.call(stage.unused) == AWAY, "never seen by this proxy"
    assert stage.call("sk-llmp-unknown") == AWAY
    with pytest.raises(StoreUnavailable):
        stage.tenant.token()
    stage.load.wait_more(AWAY)  # the grace is over
    assert set(stage.load.seen) == {"200", AWAY}
    before = stage.load.seen["200"]
    stage.load.wait_more(AWAY)
    assert stage.load.seen["200"] == before, "fails closed, and stays so"

    stage.server.start()
    stage.load.wait_more("200")
    assert stage.call(stage.unused) == "200"
    assert set(stage.load.seen) == {"200", AWAY}
    stage.check_that_nothing_is_lost()

    def counted() -> int:
        return stage.tenant.store.get_token(stage.limited_id).request_count

    wait_for(lambda: counted() == 1 + limited["200"], "calls that were lent")
    stage.tenant.store.revoke_token(stage.token_id)
    wait_for(lambda: stage.call(stage.token) == "401 invalid_api_key", "revoked")


@pytest.mark.slow
def test_a_network_that_swallows_everything(stage: Stage) -> None:
    """No answer, no error: the server is taken for away when it does not answer in time."""
    stage.relay.hold()
    stage.load.wait_more("200")
    assert stage.call("sk-llmp-unknown") == AWAY
    stage.load.wait_more(AWAY)
    stage.relay.resume()
    stage.load.wait_more("200")
    assert stage.call(stage.unused) == "200"
    assert set(stage.load.seen) == {"200", AWAY}
    stage.check_that_nothing_is_lost()
