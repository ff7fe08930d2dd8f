from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

from addons.openai.pricing.price_file import parse
from addons.recording.cost import cost_of, read_prices
from addons.recording.repricing import Repricer
from dispatch.message import FIELDS, REPRICING_FIELDS, message
from store.core.event_fields import to_fields
from tests.events import typed

PRICES = parse("{id: openai, models: [{id: ours, prices: {input_mtok: 1, output_mtok: 2}}]}", "p.yaml")
UNKNOWN = {"usd": None, "price_source": "unknown", "missing": "no price", "reason": "model_unknown"}


def call(number: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "type": "llm_proxy_usage",
        "event_id": f"call-{number}",
        "timestamp": "2026-11-01T12:00:00.000Z",
        "model": "ours",
        "host": "api.openai.com",
        "path": "/v1/chat/completions",
        "service_tier": None,
        "project_id": "p1",
        "usage": {"input_tokens": 1_000_000, "output_tokens": 0},
        "cost": UNKNOWN,
        "request": {"body": "SECRET"},
        **changes,
    }


def test_what_was_unknown_gets_a_cost() -> None:
    repricer = Repricer(PRICES)
    (found,) = repricer.reprice([call(), call(), {"type": "llm_proxy_writer"}])
    assert found.event == call(cost={"usd": "1", "price_source": "llm_prices/p.yaml"})
    record = to_fields(found.record)
    assert (record["type"], record["of"], record["usd_change"]) == ("llm_proxy_repricing", "call-1", "1")
    assert (record["cost"]["usd"], record["cost_before"]) == ("1", UNKNOWN)
    assert record["call_timestamp"] == call()["timestamp"]
    assert (repricer.totals.calls, repricer.totals.unknown, repricer.totals.repriced) == (1, 1, 1)


def test_the_record_has_the_same_id_whenever_it_is_made() -> None:
    ids = [to_fields(next(Repricer(PRICES).reprice([call()])).record)["event_id"] for _ in range(2)]
    assert ids[0] == ids[1]
    assert UUID(ids[0]).version == 5
    (other,) = Repricer(PRICES).reprice([call(2)])
    assert other.record.event_id != ids[0]


def test_the_record_holds_no_content_and_all_of_it_may_leave() -> None:
    (found,) = Repricer(PRICES).reprice([call()])
    assert "SECRET" not in str(found.record)
    record = to_fields(found.record)
    shown = message({**record, "writer": "w", "seq": 1, "request": "SECRET"})
    assert shown == {**record, "writer": "w", "seq": 1}
    allowed = {*FIELDS, "of", "call_timestamp", "cost_before", "usd_change"}
    assert set(REPRICING_FIELDS) <= allowed


def test_a_second_run_finds_nothing_to_do() -> None:
    (found,) = Repricer(PRICES).reprice([call()])
    again = Repricer(PRICES)
    again.learn([to_fields(found.record)])
    assert list(again.reprice([call()])) == []
    assert again.totals.unknown == 0


def test_known_costs_are_left_unless_all_are_asked_for() -> None:
    old = call(cost={"usd": "9", "price_source": "x"})
    assert list(Repricer(PRICES).reprice([old])) == []
    (found,) = Repricer(PRICES, everything=True).reprice([old])
    assert found.record.usd_change == "-8"
    same = call(cost={"usd": "1.00", "price_source": "x"})
    assert list(Repricer(PRICES, everything=True).reprice([same])) == []


def test_to_and_fro_gives_three_records(tmp_path: Path) -> None:
    file = tmp_path / "q.yaml"
    file.write_text("{id: openai, models: [{id: ours, prices: {input_mtok: 3}}]}")
    dearer = read_prices(file)
    records: list[dict[str, Any]] = []
    for prices in (PRICES, dearer, PRICES, dearer):
        repricer = Repricer(prices, everything=True)
        repricer.learn(records)
        records += [to_fields(found.record) for found in repricer.reprice([call()])]
    assert [record["cost"]["usd"] for record in records] == ["1", "3", "1", "3"]
    assert [record["usd_change"] for record in records] == ["1", "2", "-2", "2"]
    assert len({record["event_id"] for record in records}) == 4


def test_a_known_cost_is_never_taken_back() -> None:
    known = call(model="unheard-of", cost={"usd": "1", "price_source": "x"})
    repricer = Repricer(PRICES, everything=True)
    assert list(repricer.reprice([known])) == []
    assert repricer.totals.reasons == {"model_unknown": 1}


def test_the_sum_of_a_batch_is_left_as_it_is() -> None:
    repricer = Repricer(PRICES, everything=True)
    assert list(repricer.reprice([call(usage_of={"kind": "batch", "id": "batch_1"})])) == []
    assert repricer.totals.reasons == {"batch": 1}


def test_what_stays_unknown_is_counted_by_reason() -> None:
    repricer = Repricer(PRICES)
    calls = [
        call(1, model="unheard-of"),
        call(2, usage=None, cost=None),
        call(3, timestamp="soon"),
        call(4, model=7, usage={"input_tokens": "x"}, host=None, cost="free", hosted_tools=[1]),
        call(5, service_tier="flex"),
    ]
    assert list(repricer.reprice(calls)) == []
    assert repricer.totals.reasons == {"model_unknown": 2, "no_usage": 1, "bad_event": 1, "tier_unknown": 1}
    assert cost_of(typed(calls[3])) is not None
