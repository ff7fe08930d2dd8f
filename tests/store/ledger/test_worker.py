from __future__ import annotations

from pathlib import Path

import pytest

from store.core.errors import StoreUnavailable
from store.ledger import LedgerWorker, RateWindow
from store.tokens.amounts import NANO
from tests.store.ledger.conftest import Ledger

WAIT = 30


def limit_of(worker: LedgerWorker, ask: object) -> str | None:
    hit = worker.reserve(ask).result(WAIT).hit  # type: ignore[arg-type]
    return hit and f"{hit.side} {hit.limit}"


def test_nothing_limited_is_nothing_refused(ledger: Ledger, worker: LedgerWorker) -> None:
    answer = worker.reserve(ledger.ask(ledger.grant(), tokens=10**9, usd=10**6)).result(WAIT)
    assert answer.hit is None
    assert answer.standing.requests is None


def test_requests_in_all(ledger: Ledger, worker: LedgerWorker) -> None:
    grant = ledger.grant(max_requests=3)
    asks = [ledger.ask(grant) for _ in range(5)]
    assert [limit_of(worker, ask) for ask in asks] == [None] * 3 + ["token max_requests"] * 2
    worker.release(asks[0].call_id)
    worker.finish([ledger.finished(asks[1], seq=1)], "w")
    assert limit_of(worker, ledger.ask(grant)) is None
    assert limit_of(worker, ledger.ask(grant)) == "token max_requests"
    assert ledger.store.get_token(grant.token.id).request_count == 3


def test_asking_uses_nothing_up(ledger: Ledger, worker: LedgerWorker) -> None:
    grant = ledger.grant(max_requests=1)
    assert worker.look(ledger.ask(grant)).result(WAIT).hit is None
    assert limit_of(worker, ledger.ask(grant)) is None
    assert worker.look(ledger.ask(grant)).result(WAIT).hit


def test_a_raised_quota_counts_what_was_used(ledger: Ledger, worker: LedgerWorker) -> None:
    grant = ledger.grant(max_requests=1)
    assert limit_of(worker, ledger.ask(grant)) is None
    ledger.store.update_token(grant.token.id, max_requests=2)
    assert [limit_of(worker, ledger.ask(grant)) for _ in range(2)] == [None, "token max_requests"]


def test_a_quota_that_is_set_while_a_call_is_under_way_counts_it(
    ledger: Ledger, worker: LedgerWorker
) -> None:
    grant = ledger.grant(requests_per_minute=100)
    ask = ledger.ask(grant)
    assert limit_of(worker, ask) is None
    ledger.store.update_token(grant.token.id, max_requests=5)
    worker.finish([ledger.finished(ask, seq=1)], "w")
    worker.look(ask).result(WAIT)
    assert ledger.store.get_token(grant.token.id).request_count == 1


def test_requests_of_a_project_are_those_of_all_its_tokens(ledger: Ledger, worker: LedgerWorker) -> None:
    first = ledger.grant(of_project={"max_requests": 3})
    asks = [ledger.ask(first) for _ in range(2)]
    assert [limit_of(worker, ask) for ask in asks] == [None, None]
    worker.finish([ledger.finished(asks[0], seq=1)], "w")
    second = ledger.grant()
    assert limit_of(worker, ledger.ask(second)) is None
    assert limit_of(worker, ledger.ask(second)) == "project max_requests"


def test_a_rate_holds_in_any_sixty_seconds(ledger: Ledger, worker: LedgerWorker) -> None:
    grant = ledger.grant(requests_per_minute=2)
    assert limit_of(worker, ledger.ask(grant)) is None
    ledger.now += 30.9
    assert limit_of(worker, ledger.ask(grant)) is None
    hit = worker.reserve(ledger.ask(grant)).result(WAIT).hit
    assert hit
    assert (hit.limit, hit.allowed, hit.used, hit.is_rate) == ("requests_per_minute", 2, 2, True)
    assert hit.retry_after == pytest.approx(61 - 30.9)
    ledger.now += hit.retry_after - 0.1
    assert limit_of(worker, ledger.ask(grant)) == "token requests_per_minute"
    ledger.now += 0.1
    assert limit_of(worker, ledger.ask(grant)) is None


