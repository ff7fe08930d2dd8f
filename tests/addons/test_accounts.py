"""Which event has the usage of what may be shown by several."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from addons.accounts import Accounts, Import
from store.engine import engine_of
from store.object_clerk import ObjectClerk
from store.objects import NewObject, Owner
from store.tokens import TokenStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TokenStore]:
    store = TokenStore.open(tmp_path / "store.db")
    yield store
    store.close()


@pytest.fixture
def clerk(store: TokenStore, tmp_path: Path) -> Iterator[ObjectClerk]:
    clerk = ObjectClerk(tmp_path / "store.db")
    yield clerk
    clerk.close()


def event(id_: str, token: str = "t", **more: Any) -> dict[str, Any]:
    return {
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


def test_the_first_one_has_it_and_for_whoever_made_it(store: TokenStore, clerk: ObjectClerk) -> None:
    project = store.create_project("acme", "sk-a", metadata={"team": "x"})
    token, _ = store.create_token(project.id, metadata={"user_id": "ann"})
    clerk.note([NewObject("resp_1", "response", Owner(project.id, token.id), due=True)])
    accounts = Accounts(clerk)
    first = accounts.decide(event("event-1", "other"), "writer")
    assert first["usage"] == {"total_tokens": 5}
    assert (first["project_name"], first["token_id"], first["user"]["id"]) == ("acme", token.id, "ann")
    assert first["token_metadata"] == {"team": "x", "user_id": "ann"}
    assert first["usage_of"]["asked_by"] == "other"
    second = accounts.decide(event("event-2"), "writer")
    assert [second[name] for name in ("usage", "usage_of", "cost", "hosted_tools")] == [None, None, None, {}]
    assert (second["usage_missing_code"], second["token_id"]) == ("counted", "t")
    accounts.recorded([first, second])
    clerk.close()


def test_without_the_store_the_next_look_counts(store: TokenStore, tmp_path: Path) -> None:
    place = tmp_path / "store.db"
    clerk = ObjectClerk(place)
    clerk.note([NewObject("resp_1", "response", Owner(None), due=True)])
    clerk.ask(["resp_1"]).result(20)
    place.rename(tmp_path / "away.db")
    accounts = Accounts(clerk)
    assert accounts.decide(event("event-1"), "writer")["usage_missing_code"] == "later"
    (tmp_path / "away.db").rename(place)
    assert accounts.decide(event("event-2"), "writer")["usage"]
    clerk.close()
    connection = engine_of(place).connect()
    assert connection.rows("SELECT counted_by FROM objects")[0]["counted_by"] == "event-2"
    connection.close()


def test_an_import_counts_what_it_sees_first() -> None:
    accounts = Import()
    queued = event("1", usage=None, usage_of=None)
    events = [accounts.decide(one) for one in (queued, event("2"), event("3"))]
    assert [bool(one["usage"]) for one in events] == [False, True, False]
    accounts = Import()
    events = [
        accounts.decide(one) for one in (event("1", usage_of=None), event("2"), event("3", usage_of=None))
    ]
    assert [bool(one["usage"]) for one in events] == [True, False, True]
