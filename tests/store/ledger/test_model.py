"""The ledger against a model of it: a plain list of calls, from which everything is counted anew each time.

Three workers on one file, in any interleaving, with crashes in between; the clock is the test's.
"""

from __future__ import annotations

import shutil
import tempfile
from math import floor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from store.database.engines import engine_of
from store.ledger import Finished, LedgerWorker, ReservationRequest
from store.ledger.reservations import LEASE_SECONDS
from store.ledger.settle import KEEP_LAPSED_SECONDS
from store.tokens import limits
from store.tokens.amounts import USD
from store.tokens.calendar import HOUR, PERIODS, USUAL
from store.tokens.limits import Limits
from store.tokens.models import Grant
from store.tokens.sqlite_lookup import TokenLookup
from store.tokens.store import TokenStore
from tests.store.ledger.conftest import NOON
from tests.store.ledger.model import AMOUNTS, LIMITS, Call, budgets, is_of, template

WAIT = 30


class LedgerMachine(RuleBasedStateMachine):
    calls = Bundle("calls")
    grace_seconds = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "store.db"
        self.now = NOON
        self.known: list[Call] = []
        self.workers: list[LedgerWorker] = []
        self.grants: list[Grant] = []
        self.counts = [0, 0]
        """Of the tokens' requests."""
        self.number = 0

    @initialize(
        of_project=LIMITS,
        of_tokens=st.tuples(LIMITS, LIMITS),
        quota=st.none() | st.integers(0, 8),
        of_all=st.none() | st.integers(0, 10),
    )
    def open(
        self,
        of_project: dict[str, Any],
        of_tokens: tuple[dict[str, Any], dict[str, Any]],
        quota: int | None,
        of_all: int | None,
    ) -> None:
        shutil.copy(template(), self.path)
        store = TokenStore.open(self.path)
        store.update_project("acme", limits=limits.of({**of_project, "max_requests": of_all}))
        lookup = TokenLookup(self.path)
        for each, most in zip(of_tokens, (quota, None), strict=True):
            _, text = store.create_token("acme", limits=limits.of(each), max_requests=most)
            grant = lookup.find(text.reveal())
            assert grant
            self.grants.append(grant)
        lookup.close()
        store.close()
        self.workers = [self.new_worker() for _ in range(3)]

    def teardown(self) -> None:
        try:
            if self.workers:
                self.check_the_end()
        finally:
            for worker in self.workers:
                worker.close()
            shutil.rmtree(self.folder)

    # What happens

    @rule(seconds=st.sampled_from([0.3, 0.7, 1, 9.6, 20, 31.4, 59.5, 60, 61, HOUR, 12 * HOUR]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        for number, worker in enumerate(self.workers):
            worker.renew()
            worker.clean_up()
            self.await_all(worker)
            for call in self.known:
                if call.worker == number and call.open:
                    call.expires = floor(self.now) + LEASE_SECONDS
        for call in self.known:
            call.gone = call.gone or (call.open and call.expires < floor(self.now) - KEEP_LAPSED_SECONDS)

    @rule(seconds=st.sampled_from([59.9, 60, 60.9]))
    @precondition(lambda self: self.known)
    def wait_for_the_last_call_to_leave_its_rate(self, seconds: float) -> None:
        self.wait(max(0.0, self.known[-1].at + seconds - self.now))

    @rule(target=calls, worker=st.integers(0, 2), which=st.integers(0, 1), tokens=AMOUNTS, nano=AMOUNTS)
    def reserve(self, worker: int, which: int, tokens: int, nano: int) -> Any:
        ask = self.ask(which, tokens, nano)
        expected = self.allows(ask)
        for claim in (self.workers[worker].look, self.workers[worker].reserve):
            granted = claim(ask).result(WAIT).hit is None
            assert granted == expected or (self.grace_seconds and not granted)
        if not granted:
            return multiple()
        expires = floor(self.now) + LEASE_SECONDS
        call = Call(ask, self.now, worker, tokens, nano, expires, rate_tokens=tokens)
        self.known.append(call)
        self.counts[which] += ask.grant.token.max_requests is not None
        return call

    @rule(call=calls, tokens=AMOUNTS, nano=AMOUNTS)
    def extend(self, call: Call, tokens: int, nano: int) -> None:
        tokens, nano = tokens + call.tokens, nano + call.nano_usd
        if call.worker is None or not call.open or call.gone:
            assert self.some_worker(call).extend(call.ask.call_id, tokens, nano).result(WAIT) is None
            return
        held = self.holds(call)
        more = {"tokens": tokens - call.tokens * held, "usd": nano - call.nano_usd * held}
        allowed = all(
            more[unit] <= 0 or self.taken(subject, unit, period, call.at) + more[unit] <= amount
            for subject, each in self.subjects(call.ask.grant)
            for unit, period, amount in budgets(each)
        )
        hit = self.workers[call.worker].extend(call.ask.call_id, tokens, nano).result(WAIT)
        assert (hit is None) == allowed or (self.grace_seconds and hit)
        if hit is None:
            call.rate_tokens += tokens - call.tokens
            call.tokens, call.nano_usd = tokens, nano
            call.expires = floor(self.now) + LEASE_SECONDS

    @rule(call=calls)
    def end(self, call: Call) -> None:
        self.some_worker(call).ended(call.ask.call_id)
        if call.worker is not None and any(each.max_concurrent for each in call.ask.grant.limits):
            call.running = False

    @rule(call=calls)
    def release(self, call: Call) -> None:
        self.some_worker(call).release(call.ask.call_id)
        if call.worker is not None and call.open:
            self.void(call)

    @rule(
        call=calls,
        tokens=st.none() | AMOUNTS,
        nano=st.none() | AMOUNTS,
        outcome=st.sampled_from(["ok", "ok", "refused"]),
        times=st.integers(1, 2),
        numbered=st.booleans(),
    )
    def finish(
        self, call: Call, tokens: int | None, nano: int | None, outcome: str, times: int, numbered: bool
    ) -> None:
        """The second time it changes nothing, whether its number says so, or that its hold is settled."""
        if not call.open:
            return
        for _ in range(times):
            self.hand_in(call, tokens, nano, outcome, numbered=numbered)
        if outcome == "refused":
            self.void(call)
            return
        held = (0, 0) if call.gone else (call.tokens, call.nano_usd)
        spent = (held[0] if tokens is None else tokens, held[1] if nano is None else nano)
        self.settle(call, floor(self.now if call.gone else call.at) // HOUR, *spent)

    @rule(which=st.integers(0, 1), tokens=AMOUNTS, nano=AMOUNTS, numbered=st.booleans())
    def finish_what_made_no_claim(self, which: int, tokens: int, nano: int, numbered: bool) -> None:
        call = Call(self.ask(which, tokens, nano), self.now, None, tokens, nano, 0, rated=False, gone=True)
        for _ in range(2):
            self.hand_in(call, tokens, nano, "ok", numbered=numbered)
        self.known.append(call)
        self.settle(call, floor(self.now) // HOUR, tokens, nano)

    @rule(worker=st.integers(0, 2))
    def crash(self, worker: int) -> None:
        """Its holds are renewed no more; what it did is settled by others, when its events are found."""
        self.workers[worker].close()
        self.workers[worker] = self.new_worker()
        for call in self.known:
            if call.worker == worker:
                call.worker = None

    # What holds

    @invariant()
    @precondition(lambda self: self.grants)
    def no_rate_is_exceeded_in_any_sixty_seconds(self) -> None:
        for subject, each in {*self.subjects(self.grants[0]), *self.subjects(self.grants[1])}:
            if most := each.requests_per_minute:
                times = [call.at for call in self.known if call.rated and is_of(call, subject)]
                assert all(later - first >= 60 for first, later in zip(times, times[most:], strict=False))

    @invariant()
    @precondition(lambda self: self.grants)
    def requests_are_counted(self) -> None:
        self.await_all(self.workers[0])
        for worker in self.workers:
            self.await_all(worker)
        assert [
            row["request_count"] for row in self.rows("SELECT request_count FROM tokens ORDER BY id")
        ] == (self.counts)

    def check_the_end(self) -> None:
        """All is settled: nothing is held, and the sums are those of the calls."""
        for call in self.known:
            if call.open:
                self.hand_in(call, 1, 1, "ok", numbered=True)
                self.settle(call, floor(self.now if call.gone else call.at) // HOUR, 1, 1)
        for worker in self.workers:
            worker.close()
        self.workers = []
        assert self.rows("SELECT * FROM holds WHERE settled_at = 0") == []
        sums: dict[tuple[str, str, int], list[int]] = {}
        for call in self.known:
            for subject in (call.ask.grant.token.id, call.ask.grant.project.id):
                for period in PERIODS:
                    if call.spent:
                        hour, tokens, nano = call.spent
                        row = sums.setdefault((subject, period, USUAL.start(period, hour * HOUR)), [0, 0, 0])
                        row[:] = [row[0] + 1, row[1] + tokens, row[2] + nano]
        rows = self.rows("SELECT * FROM spend")
        assert {
            (row["subject"], row["period"], row["starts_at"]): [
                row["requests"],
                row["tokens"],
                row["nano_usd"],
            ]
            for row in rows
        } == sums

    # The model

    def allows(self, ask: ReservationRequest) -> bool:
        token = ask.grant.token
        if token.max_requests is not None and self.counts[self.grants.index(ask.grant)] >= token.max_requests:
            return False
        return all(self.allows_of(subject, each, ask) for subject, each in self.subjects(ask.grant))

    def allows_of(self, subject: str, each: Limits, ask: ReservationRequest) -> bool:
        mine = [call for call in self.known if is_of(call, subject)]
        held = [call for call in mine if self.holds(call)]
        recent = [call for call in mine if call.rated and floor(call.at) >= floor(self.now) - 60]
        requests = sum(call.spent is not None for call in mine) + len(held)
        return (
            (each.max_requests is None or requests < each.max_requests)
            and (each.max_concurrent is None or sum(call.running for call in held) < each.max_concurrent)
            and (each.requests_per_minute is None or len(recent) < each.requests_per_minute)
            and (
                each.tokens_per_minute is None
                or not ask.tokens
                or sum(call.rate_tokens for call in recent) + ask.tokens <= each.tokens_per_minute
            )
            and all(
                not asked or self.taken(subject, unit, period, self.now) + asked <= amount
                for unit, period, amount in budgets(each)
                for asked in (ask.nano_usd if unit == USD else ask.tokens,)
            )
        )

    def taken(self, subject: str, unit: str, period: str, at: float) -> int:
        """What is spent and held in the period around `at`."""
        start, end = USUAL.start(period, at), USUAL.end(period, at) or float("inf")
        total = 0
        for call in self.known:
            if is_of(call, subject):
                if call.spent and start <= call.spent[0] * HOUR < end:
                    total += call.spent[2 if unit == USD else 1]
                elif self.holds(call) and start <= call.at < end:
                    total += call.amount(unit)
        return total

    def holds(self, call: Call) -> bool:
        return call.open and call.expires > self.now

    def settle(self, call: Call, hour: int, tokens: int, nano: int) -> None:
        if not call.gone:
            call.rate_tokens = tokens
        counted = not call.gone and call.ask.grant.token.max_requests is not None
        # A claim whose hold is gone was counted when it was made, and is counted once more: nobody knows.
        self.counts[self.grants.index(call.ask.grant)] += not counted
        call.open, call.spent = False, (hour, tokens, nano)

    def void(self, call: Call) -> None:
        if not call.gone:
            call.rated = False
            grant = call.ask.grant
            self.counts[self.grants.index(grant)] -= grant.token.max_requests is not None
        call.open = False

    def subjects(self, grant: Grant) -> list[tuple[str, Limits]]:
        return [(grant.token.id, grant.token.limits), (grant.project.id, grant.project.limits)]

    # The ledger

    def new_worker(self) -> LedgerWorker:
        return LedgerWorker(engine_of(self.path), clock=lambda: self.now, grace_seconds=self.grace_seconds)

    def some_worker(self, call: Call) -> LedgerWorker:
        return self.workers[call.worker or 0]

    def ask(self, which: int, tokens: int, nano: int) -> ReservationRequest:
        self.number += 1
        return ReservationRequest(f"call-{self.number}", self.grants[which], tokens, nano)

    def hand_in(
        self, call: Call, tokens: int | None, nano: int | None, outcome: str, *, numbered: bool
    ) -> None:
        grant, number = call.ask.grant, int(call.ask.call_id.partition("-")[2])
        done = Finished(
            call.ask.call_id,
            grant.token.id,
            grant.project.id,
            self.now,
            outcome,
            "chat",
            seq=1 if numbered else 0,
            total_tokens=tokens,
            nano_usd=nano,
        )
        self.some_worker(call).finish([done], f"writer-{number}").result(WAIT)

    def await_all(self, worker: LedgerWorker) -> None:
        worker.look(ReservationRequest("none", self.grants[0])).result(WAIT)

    def rows(self, sql: str) -> Any:
        connection = engine_of(self.path).connect()
        try:
            return connection.rows(sql)
        finally:
            connection.close()


class SparingMachine(LedgerMachine):
    """Each worker keeps something of the budgets: it may refuse what one alone grants, and no more."""

    grace_seconds = 30.0


TestLedger = pytest.mark.once(pytest.mark.slow(LedgerMachine.TestCase))
TestSparingLedger = pytest.mark.once(pytest.mark.slow(SparingMachine.TestCase))
TestLedger.settings = TestSparingLedger.settings = settings(
    max_examples=25,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[phase for phase in Phase if phase is not Phase.shrink],  # of what uses a disk it takes minutes
)
