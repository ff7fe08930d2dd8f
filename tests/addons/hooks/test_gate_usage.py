"""Under a limit what a call uses is known, whatever its client does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from addons.checks.history import History
from addons.recording.event_builder import event_of
from addons.recording.finished_call import exchange_of
from store.database.engines import engine_of
from store.ledger import Finished
from store.ledger.finished import finished_of
from tests.addons.hooks.gated import CHAT, HELLO, Gated, Reply, gated

BUDGET = {"budgets": {"usd": {"day": "5"}}}
MINI = {"model": "o4-mini", "stream": True, "messages": HELLO["messages"]}
DECLINED = {**MINI, "stream_options": {"include_usage": False, "include_obfuscation": False}}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gated]:
    with gated(tmp_path_factory.mktemp("usage")) as made:
        yield made


@pytest.fixture(scope="module")
def off(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gated]:
    with gated(tmp_path_factory.mktemp("off"), llm_include_usage=["off"]) as made:
        yield made


def asked(reply: Reply) -> Any:
    assert reply.code is None
    assert reply.call is not None
    options = json.loads(reply.flow.request.content or b"").get("stream_options")
    assert reply.call.usage_added == (options == {**(options or {}), "include_usage": True})
    return options


def test_a_client_that_declines_is_asked_for_all_the_same(world: Gated) -> None:
    reply = world.ask(world.token(BUDGET), CHAT, DECLINED)
    assert asked(reply) == {"include_usage": True, "include_obfuscation": False}
    assert reply.call is not None
    assert not reply.call.usage_declined
    assert reply.call.request_body == json.dumps(DECLINED).encode()
    assert (reply.flow.request.content or b"").count(b"include_usage") == 1


@pytest.mark.parametrize(
    "limits", [BUDGET, {"tokens_per_minute": 10**6}, {**BUDGET, "budget_mode": "strict"}]
)
def test_any_limit_of_what_is_used_has_it_asked_for(off: Gated, limits: dict[str, Any]) -> None:
    assert asked(off.ask(off.token(limits), CHAT, MINI)) == {"include_usage": True}


@pytest.mark.parametrize("limits", [{}, {"requests_per_minute": 100}])
def test_without_one_client_and_options_decide(world: Gated, off: Gated, limits: dict[str, Any]) -> None:
    assert off.ask(off.token(limits), CHAT, MINI).flow.request.json().get("stream_options") is None
    said = world.ask(world.token(limits), CHAT, DECLINED).flow.request.json()["stream_options"]
    assert said == DECLINED["stream_options"]


def charged(world: Gated, body: Any, *, outcome: str, limits: dict[str, Any]) -> tuple[int, int, Finished]:
    """Tokens and nano-USD that the ledger charges for a call whose client left before anything was seen."""
    token, text = world.new_token(limits)
    reply = world.ask(text.reveal(), CHAT, body)
    services = world.runtime.services
    assert reply.call is not None
    assert services is not None
    exchange = exchange_of(reply.call, outcome)
    exchange.sent, exchange.status = True, 200
    done = finished_of(event_of(exchange), seq=0, sent=exchange.sent)
    services.ledger.finish([done], "w").result(30)
    connection = engine_of(world.folder / "store.db").connect()
    (row,) = connection.rows("SELECT * FROM spend WHERE subject = :id AND period = 'total'", id=token.id)
    connection.close()
    return row["tokens"], row["nano_usd"], done


def test_who_leaves_before_the_usage_pays_for_the_most(world: Gated) -> None:
    tokens, nano_usd, done = charged(world, MINI, outcome="client_aborted", limits=BUDGET)
    assert tokens >= 100_000, "the longest answer of o4-mini"
    assert nano_usd > 10**8
    history = History()
    for _ in range(20):
        history.add(done, "o4-mini")
    assert history.usual((done.token_id, "chat", "o4-mini")) is None, "nothing is learnt from it"


def test_max_tokens_bounds_what_that_is(world: Gated) -> None:
    body = {**MINI, "max_tokens": 50}
    tokens, _, _ = charged(world, body, outcome="client_aborted", limits=BUDGET)
    assert 50 < tokens < 2_000


def test_a_call_without_limits_pays_nothing_of_it(world: Gated) -> None:
    assert charged(world, MINI, outcome="client_aborted", limits={})[:2] == (0, 0)


@pytest.mark.parametrize("outcome", ["budget_ended", "shutdown", "proxy_died"])
def test_what_the_proxy_has_ended_pays_for_what_was_held(world: Gated, outcome: str) -> None:
    tokens, nano_usd, _ = charged(world, MINI, outcome=outcome, limits=BUDGET)
    assert 1_000 < tokens < 2_000
    assert 0 < nano_usd < 10**8