def test_tokens_of_a_rate_become_what_was_used(ledger: Ledger, worker: LedgerWorker) -> None:
    grant = ledger.grant(tokens_per_minute=1000)
    ask = ledger.ask(grant, tokens=900)
    assert limit_of(worker, ask) is None
    assert limit_of(worker, ledger.ask(grant, tokens=200)) == "token tokens_per_minute"
    ledger.now += 10
    worker.finish([ledger.finished(ask, seq=1, total_tokens=100)], "w")
    answer = worker.reserve(ledger.ask(grant, tokens=900)).result(WAIT)
    assert answer.hit is None
    assert answer.standing.tokens == RateWindow(1000, 0, 61.0)


def test_a_call_larger_than_its_rate_need_not_try_again(ledger: Ledger, worker: LedgerWorker) -> None:
    hit = worker.reserve(ledger.ask(ledger.grant(tokens_per_minute=10), tokens=11)).result(WAIT).hit
    assert hit
    assert hit.retry_after is None


def test_the_standing_is_that_of_the_rate_with_the_least_room(ledger: Ledger, worker: LedgerWorker) -> None:
    grant = ledger.grant(of_project={"requests_per_minute": 3}, requests_per_minute=10)
    standing = worker.reserve(ledger.ask(grant)).result(WAIT).standing
    assert standing.requests == RateWindow(3, 2, 61.0)
    assert standing.tokens is None


def test_so_many_at_the_same_time(ledger: Ledger, worker: LedgerWorker) -> None:
    grant = ledger.grant(max_concurrent=2)
    asks = [ledger.ask(grant) for _ in range(3)]
    assert [limit_of(worker, ask) for ask in asks] == [None, None, "token max_concurrent"]
    worker.ended(asks[0].call_id)
    assert limit_of(worker, ledger.ask(grant)) is None
    worker.finish([ledger.finished(asks[1], seq=1)], "w")
    assert limit_of(worker, ledger.ask(grant)) is None
    assert limit_of(worker, ledger.ask(grant)) == "token max_concurrent"


def test_a_session_takes_a_place_but_no_request(ledger: Ledger, worker: LedgerWorker) -> None:
    grant = ledger.grant(max_concurrent=1, requests_per_minute=1, max_requests=1)
    session = ledger.ask(grant, requests=0)
    assert limit_of(worker, session) is None
    assert limit_of(worker, ledger.ask(grant)) == "token max_concurrent"
    worker.finish([ledger.finished(session, seq=1, request=False)], "w")
    assert limit_of(worker, ledger.ask(grant)) is None
    assert ledger.store.get_token(grant.token.id).request_count == 1


def test_a_budget_is_what_was_spent_and_what_is_held(ledger: Ledger, worker: LedgerWorker) -> None:
    grant = ledger.grant(budgets={"usd": {"day": "1"}})
    first, second = ledger.ask(grant, usd=0.6), ledger.ask(grant, usd=0.6)
    assert limit_of(worker, first) is None
    hit = worker.reserve(second).result(WAIT).hit
    assert hit
    assert (hit.limit, hit.unit, hit.allowed, hit.used, hit.asked) == (
        "usd/day",
        "usd",
        NANO,
        600_000_000,
        600_000_000,
    )
    assert (hit.resets_at, hit.retry_after, hit.is_rate) == (int(ledger.now) + 43200, None, False)
    worker.finish([ledger.finished(first, seq=1, nano_usd=100_000_000)], "w")
    assert limit_of(worker, second) is None
    assert limit_of(worker, ledger.ask(grant, usd=0.31)) == "token usd/day"
    assert limit_of(worker, ledger.ask(grant, usd=0.3)) is None
    assert limit_of(worker, ledger.ask(grant)) is None, "what costs nothing passes"


def test_a_budget_begins_anew_with_its_period(ledger: Ledger, worker: LedgerWorker) -> None:
    grant = ledger.grant(budgets={"tokens": {"hour": 100, "total": 150}})
    ask = ledger.ask(grant, tokens=100)
    assert limit_of(worker, ask) is None
    ledger.now += 3600
    worker.renew()
    assert limit_of(worker, ledger.ask(grant, tokens=51)) == "token tokens/total"
    worker.finish([ledger.finished(ask, seq=1, total_tokens=99)], "w")
    assert limit_of(worker, ledger.ask(grant, tokens=50)) is None
    assert limit_of(worker, ledger.ask(grant, tokens=2)) == "token tokens/total"


