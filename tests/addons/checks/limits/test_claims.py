"""What a call claims of itself counts where limits depend on it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from addons.checks.limits.claims import of_turn
from addons.explanation import Question, explain
from addons.flow.call import open_calls
from store.core.errors import Invalid
from store.database.engines import engine_of
from store.tokens import label_limits
from store.tokens.limits import of
from tests.addons.hooks.gated import HANDSHAKE, HELLO, Gated, gated

CENT = of({"budgets": {"usd": {"total": "0.02"}}})
TURN = {"session_id": "s1", "thread_id": "t1", "thread_source": "subagent"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Gated]:
    with gated(tmp_path) as made:
        yield made
    open_calls.clear()


def test_a_session_is_refused_whether_header_or_body_names_it(world: Gated) -> None:
    token = world.token(session_limits=of({"budgets": {"tokens": {"total": 1500}}}))
    said = {"client_metadata": {"x-codex-turn-metadata": json.dumps(TURN)}}
    assert world.ask(token, headers={"session_id": "s1"}).code is None
    reply = world.ask(token, body={**HELLO, **said})
    assert reply.code == "insufficient_quota"
    assert reply.status == 429
    assert "llmproxy session topup" in reply.error["message"]
    assert reply.flow.response is not None
    assert reply.flow.response.headers["x-should-retry"] == "false"
    assert world.ask(token, body=HELLO, headers={"session-id": "s2"}).code is None
    assert world.ask(token).code is None, "calls without one have a session of their own"
    assert world.ask(token).code == "insufficient_quota"


def test_users_and_addresses_are_told_apart(world: Gated) -> None:
    one = of({"requests_per_minute": 1})
    world.store.update_project(world.project.id, user_limits=one)
    token, ada = world.token(), world.token(metadata={"user_id": "ada"})
    assert world.ask(token, body={**HELLO, "user": "ada"}).code is None
    assert world.ask(token, body={**HELLO, "user": "bob"}).code is None
    assert world.ask(token, body={**HELLO, "safety_identifier": "ada"}).code == "rate_limit_exceeded"
    assert world.ask(ada, body={**HELLO, "user": "carl"}).code == "rate_limit_exceeded", "the token says ada"
    world.store.update_project(world.project.id, user_limits=of({}), address_limits=one)
    assert world.ask(world.token(), client="192.0.2.1").code is None
    assert world.ask(world.token(), client="192.0.2.1").code == "rate_limit_exceeded"
    assert world.ask(world.token(), client="192.0.2.2").code is None


def test_a_turn_of_a_socket_names_its_own_session(world: Gated) -> None:
    token = world.token(session_limits=CENT)
    given = {**HANDSHAKE, "session-id": "s0"}
    reply = world.ask(token, "/v1/responses", body=b"", method="GET", headers=given)
    assert reply.code is None
    call = reply.call
    assert call is not None
    assert call.grant is not None
    assert call.grant.claims["session"] == "s0"
    assert of_turn(call, {"client_metadata": {"session_id": "s1"}}).claims["session"] == "s1"
    assert of_turn(call, {}).claims["session"] == "s0"


def test_explain_shows_what_a_user_has_left(world: Gated) -> None:
    world.store.update_project(world.project.id, user_limits=of({"budgets": {"usd": {"day": "2"}}}))
    token, _ = world.new_token()
    services, settings = world.runtime.services, world.runtime.settings
    assert services is not None
    connection = engine_of(world.folder / "store.db").connect()
    asked = Question(body={**HELLO, "user": "ada"})
    answer = world.store.explained(
        token.id, lambda db, grant: explain(db, grant, asked, settings, services.history)
    )
    connection.close()
    assert [(row["side"], row["limit"], row["left"]) for row in answer["limits"]] == [
        ("user", "usd/day", "2")
    ]


CUSTOMER = label_limits.of({"customer": {"requests_per_minute": 1}})


def of_customer(name: str) -> dict[str, str]:
    return {"X-LLMProxy-Metadata-Customer": name}


def test_a_header_that_is_allowed_names_a_labels_value(world: Gated) -> None:
    token = world.token(header_metadata=["customer"], label_limits=CUSTOMER)
    assert world.ask(token, headers=of_customer("c1")).code is None
    assert world.ask(token, headers=of_customer("c2")).code is None
    reply = world.ask(token, headers=of_customer("c1"))
    assert (reply.status, reply.code) == (429, "rate_limit_exceeded")
    assert "The label customer=c1's limit of 1 requests per minute" in reply.error["message"]
    assert reply.flow.response is not None
    assert int(reply.flow.response.headers["retry-after"]) >= 1
    assert world.ask(token).code is None, "calls without the label share one more"
    assert "customer=(none)'s" in world.ask(token, headers=of_customer("")).error["message"]


def test_a_header_that_is_not_allowed_names_none(world: Gated) -> None:
    token = world.token(label_limits=CUSTOMER)
    assert world.ask(token, headers=of_customer("c1")).code is None
    assert "customer=(none)'s" in world.ask(token, headers=of_customer("c2")).error["message"]
    own = world.token(
        label_limits=CUSTOMER, header_metadata=["customer"], metadata={"customer": "of the token"}
    )
    assert world.ask(own, headers=of_customer("c1")).code is None
    assert "customer=of the token's" in world.ask(own, headers=of_customer("c2")).error["message"]


def test_a_form_that_goes_up_as_it_comes_has_its_label(world: Gated) -> None:
    world.store.update_project(world.project.id, user_limits=of({"max_concurrent": 1}))
    token = world.token(header_metadata=["customer", "user_id"], label_limits=CUSTOMER)
    form = {"content-type": "multipart/form-data; boundary=b", "content-length": str(50 * 2**20)}
    said = {**form, **of_customer("c1"), "X-LLMProxy-Metadata-User-Id": "ada"}
    reply = world.ask(token, "/v1/audio/transcriptions", b"--b--\r\n", headers=said)
    assert reply.code is None
    assert reply.call is not None
    assert reply.call.grant is not None
    assert reply.call.grant.claims == {"label:customer": "c1", "user": "ada", "address": "127.0.0.1"}
    assert "x-llmproxy-metadata-customer" not in reply.flow.request.headers
    assert reply.call.request_metadata.pairs == {"customer": "c1", "user_id": "ada"}


@pytest.mark.parametrize("mode", ["strict", "expected"])
def test_a_labels_budget_holds_in_both_modes(world: Gated, mode: str) -> None:
    labels = label_limits.of({"customer": {"budgets": {"usd": {"day": "0.02"}}}})
    token = world.token({"budget_mode": mode}, header_metadata=["customer"], label_limits=labels)
    asked = {**HELLO, "max_tokens": 16_000}
    codes = [world.ask(token, body=asked, headers=of_customer("c1")).code for _ in range(3)]
    held = {"strict": [None, None, "insufficient_quota"], "expected": [None, None, None]}
    assert codes == held[mode], "16,000 tokens cost 0.0096 dollars; a first call is expected to cost 0.0006"
    dear = {**asked, "n": 3}
    reply = world.ask(token, body=dear, headers=of_customer("c2"))
    assert reply.code == held[mode][2]
    if mode == "strict":
        assert "The label customer=c2's budget of 0.02 USD per day" in reply.error["message"]
        unpriced = world.ask(token, body={**HELLO, "model": "no-such-model"}, headers=of_customer("c3"))
        assert unpriced.code == "price_unknown"


def test_explain_shows_what_a_label_has_left(world: Gated) -> None:
    token, _ = world.new_token(header_metadata=["customer"], label_limits=CUSTOMER, metadata={"team": "a"})
    world.store.update_project(
        world.project.id, label_limits=label_limits.of({"team": {"max_concurrent": 2}})
    )
    services, settings = world.runtime.services, world.runtime.settings
    assert services is not None
    asked = Question(model="gpt-4o-mini", request_metadata={"customer": "c1"})
    answer = world.store.explained(
        token.id, lambda db, grant: explain(db, grant, asked, settings, services.history)
    )
    assert [(row["name"], row["limit"], row["left"]) for row in answer["limits"]] == [
        ("team=a", "max_concurrent", 2),
        ("customer=c1", "requests_per_minute", 1),
    ]
    with pytest.raises(Invalid, match="printable"):
        world.store.explained(
            token.id,
            lambda db, grant: explain(
                db, grant, Question(request_metadata={"a": "b\r\nc: d"}), settings, services.history
            ),
        )
