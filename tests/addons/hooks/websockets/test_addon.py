"""What may pass within a session, as far as no process is needed to see it (see also tests/live)."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import Future
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from mitmproxy import http, websocket
from mitmproxy.test import taddons, tflow
from wsproto.frame_protocol import Opcode

from addons.checks.history import History
from addons.flow import final_guard, flow_metadata
from addons.hooks.ownership import Ownership
from addons.hooks.websockets import addon as realtime
from addons.hooks.websockets import checks
from addons.hooks.websockets.session import Session
from addons.openai.endpoints import resolve
from addons.openai.pricing.pricing import BUNDLED
from addons.openai.realtime.realtime import Turn, Turns
from addons.runtime import Runtime
from store.core.secret import Secret
from store.ledger import ReservationDecision, ReservationRequest
from store.tokens.limits import of
from tests.addons.checks.limits.test_reservation import call


def flow(text: str, *, from_client: bool = True, ours: bool = True) -> http.HTTPFlow:
    found = tflow.twebsocketflow()
    assert found.websocket
    found.websocket.messages.append(websocket.WebSocketMessage(Opcode.TEXT, from_client, text.encode()))
    if ours:
        found.metadata[flow_metadata.CALL] = "id"
    return found


def last(found: http.HTTPFlow) -> websocket.WebSocketMessage:
    assert found.websocket
    return found.websocket.messages[-1]


def test_the_seal_drops_what_nobody_has_checked() -> None:
    with taddons.context():
        for found, passes in (
            (flow("{}"), False),
            (flow("{}", from_client=False), True),
            (flow("{}", ours=False), True),
        ):
            final_guard.FinalGuard().websocket_message(found)
            assert last(found).dropped is not passes
        found = flow("{}")
        final_guard.checked.add(last(found))
        final_guard.FinalGuard().websocket_message(found)
        assert not last(found).dropped


def test_without_a_session_nothing_passes_and_nothing_is_kept() -> None:
    with taddons.context():
        found, runtime = flow("{}"), Runtime()
        asyncio.run(realtime.Realtime(runtime, Ownership(runtime)).websocket_message(found))
        assert last(found).dropped
        assert found.websocket
        assert len(found.websocket.messages) == 1


@pytest.mark.parametrize("secret", [{"value": "ek_1"}, "ek_1"])
def test_minted_secrets_are_hidden(secret: Any) -> None:
    event = {"type": "session.created", "session": {"model": "m", "client_secret": secret}}
    message = last(flow(json.dumps(event), from_client=False))
    realtime._hide_secret(message)
    assert json.loads(message.content)["session"] == {"model": "m", "client_secret": None}


def test_an_event_of_too_many_values_is_not_read() -> None:
    assert checks.judge_size(json.dumps({"input": "[{," * 200_000}).encode()) is None, "within a text"
    assert checks.judge_size(json.dumps({"input": [{}] * 30_000}).encode()) is None
    refused = checks.judge_size(json.dumps({"input": [{}] * 200_000}).encode())
    assert refused is not None
    assert (refused.status, refused.code) == (400, "event_not_allowed")


def test_the_ledger_knows_what_an_answer_can_use_at_most() -> None:
    """Asked for or not."""
    asked: list[ReservationRequest] = []

    def reserve(ask: ReservationRequest) -> Future[ReservationDecision]:
        asked.append(ask)
        given: Future[ReservationDecision] = Future()
        given.set_result(ReservationDecision())
        return given

    made = call("/v1/realtime", {}, budgets={"tokens": {"day": 10**6}})
    made.kind = resolve("GET", "/v1/realtime", upgrade=True)
    services: Any = SimpleNamespace(ledger=SimpleNamespace(reserve=reserve), history=History())
    session = Session(made, Turns(sequential=False))
    turn = Turn(id="r", event_id="e")
    checks.claim_unasked(session, turn, services, BUNDLED)
    asyncio.run(checks.claim(session, "t", "response.create", b"{}", services, BUNDLED))
    unasked, wanted = asked
    assert unasked.most_tokens > 30_000
    assert wanted.most_tokens > 30_000


def test_a_key_that_the_server_repeats_is_hidden() -> None:
    message = last(
        flow('{"type":"error","error":{"message":"bad key sk-real-0123456789"}}', from_client=False)
    )
    realtime._hide_known(message, [Secret("sk-real-0123456789")])
    assert json.loads(message.content)["error"]["message"] == "bad key [redacted]********"


def test_each_request_of_a_socket_counts_for_the_session_that_it_names() -> None:
    asked: list[ReservationRequest] = []

    def reserve(ask: ReservationRequest) -> Future[ReservationDecision]:
        asked.append(ask)
        given: Future[ReservationDecision] = Future()
        given.set_result(ReservationDecision())
        return given

    made = call("/v1/responses", {})
    assert made.grant is not None
    limits = of({"budgets": {"usd": {"total": "5"}}})
    made.grant = replace(made.grant, token=replace(made.grant.token, session_limits=limits))
    made.headers = [("session-id", "of-the-handshake")]
    made.kind = resolve("GET", "/v1/responses", upgrade=True)
    services: Any = SimpleNamespace(ledger=SimpleNamespace(reserve=reserve), history=History())
    session = Session(made, Turns(sequential=True))
    for said in ({"session_id": "s1"}, {"session_id": "s2"}, {}):
        event = {"type": "response.create", "model": "gpt-4o-mini", "input": "Hi", "client_metadata": said}
        data = json.dumps(event).encode()
        asyncio.run(checks.claim(session, "t", "response.create", data, services, BUNDLED))
    assert [ask.grant.claims["session"] for ask in asked] == ["s1", "s2", "of-the-handshake"]
    assert len({ask.ids["session_key"] for ask in asked}) == 3


@pytest.mark.parametrize("sequential", [True, False])
def test_events_keep_the_rules_of_parameters(sequential: bool) -> None:
    made = call("/v1/realtime", {})
    assert made.grant is not None
    rules = {"temperature": "0..1", "tools[].type": "function", "service_tier": "!flex"}
    made.grant = replace(made.grant, token=replace(made.grant.token, parameters=rules))
    session = Session(made, Turns(sequential=sequential))

    def judged(event: dict[str, Any]) -> str | None:
        refusal = asyncio.run(checks.judge(session, json.dumps(event).encode()))
        assert refusal is None or (refusal.status, refusal.code) == (400, "parameter_not_allowed")
        return None if refusal is None else refusal.param

    asks = {"type": "response.create", "service_tier": "flex"}
    assert judged(asks) is None
    assert judged({**asks, "temperature": 1.5}) == "temperature"
    assert judged({**asks, "response": {"temperature": 1.5}}) == "temperature"
    assert judged({**asks, "tools": [{"type": "mcp"}], "pad": "x" * 2 * checks.ON_LOOP}) == "tools[].type"
    assert judged({"type": "response.create"}) == ("service_tier" if sequential else None)
    if not sequential:
        assert judged({"type": "session.update", "session": {"tools": [{"type": "mcp"}]}}) == "tools[].type"
