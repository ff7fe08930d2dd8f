"""Which event has the usage of what may be shown by several."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from addons.openai.objects.made import made
from addons.openai.pricing.price_file import parse
from addons.recording import shared_usage
from addons.recording.cost import BUNDLED
from addons.recording.shared_usage import Import, SharedUsage, priced_anew
from store.core.event import Usage, UsageEvent, UsageOf, User
from store.database.engines import engine_of
from store.objects.table import NewObject, Owner
from store.objects.worker import ObjectWorker
from store.tokens.store import TokenStore
from tests.events import typed


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TokenStore]:
    store = TokenStore.open(tmp_path / "store.db")
    yield store
    store.close()


@pytest.fixture
def worker(store: TokenStore, tmp_path: Path) -> Iterator[ObjectWorker]:
    worker = ObjectWorker(tmp_path / "store.db")
    yield worker
    worker.close()


def event(id_: str, token: str = "t", **more: Any) -> UsageEvent:
    fields = {
        "event_id": id_,
        "endpoint": "responses",
        "token_id": token,
        "response_id": "resp_1",
        "usage": {"total_tokens": 5},
        "usage_of": {"kind": "response", "id": "resp_1", "asked_by": token},
        "cost": {"usd": "1"},
        "hosted_tools": {"web_search": 1},
        **more,
    }
    return typed(fields)


SEEN = {
    "timestamp": "2026-11-28T12:00:00Z",
    "model": "gpt-5.4",
    "host": "api.openai.com",
    "usage": {"input_tokens": 1000, "output_tokens": 0, "total_tokens": 1000},
    "hosted_tools": {},
}
"""The rest of a look at a response."""


def test_the_first_one_has_it_and_for_whoever_made_it(store: TokenStore, worker: ObjectWorker) -> None:
    project = store.create_project("acme", "sk-a", metadata={"team": "x"})
    token, _ = store.create_token(project.id, metadata={"user_id": "ann"})
    worker.note([NewObject("resp_1", "response", Owner(project.id, token.id), due=True)])
    accounts = SharedUsage(worker)
    first = accounts.decide(event("event-1", "other"), "writer")
    assert first.usage == Usage(total_tokens=5)
    assert (first.project_name, first.token_id) == ("acme", token.id)
    assert first.user == User("ann", "token_metadata.user_id")
    assert first.token_metadata == {"team": "x", "user_id": "ann"}
    assert first.usage_of is not None
    assert first.usage_of.asked_by == "other"
    second = accounts.decide(event("event-2"), "writer")
    assert (second.usage, second.usage_of, second.cost, second.hosted_tools) == (None, None, None, {})
    assert (second.usage_missing_code, second.token_id) == ("counted", "t")
    accounts.recorded([first, second])
    worker.close()


def test_a_turn_of_an_agent_is_counted_by_whoever_sees_its_end_first(
    store: TokenStore, worker: ObjectWorker
) -> None:
    """Nobody asks for a turn by itself, so no row waits for it; a look makes one."""
    project = store.create_project("acme", "sk-a")
    token, _ = store.create_token(project.id)
    accounts = SharedUsage(worker)

    def look(id_: str, turn: str) -> Any:
        shown = UsageOf("agent.session.turn", turn)
        path = f"/v1/agents/sessions/sess_1/turns/{turn}"
        seen = event(id_, token.id, project_id=project.id, endpoint="agents", method="GET", path=path)
        found = accounts.decide(replace(seen, usage_of=shown), "writer")
        accounts.recorded([found])
        return found.usage

    looks = [look("event-1", "turn_1"), look("event-2", "turn_1"), look("event-3", "turn_2")]
    assert [usage is not None for usage in looks] == [True, False, True]
    imported = Import()
    turn = {"kind": "agent.session.turn", "id": "turn_1"}
    seen = [imported.decide(event(str(n), endpoint="agents", usage_of=turn)) for n in range(2)]
    assert [one.usage is not None for one in seen] == [True, False]


def test_without_the_store_the_next_look_counts(store: TokenStore, tmp_path: Path) -> None:
    place = tmp_path / "store.db"
    worker = ObjectWorker(place)
    worker.note([NewObject("resp_1", "response", Owner(None), due=True)])
    worker.ask(["resp_1"]).result(20)
    place.rename(tmp_path / "away.db")
    accounts = SharedUsage(worker)
    assert accounts.decide(event("event-1"), "writer").usage_missing_code == "later"
    (tmp_path / "away.db").rename(place)
    assert accounts.decide(event("event-2"), "writer").usage
    worker.close()
    connection = engine_of(place).connect()
    assert connection.rows("SELECT counted_by FROM objects")[0]["counted_by"] == "event-2"
    connection.close()


def test_a_store_that_hangs_holds_up_one_event(store: TokenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_usage, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(shared_usage, "QUICK_SECONDS", 0.1)
    worker = ObjectWorker(store.location)
    worker.note([NewObject("resp_1", "response", Owner(None), due=True)])
    worker.ask(["resp_1"]).result(20)
    released, begun = threading.Event(), time.monotonic()
    worker.do(lambda _: released.wait(30))
    accounts = SharedUsage(worker)
    shown = [accounts.decide(event(f"event-{number}"), "writer") for number in range(20)]
    assert time.monotonic() - begun < 2, "not one wait for each"
    assert {each.usage_missing_code for each in shown} == {"later"}
    assert not accounts.decides
    released.set()
    worker.ask([]).result(20)
    monkeypatch.setattr(accounts, "_asked_again_at", 0.0)
    assert accounts.decide(event("event-20"), "writer").usage, "no event that came without it has the claim"
    assert accounts.decides
    worker.close()


def test_an_import_counts_what_it_sees_first() -> None:
    accounts = Import()
    queued = event("1", usage=None, usage_of=None)
    events = [accounts.decide(one) for one in (queued, event("2"), event("3"))]
    assert [bool(one.usage) for one in events] == [False, True, False]
    accounts = Import()
    events = [
        accounts.decide(one) for one in (event("1", usage_of=None), event("2"), event("3", usage_of=None))
    ]
    assert [bool(one.usage) for one in events] == [True, False, True]


def test_a_look_has_the_price_of_the_completion_window(store: TokenStore, worker: ObjectWorker) -> None:
    project = store.create_project("acme", "sk-a")
    token, _ = store.create_token(project.id)
    (begun,) = made(
        "POST",
        "/v1/responses",
        {"id": "resp_1", "object": "response", "status": "queued"},
        {"model": "gpt-5.4", "background": True, "background_options": {"completion_window": "8h"}},
    )
    owner = Owner(project.id, token.id)
    worker.note([NewObject(begun.id, begun.kind, owner, begun.due, status=begun.status)])
    look = event("event-1", service_tier="default", **SEEN)
    found = SharedUsage(worker).decide(look, "writer")
    assert found.service_tier == "background/8h"
    half = {"when": {"processing": "batch"}, "prices": {"input_mtok": 1.25, "output_mtok": 7.5}}
    model = {"id": "gpt-5.4", "prices": {"input_mtok": 2.5, "output_mtok": 15}, "price_variants": [half]}
    prices = parse(json.dumps([{"id": "openai", "models": [model]}]), "own.json")
    cost = priced_anew(look, found, prices).cost
    assert cost is not None
    assert (cost.usd, cost.reason) == ("0.00125", "lower_bound")
    other = replace(found, service_tier="default")
    assert priced_anew(other, other, BUNDLED).cost == other.cost, "what is as it was is not priced again"


def test_an_import_knows_the_completion_window_of_the_call() -> None:
    accounts = Import()
    queued = event("1", usage=None, usage_of=None, service_tier="background/2h")
    look = event("2", service_tier=None, **SEEN)
    accounts.decide(queued)
    assert accounts.decide(look).service_tier == "background/2h"
    assert Import().decide(look).service_tier is None


def test_a_look_knows_the_tier_that_was_asked_for(store: TokenStore, worker: ObjectWorker) -> None:
    project = store.create_project("acme", "sk-a")
    token, _ = store.create_token(project.id)
    (begun,) = made(
        "POST",
        "/v1/responses",
        {"id": "resp_1", "object": "response", "status": "queued", "service_tier": "auto"},
        {"model": "gpt-5.4", "background": True, "service_tier": "priority"},
    )
    owner = Owner(project.id, token.id)
    worker.note([NewObject(begun.id, begun.kind, owner, begun.due, status=begun.status)])
    look = event("event-1", service_tier=None, **SEEN)
    found = SharedUsage(worker).decide(look, "writer")
    assert found.service_tier_requested == "priority"
    fast = {"when": {"service_tier": "priority"}, "prices": {"input_mtok": 5, "output_mtok": 30}}
    model = {"id": "gpt-5.4", "prices": {"input_mtok": 2.5, "output_mtok": 15}, "price_variants": [fast]}
    prices = parse(json.dumps([{"id": "openai", "models": [model]}]), "own.json")
    cost = priced_anew(look, found, prices).cost
    assert cost is not None
    assert cost.reason == "lower_bound"


def test_an_import_knows_the_tier_that_the_call_asked_for() -> None:
    accounts = Import()
    accounts.decide(event("1", usage=None, usage_of=None, service_tier_requested="priority"))
    assert accounts.decide(event("2", service_tier=None, **SEEN)).service_tier_requested == "priority"
