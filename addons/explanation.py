"""Explain a call dry: the gate's own list of checks runs on a request that is made up for it."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import quote

from mitmproxy import connection, http

from addons.checks.check import Phase, first_refusal, grant_of
from addons.checks.history import History
from addons.checks.limits import reservation
from addons.checks.limits.reservation import of_request, of_upload
from addons.checks.pipeline import pipeline
from addons.flow.call import Call, new_call
from addons.flow.errors import Refusal
from addons.flow.hold import NOTHING, Hold
from addons.openai.endpoint import Endpoint, Takes
from addons.openai.endpoints import CHAT, ID, ROUTES, UPGRADE
from addons.openai.pricing.bill import Unpriced
from addons.recording.cost import Prices
from addons.settings.options import Settings
from store.core.errors import Invalid
from store.database.engine import Connection
from store.ledger import ReservationDecision, ReservationRequest
from store.ledger.account import Gauge, gauges_of_grant
from store.ledger.reservations import ReservationBatch
from store.ledger.use import amount, shown
from store.objects.table import Owner, owners
from store.tokens import limits
from store.tokens.amounts import USD, number_text
from store.tokens.models import Grant

T = TypeVar("T")

GROUP = re.compile(r"\(\?:([^()|]*)(?:\|[^()]*)?\)(\?)?")

HOST = "api.openai.com"
HANDSHAKE = {
    "connection": "Upgrade",
    "upgrade": "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@dataclass(frozen=True, slots=True)
class Question:
    """Describes the call that is asked about."""

    endpoint: str = CHAT
    model: str | None = None
    client: str | None = None
    body: Mapping[str, Any] | None = None
    """It is that of the request; None for a short one that names the model."""
    request_metadata: Mapping[str, str] = field(default_factory=dict)
    """These are the metadata that the client says by headers."""


class DryLedger:
    """Answers as the ledger would, and takes nothing."""

    def __init__(self, db: Connection, now: float) -> None:
        self._book = ReservationBatch(db, "", now)
        self.asked = False

    def reserve(self, ask: ReservationRequest) -> Future[ReservationDecision]:
        self.asked = True
        return _done(self._book.reserve(ask, take=False))

    look = reserve

    def release(self, call_id: str) -> None:
        """Do nothing: nothing is held."""


class StoredOwners:
    """Looks up the owners of the objects that the store knows."""

    busy = False

    def __init__(self, db: Connection) -> None:
        self._db = db

    def known(self, _id: str) -> Owner | None:
        return None

    def ask(self, ids: Iterable[str]) -> Future[dict[str, Owner]]:
        return _done(owners(self._db, ids))


def _done(value: T) -> Future[T]:
    future: Future[T] = Future()
    future.set_result(value)
    return future


@dataclass(frozen=True, slots=True)
class DryServices:
    """Provides what the checks need, without a proxy."""

    ledger: DryLedger
    objects: StoredOwners
    history: History


@dataclass(frozen=True, slots=True)
class DryRun:
    """Provides the circumstances of a proxy."""

    settings: Settings
    services: DryServices


def explain(
    db: Connection, grant: Grant, asked: Question, settings: Settings, history: History
) -> dict[str, Any]:
    """Answer as JSON, by the options of `settings`. Takes nothing off any limit; for a thread without a
    loop.
    """
    now = time.time()
    client = asked.client or _client_within(grant)
    call = _call(grant, asked, client)
    dry = DryRun(settings, DryServices(DryLedger(db, now), StoredOwners(db), history))
    why_not = asyncio.run(_refusal(dry, call))
    wanted = _wanted(dry, call)
    most = _most(call, wanted, settings.prices)
    gauges = gauges_of_grant(db, grant_of(call), now)
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


async def _refusal(dry: DryRun, call: Call) -> Refusal | None:
    """Say why the call may not pass, by the gate's own list of checks."""
    checks = pipeline(dry, None)
    return await first_refusal(checks, Phase.HEADERS, call) or await first_refusal(checks, Phase.BODY, call)


def _wanted(dry: DryRun, call: Call) -> Hold:
    """Work out what the call would hold, whether or not its limits allow it."""
    if call.hold is not None or not dry.services.ledger.asked or call.websocket:
        return call.hold or NOTHING
    if call.flow.request.stream:
        found = of_upload(call.flow.request, call, dry.settings.prices, dry.services.history)
    else:
        found = of_request(call, dry.settings.prices, dry.services.history)
    return NOTHING if isinstance(found, Refusal) else found


def _most(call: Call, hold: Hold, prices: Prices) -> tuple[int | None, int | None]:
    """Give the most tokens and nano-USD that the call can use; None without a bound, or a known one."""
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
    """Give by how much calls like this one may exceed a budget or a rate: all at once, each using the most.

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
    method, path, kind, websocket = route_of(asked.endpoint)
    content_type, content = _content(kind, asked)
    headers = dict(HANDSHAKE) if websocket else {}
    for name, value in asked.request_metadata.items():
        usable = isinstance(value, str) and value.isprintable() and name.isascii() and name.isprintable()
        if not usable:
            raise Invalid(f"request metadata {name[:80]!r}: use printable text, and ASCII for the name.")
        headers[f"X-LLMProxy-Metadata-{name}"] = value
    if method != "GET":
        headers |= {"content-type": content_type, "content-length": str(len(content))}
    elif asked.model is not None:
        path = f"{path}?model={quote(asked.model)}"
    request = http.Request.make(method, f"https://{HOST}{path}", b"" if method == "GET" else content)
    request.headers.update(headers)
    peer, here = (client or "127.0.0.1", 1), ("127.0.0.1", 1)
    flow = http.HTTPFlow(
        connection.Client(peername=peer, sockname=here), connection.Server(address=(HOST, 443))
    )
    flow.request = request
    call = new_call(flow, kind, websocket=websocket)
    call.grant = grant
    return call


def _content(kind: Endpoint, asked: Question) -> tuple[str, bytes]:
    """Give a type and a body that the endpoint takes."""
    if Takes.JSON not in kind.takes and asked.body is None:
        part = f'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n{asked.model}\r\n'
        return "multipart/form-data; boundary=b", f"{part if asked.model else ''}--b--\r\n".encode()
    body: Mapping[str, Any] = {"input": "Hello"}
    if kind.name == CHAT:
        body = {"messages": [{"role": "user", "content": "Hello"}]}
    body = body if asked.body is None else asked.body
    if asked.model is not None:
        body = {**body, "model": asked.model}
    return "application/json", json.dumps(body).encode()


def route_of(name: str) -> tuple[str, str, Endpoint, bool]:
    """Give a method and a path of this endpoint, the endpoint, and whether it opens a WebSocket.

    Raises Invalid.
    """
    for route in ROUTES:
        if route.endpoint.name == name:
            method = route.methods.partition("|")[0]
            path = f"/v1/{_example(route.path)}"
            return method.replace(UPGRADE, "GET"), path, route.endpoint, method == UPGRADE
    raise Invalid(f"endpoint {name[:40]!r}: write one of those in docs/endpoints.md, such as chat.")


def _example(pattern: str) -> str:
    """Give a path that a row's pattern matches: of alternatives the first, without what may be left out."""
    path = pattern.replace(ID, "id").replace(".+", "id")
    while (shorter := GROUP.sub(lambda group: "" if group[2] else group[1], path)) != path:
        path = shorter
    return path


def _client_within(grant: Grant) -> str | None:
    """Give an address that the token allows, where it allows only some."""
    networks = [network for each in grant.limits for network in each.networks]
    return str(ipaddress.ip_network(networks[0]).network_address) if networks else None