def test_a_call_counts_for_the_period_in_which_it_began(ledger: Ledger, worker: LedgerWorker) -> None:
    grant = ledger.grant(budgets={"tokens": {"hour": 100}})
    ask = ledger.ask(grant, tokens=60)
    assert limit_of(worker, ask) is None
    ledger.now += 3600
    worker.renew()
    hit = worker.extend(ask.call_id, 101, 0).result(WAIT)
    assert hit
    assert (hit.limit, hit.resets_at) == ("tokens/hour", int(ledger.now))
    assert worker.extend(ask.call_id, 100, 0).result(WAIT) is None
    assert limit_of(worker, ledger.ask(grant, tokens=100)) is None
    worker.finish([ledger.finished(ask, seq=1)], "w")
    assert limit_of(worker, ledger.ask(grant, tokens=1)) == "token tokens/hour"


def test_a_hold_grows_as_far_as_the_budget_goes(ledger: Ledger, worker: LedgerWorker) -> None:
    grant = ledger.grant(of_project={"budgets": {"tokens": {"day": 100}}}, tokens_per_minute=100)
    ask = ledger.ask(grant, tokens=10)
    assert limit_of(worker, ask) is None
    assert worker.extend(ask.call_id, 90, 0).result(WAIT) is None
    hit = worker.extend(ask.call_id, 101, 0).result(WAIT)
    assert hit
    assert (hit.side, hit.limit, hit.asked) == ("project", "tokens/day", 11)
    assert limit_of(worker, ledger.ask(grant, tokens=10)) is None
    assert limit_of(worker, ledger.ask(grant, tokens=1)) == "project tokens/day"
    assert worker.extend("unknown", 5, 5).result(WAIT) is None


def test_a_hold_that_grows_is_renewed(ledger: Ledger, worker: LedgerWorker) -> None:
    grant = ledger.grant(max_concurrent=1)
    ask = ledger.ask(grant)
    assert limit_of(worker, ask) is None
    ledger.now += 50
    assert worker.extend(ask.call_id, 5, 5).result(WAIT) is None
    ledger.now += 50
    assert limit_of(worker, ledger.ask(grant)) == "token max_concurrent"


def test_topups_count_in_the_period_that_they_fall_into(ledger: Ledger, worker: LedgerWorker) -> None:
    grant = ledger.grant(budgets={"usd": {"day": "1", "total": "1.5"}})
    connection = ledger.rows
    assert connection("SELECT * FROM topups") == []
    ledger.top_up(grant.token.id, "1usd/day")
    assert limit_of(worker, ledger.ask(grant, usd=1.4)) is None
    assert limit_of(worker, ledger.ask(grant, usd=0.2)) == "token usd/total"
    ledger.top_up(grant.token.id, "9usd/total")
    assert limit_of(worker, ledger.ask(grant, usd=0.6)) is None
    assert limit_of(worker, ledger.ask(grant, usd=0.1)) == "token usd/day"
    ledger.now += 86400
    assert limit_of(worker, ledger.ask(grant, usd=1.1)) == "token usd/day"
    assert limit_of(worker, ledger.ask(grant, usd=1)) is None


def test_the_limit_that_stands_longest_is_named(ledger: Ledger, worker: LedgerWorker) -> None:
    grant = ledger.grant(
        of_project={"budgets": {"tokens": {"month": 10}}},
        budgets={"tokens": {"day": 10}},
        requests_per_minute=1,
        max_concurrent=1,
    )
    assert limit_of(worker, ledger.ask(grant, tokens=10)) is None
    assert limit_of(worker, ledger.ask(grant, tokens=1)) == "project tokens/month"
    assert limit_of(worker, ledger.ask(grant)) == "token requests_per_minute"


def test_a_refused_claim_takes_nothing(ledger: Ledger, worker: LedgerWorker) -> None:
    grant = ledger.grant(max_requests=5, requests_per_minute=5, budgets={"tokens": {"day": 10}})
    for _ in range(9):
        assert limit_of(worker, ledger.ask(grant, tokens=11)) == "token tokens/day"
    assert ledger.rows("SELECT * FROM holds") == ledger.rows("SELECT * FROM rates") == []
    assert ledger.store.get_token(grant.token.id).request_count == 0


def test_what_is_released_was_never_taken(ledger: Ledger, worker: LedgerWorker) -> None:
    grant = ledger.grant(
        max_requests=1, requests_per_minute=1, max_concurrent=1, budgets={"tokens": {"day": 10}}
    )
    for _ in range(5):
        ask = ledger.ask(grant, tokens=10)
        assert limit_of(worker, ask) is None
        worker.release(ask.call_id)
        worker.release(ask.call_id)
    refused = ledger.ask(grant, tokens=10)
    assert limit_of(worker, refused) is None
    worker.finish([ledger.finished(refused, seq=1, outcome="refused")], "w")
    assert limit_of(worker, ledger.ask(grant)) is None
    assert ledger.rows("SELECT * FROM spend") == []


