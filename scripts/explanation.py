"""What the gate would say of a call, by the gate's own functions, on a request that is made up for it."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mitmproxy import connection, http

from addons import model_gate, refusal
from addons.calls import Call, open_call, open_calls
from addons.cost import Prices
from addons.openai.bill import Unpriced
from addons.openai.endpoints import ID, ROUTES, UPGRADE, Endpoint
from addons.policy import access, output, refusals, reservation
from addons.policy.history import History
from addons.policy.reservation import Hold
from addons.refusal import Refusal
from store import limits
from store.engine import Connection
from store.errors import Invalid
from store.ledger import Ask
from store.ledger.account import Gauge, gauges_of_project, gauges_of_token
from store.ledger.book import Book
from store.ledger.use import amount, shown
from store.limits import USD, number_text
from store.lookup import check
from store.models import Grant

HOST = "api.openai.com"


@dataclass(frozen=True, slots=True)
class Question:
    """The call that is asked about."""

    endpoint: str = "chat"
    model: str | None = None
    client: str | None = None
    body: Mapping[str, Any] | None = None
    """Of the request; None for a short one that names the model."""


def explain(
    db: Connection, grant: Grant, asked: Question, prices: Prices, history: History
) -> dict[str, Any]:
    """The answer as JSON. Takes nothing off any limit."""
    now = time.time()
    client = asked.client or _client_within(grant)
    call = _call(grant, asked, client)
    try:
        hold = _judge(call, prices, history)
        why_not = hold if isinstance(hold, Refusal) else None
        wanted = reservation.NOTHING if isinstance(hold, Refusal) else hold
        most = _most(call, wanted, prices)
    finally:
        open_calls.pop(call.flow.id, None)
    if why_not is None and grant.needs_claim:
        ask = Ask(call.id, grant, wanted.tokens, wanted.nano_usd)
        why_not = refusals.why_not(Book(db, "", now).reserve(ask, take=False))
    gauges = [*gauges_of_token(db, grant.token, now), *gauges_of_project(db, grant.project, now)]
    rows = shown(gauges, now)
    for row, gauge in zip(rows, gauges, strict=True):
        row.update(_asks(gauge, wanted), may_exceed_by=_excess(gauge, gauges, wanted, most))
    return {
        "allowed": why_not is None,
        "refusal": why_not and {"status": why_not.status, "code": why_not.code, "message": why_not.message},
        "token_id": grant.token.id,
        "project_id": grant.project.id,
        "endpoint": call.kind.name,
        "model": asked.model,
        "client": client,
        "budget_mode": limits.budget_mode(*grant.limits),
        "on_budget_end": limits.on_budget_end(*grant.limits),
        "max_output_tokens": limits.max_output_tokens(*grant.limits),
        "holds": {"tokens": wanted.tokens, "usd": number_text(USD, wanted.nano_usd)},
        "at_most": {"tokens": most[0], "usd": None if most[1] is None else number_text(USD, most[1])},
        "limits": rows,
    }


def _judge(call: Call, prices: Prices, history: History) -> Hold | Refusal:
    """In the gate's order; what the call would hold, or why it may not pass."""
    grant, request = call.grant, call.flow.request
    assert grant is not None
    if reason := check(grant, datetime.now(UTC)):
        return refusal.BY_REASON[reason]
    if why_not := access.judge(grant, call.kind, call.client_address):
        return why_not
    call.models = access.models(grant, ("*",))
    asked = model_gate.asked(request, call)
    if why_not := model_gate.judge(call, asked):
        return why_not
    if output.is_limited(call) and (why_not := output.judge(request, call, model_gate.known(call, asked))):
        return why_not
    return asyncio.run(reservation.of_request(request, call, prices, history))


def _most(call: Call, hold: Hold, prices: Prices) -> tuple[int | None, int | None]:
    """Tokens and nano-USD that the call can use at most; None where there is no bound, or none is known."""
    if hold.most is None:
        return hold.tokens, hold.nano_usd
    if hold.most.unbounded:
        return None, None
    try:
        return hold.most.tokens, reservation.price(call, hold.most, prices)
    except Unpriced:
        return hold.most.tokens, None


def _asks(gauge: Gauge, wanted: Hold) -> dict[str, Any]:
    asked = {"requests": 1, "running": 1, "tokens": wanted.tokens, "nano_usd": wanted.nano_usd}[gauge.takes]
    return {"asks": amount(gauge.limit, asked)}


def _excess(
    gauge: Gauge, gauges: Sequence[Gauge], wanted: Hold, most: tuple[int | None, int | None]
) -> str | int | None:
    """By how much calls like this one may exceed a budget or a rate: all at once, each using the most.

    None where nothing bounds it.
    """
    if gauge.takes not in ("tokens", "nano_usd"):
        return 0
    held, upper = (wanted.tokens, most[0]) if gauge.takes == "tokens" else (wanted.nano_usd, most[1])
    if upper == held:
        return amount(gauge.limit, 0)
    places = [each.allowed for each in gauges if each.takes == "running"]
    if held:
        places.append(max(0, gauge.allowed - gauge.used) // held)
    return None if upper is None or not places else amount(gauge.limit, min(places) * (upper - held))


def _call(grant: Grant, asked: Question, client: str | None) -> Call:
    method, path, kind = _route(asked.endpoint)
    body: Mapping[str, Any] = {"input": "Hello"}
    if kind.name == "chat":
        body = {"messages": [{"role": "user", "content": "Hello"}]}
    body = body if asked.body is None else asked.body
    if asked.model is not None:
        body = {**body, "model": asked.model}
    headers = http.Headers(content_type="application/json")
    request = http.Request.make(method, f"https://{HOST}{path}", json.dumps(body), headers)
    peer, here = (client or "127.0.0.1", 1), ("127.0.0.1", 1)
    flow = http.HTTPFlow(
        connection.Client(peername=peer, sockname=here), connection.Server(address=(HOST, 443))
    )
    flow.request = request
    call = open_call(flow, kind)
    call.grant = grant
    return call


def _route(name: str) -> tuple[str, str, Endpoint]:
    """A method and a path of this endpoint. Raises Invalid."""
    for route in ROUTES:
        if route.endpoint.name == name:
            method = route.methods.partition("|")[0].replace(UPGRADE, "GET")
            literal = re.match(r"[a-z_/]*", route.path.replace(ID, "id"))
            assert literal
            return method, f"/v1/{literal[0]}", route.endpoint
    raise Invalid(f"endpoint {name[:40]!r}: write one of those in docs/endpoints.md, such as chat.")


def _client_within(grant: Grant) -> str | None:
    """An address that the token allows, where it allows only some."""
    networks = [network for each in grant.limits for network in each.networks]
    return str(ipaddress.ip_network(networks[0]).network_address) if networks else None