def test_what_was_never_sent_is_given_back(ledger: Ledger, worker: LedgerWorker) -> None:
    """Its proxy was killed while it waited to be sent."""
    grant = ledger.grant(max_requests=1, budgets={"tokens": {"day": 10}})
    ask = ledger.ask(grant, tokens=10)
    assert limit_of(worker, ask) is None
    worker.finish([ledger.finished(ask, seq=1, outcome="proxy_died", never_sent=True)], "w")
    assert limit_of(worker, ledger.ask(grant, tokens=10)) is None
    assert ledger.rows("SELECT * FROM spend") == []


def test_what_is_unknown_costs_what_was_held(ledger: Ledger, worker: LedgerWorker) -> None:
    grant = ledger.grant(budgets={"usd": {"day": "1"}})
    ask = ledger.ask(grant, tokens=5, usd=0.5)
    assert limit_of(worker, ask) is None
    worker.finish([ledger.finished(ask, seq=1, nano_usd=None, total_tokens=None)], "w")
    worker.look(ask).result(WAIT)
    spent = ledger.rows("SELECT * FROM spend WHERE subject = :id AND period = 'week'", id=grant.token.id)
    assert [(row["tokens"], row["nano_usd"], row["assumed"]) for row in spent] == [(5, NANO // 2, 1)]


def test_what_ends_later_costs_what_it_used_in_the_end(ledger: Ledger, worker: LedgerWorker) -> None:
    grant, other = ledger.grant(budgets={"usd": {"total": "1"}}), ledger.grant()
    most = {"most_tokens": 70, "most_nano_usd": 7 * NANO // 10}
    begun, look = ledger.ask(grant, tokens=50, usd=0.5, **most), ledger.ask(grant)
    assert limit_of(worker, begun) is None
    worker.finish([ledger.finished(begun, seq=1, outcome="queued", nano_usd=None, total_tokens=None)], "w")
    assert limit_of(worker, ledger.ask(grant, usd=0.31)) == "token usd/total"
    ledger.now += 3 * 3600
    seen = {"corrects": begun.call_id, "asked_by": other.token.id}
    worker.finish([ledger.finished(look, seq=2, total_tokens=12, nano_usd=NANO // 10, **seen)], "w")
    worker.look(look).result(WAIT)
    spent = ledger.rows("SELECT * FROM spend WHERE subject = :id AND period = 'total'", id=grant.token.id)
    assert [(row["tokens"], row["nano_usd"]) for row in spent] == [(12, NANO // 10)]
    counts = [ledger.store.get_token(each.token.id).request_count for each in (grant, other)]
    assert counts == [1, 1], "each has made one call"


def test_calls_without_limits_are_recorded_for_limits_to_come(ledger: Ledger, worker: LedgerWorker) -> None:
    grant = ledger.grant()
    call = ledger.finished(ledger.ask(grant, tokens=80), seq=1, address="192.0.2.7")
    worker.finish([call], "w")
    limited = ledger.grant(of_project={"budgets": {"tokens": {"month": 100}}})
    assert limit_of(worker, ledger.ask(limited, tokens=21)) == "project tokens/month"
    assert limit_of(worker, ledger.ask(limited, tokens=20)) is None
    used = ledger.store.get_token(grant.token.id)
    assert (used.request_count, used.last_used_from) == (1, "192.0.2.7")
    assert used.last_used_at
    assert used.last_used_at.timestamp() == ledger.now


def test_a_call_is_settled_once(ledger: Ledger, worker: LedgerWorker) -> None:
    grant = ledger.grant(budgets={"tokens": {"day": 100}}, max_requests=10)
    held, dropped = ledger.ask(grant, tokens=10), ledger.ask(grant, tokens=10)
    assert limit_of(worker, held) is None
    numbered = ledger.finished(ledger.ask(grant, tokens=10), seq=2)
    for _ in range(3):
        worker.finish([ledger.finished(held, seq=1), numbered], "w")
        worker.finish([ledger.finished(held)], "w")
        worker.finish([ledger.finished(dropped)], "w")
    worker.release(held.call_id)
    assert limit_of(worker, ledger.ask(grant, tokens=71)) == "token tokens/day"
    assert limit_of(worker, ledger.ask(grant, tokens=70)) is None
    assert ledger.store.get_token(grant.token.id).request_count == 4


def test_the_holds_of_a_dead_process_come_back_when_its_lease_is_over(
    ledger: Ledger, worker: LedgerWorker
) -> None:
    grant = ledger.grant(max_concurrent=1, budgets={"tokens": {"day": 10}})
    dead = ledger.worker()
    ask = ledger.ask(grant, tokens=10)
    assert limit_of(dead, ask) is None
    dead.close()
    ledger.now += 59
    assert limit_of(worker, ledger.ask(grant, tokens=1)) == "token tokens/day"
    ledger.now += 2
    other = ledger.ask(grant, tokens=1)
    assert limit_of(worker, other) is None
    worker.release(other.call_id)
    # Its event is found later, and says nothing of what was used: it costs what was held.
    worker.finish([ledger.finished(ask, seq=7, total_tokens=None, outcome="proxy_died")], "dead")
    assert limit_of(worker, ledger.ask(grant, tokens=1)) == "token tokens/day"


def test_the_holds_of_a_living_process_stay(ledger: Ledger, worker: LedgerWorker) -> None:
    grant = ledger.grant(max_concurrent=1)
    ask = ledger.ask(grant)
    assert limit_of(worker, ask) is None
    for _ in range(5):
        ledger.now += 50
        worker.renew()
        assert limit_of(ledger.workers[0], ledger.ask(grant)) == "token max_concurrent"


def test_a_store_that_is_gone_and_back(ledger: Ledger, worker: LedgerWorker, path: Path) -> None:
    grant = ledger.grant(budgets={"tokens": {"day": 10}})
    ask = ledger.ask(grant, tokens=10)
    assert limit_of(worker, ask) is None
    aside = path.with_suffix(".aside")
    path.rename(aside)
    lost = ledger.ask(grant)
    with pytest.raises(StoreUnavailable):
        worker.reserve(lost).result(WAIT)
    worker.finish([ledger.finished(ask, seq=1, total_tokens=4)], "w")
    with pytest.raises(StoreUnavailable):
        worker.look(lost).result(WAIT)
    aside.rename(path)
    assert limit_of(worker, ledger.ask(grant, tokens=7)) == "token tokens/day"
    assert limit_of(worker, ledger.ask(grant, tokens=6)) is None


def test_holds_are_renewed_before_anything_else_when_the_store_is_back(
    ledger: Ledger, worker: LedgerWorker, path: Path
) -> None:
    grant = ledger.grant(max_concurrent=1)
    assert limit_of(worker, ledger.ask(grant)) is None
    aside = path.with_suffix(".aside")
    path.rename(aside)
    with pytest.raises(StoreUnavailable):
        worker.look(ledger.ask(grant)).result(WAIT)
    ledger.now += 100
    aside.rename(path)
    assert limit_of(worker, ledger.ask(grant)) == "token max_concurrent"


def test_who_cannot_take_an_event_of_a_soft_limit_stops_nothing(ledger: Ledger, worker: LedgerWorker) -> None:
    def fail(_: object) -> None:
        raise OSError("no")

    worker.on_reached = fail
    grant = ledger.grant(budgets={"tokens": {"day": 10}})
    ask = ledger.ask(grant, tokens=10)
    assert limit_of(worker, ask) is None
    worker.finish([ledger.finished(ask, seq=1)], "w").result(WAIT)
    assert limit_of(worker, ledger.ask(grant, tokens=1)) == "token tokens/day"


def test_one_impossible_call_does_not_stop_the_others(ledger: Ledger, worker: LedgerWorker) -> None:
    grant = ledger.grant(budgets={"tokens": {"day": 10}})
    ask = ledger.ask(grant, tokens=10)
    assert limit_of(worker, ask) is None
    worker.finish([ledger.finished(ledger.ask(grant), seq=1, total_tokens=2**80)], "w")
    worker.finish([ledger.finished(ask, seq=2, total_tokens=4)], "w")
    assert limit_of(worker, ledger.ask(grant, tokens=6)) is None


def test_what_decides_nothing_any_more_is_removed(ledger: Ledger, worker: LedgerWorker) -> None:
    grant = ledger.grant(requests_per_minute=10)
    left, over = ledger.ask(grant), ledger.ask(grant)
    assert [limit_of(worker, ask) for ask in (left, over)] == [None, None]
    worker.finish([ledger.finished(over, seq=1)], "w")
    for after, rates, holds in ((200, 0, 2), (3700, 0, 1), (86400, 0, 0)):
        ledger.now += after
        worker.clean_up()
        worker.look(ledger.ask(grant)).result(WAIT)
        assert len(ledger.rows("SELECT * FROM rates")) == rates
        assert len(ledger.rows("SELECT * FROM holds")) == holds
