"""What a call holds of the budgets and rates before it goes upstream.

In the mode `strict` it is the most that the call can use (:mod:`addons.openai.most`), so what is spent never
exceeds a budget. In the mode `expected` it is what such calls of the token have used, or, before there are
enough of them, a stated number; and never more than the most.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, replace
from typing import Any

from mitmproxy import http

from addons import model_gate, refusal
from addons.calls import Call, asks_for_websocket
from addons.openai import dearest, pricing
from addons.openai.bill import Unpriced
from addons.openai.encoding import decode
from addons.openai.model_of import BUDGET
from addons.openai.most import FORM_MODELS, Most, most, of_form, of_session
from addons.openai.prices import Prices
from addons.policy import refusals
from addons.policy.history import History
from addons.refusal import Refusal
from addons.runtime import Services
from store import limits
from store.errors import StoreUnavailable
from store.ledger import Answer, Ask, Clerk
from store.limits import TOKENS, USD
from store.models import Grant

ON_LOOP = 16 * 1024
"""Bytes of the largest body that is read on the event loop; larger ones are read in a thread."""
BYTES_PER_TOKEN = 4
FIRST_OUTPUT = 1_000
"""Tokens of an answer, before there is a history."""
FIRST_NANO_USD = 10_000_000
"""What a call without a known price holds, before there is a history: a cent."""


FREE = frozenset({"storage", "listing", "key_minting", "administration"})
"""Risk classes of endpoints that are billed by the day, if at all, which no budget counts."""


@dataclass(frozen=True, slots=True)
class Hold:
    """What a call holds."""

    tokens: int = 0
    nano_usd: int = 0
    output_tokens: int = 0
    """Of `tokens`, about."""
    most: Most | None = None
    """Set where the call may come to use more than it holds."""


NOTHING = Hold()


def counted(grant: Grant) -> frozenset[str]:
    """The units in which the use of `grant` is limited."""
    units = {budget.unit for each in grant.limits for budget in each.budgets}
    if any(each.tokens_per_minute is not None for each in grant.limits):
        units.add(TOKENS)
    return frozenset(units)


def _uses(call: Call) -> bool:
    """Whether a call can use up a budget. What a credential opens that is made here is reserved by itself."""
    return bool(call.kind.bills) and call.kind.risk not in FREE


def is_strict(grant: Grant) -> bool:
    return limits.budget_mode(*grant.limits) == "strict"


async def before_the_body(call: Call, services: Services, prices: Prices) -> Refusal | None:
    """Reserve for what goes upstream as it comes; why not, if a limit stands against it.

    Of a session each answer is a call, and reserved when it is asked for; here it is only looked at.
    """
    if call.grant is None or not call.grant.needs_claim:
        return None
    request = call.flow.request
    if asks_for_websocket(request):
        return await look(call, services.clerk)
    if not request.stream:
        return None
    wanted = of_upload(request, call, prices, services.history)
    return wanted if isinstance(wanted, Refusal) else await take(call, wanted, services.clerk)


async def with_the_body(call: Call, services: Services | None, prices: Prices) -> Refusal | None:
    """Reserve for a call whose body is there, unless it has been done."""
    request = call.flow.request
    if (
        call.grant is None
        or not call.grant.needs_claim
        or call.hold is not None
        or asks_for_websocket(request)
    ):
        return None
    if services is None:
        return refusal.SEALED
    wanted = await of_request(request, call, prices, services.history)
    if isinstance(wanted, Refusal):
        return wanted
    try:
        return await take(call, wanted, services.clerk)
    except StoreUnavailable:
        return refusal.STORE_UNAVAILABLE


async def of_request(request: http.Request, call: Call, prices: Prices, history: History) -> Hold | Refusal:
    """What a call whose body is there has to hold; a refusal where that has no bound and has to have one."""
    grant = call.grant
    if grant is None or not counted(grant) or not _uses(call):
        return NOTHING
    exact, content = is_strict(grant), request.raw_content or b""
    coding = ",".join(request.headers.get_all("content-encoding"))
    path = request.path.partition("?")[0]

    def read() -> Most:
        model = model_gate.known(call, model_gate.asked(request, call))
        if call.request_form is not None:
            return replace(of_form(call.kind, call.request_form.size), model=model)
        return most(call.kind, model, _parsed(content, coding), path=path, exact=exact)

    found = await asyncio.to_thread(read) if exact or len(content) > ON_LOOP else read()
    return hold(call, grant, found, len(content), prices, history)


def of_upload(request: http.Request, call: Call, prices: Prices, history: History) -> Hold | Refusal:
    """The same for a form that goes upstream as it comes."""
    if call.grant is None or not counted(call.grant) or not _uses(call):
        return NOTHING
    length = request.headers.get("content-length", "")
    size = int(length) if length.isdecimal() else None
    return hold(call, call.grant, of_form(call.kind, size), size or 0, prices, history)


def hold(
    call: Call, grant: Grant, found: Most, size: int, prices: Prices, history: History
) -> Hold | Refusal:
    """What a call with these upper bounds, and a request of `size` bytes, holds."""
    if not (found.tokens or found.images or found.seconds or found.unbounded):
        return NOTHING
    units = counted(grant)
    strict = is_strict(grant)
    if strict and found.unbounded:
        return refusals.unbounded(found.unbounded)
    upper: int | None = 0
    if USD in units:
        try:
            upper = price(call, found, prices)
        except Unpriced as error:
            if strict:
                return refusals.unpriced(str(error))
            upper = None
    if strict:
        return Hold(found.tokens, upper or 0, found.output_tokens)
    return _expected(call, found, upper, _first(found, size), prices, history)


def _expected(
    call: Call, found: Most, upper: int | None, first: Most, prices: Prices, history: History
) -> Hold:
    assert call.grant is not None
    usual = history.usual((call.grant.token.id, call.endpoint, found.model or ""))
    if usual is not None:
        tokens, nano_usd = usual
    else:
        tokens = first.tokens
        try:
            nano_usd = price(call, first, prices)
        except Unpriced:
            nano_usd = FIRST_NANO_USD
    if not found.unbounded:
        tokens = min(tokens, found.tokens)
        nano_usd = nano_usd if upper is None else min(nano_usd, upper)
    if USD not in counted(call.grant):
        nano_usd = 0
    return Hold(tokens, nano_usd, max(0, tokens - first.input_tokens), found)


async def of_turn(
    call: Call, model: str | None, data: bytes, prices: Prices, history: History
) -> Hold | Refusal:
    """The same for an answer within a session: of Realtime, or asked for by an event of Responses."""
    if call.grant is None or not counted(call.grant):
        return NOTHING
    exact = is_strict(call.grant)

    def read() -> Most:
        asked = _parsed(data, "")
        if call.endpoint == "realtime":
            return of_session(model, asked)
        named = asked.get("model") if isinstance(asked, dict) else None
        known = (call.azure.model(named) if call.azure else None) or named or model
        return most(call.kind, known, asked, exact=exact)

    found = await asyncio.to_thread(read) if exact or len(data) > ON_LOOP else read()
    return hold(call, call.grant, found, len(data), prices, history)


def of_unasked(call: Call, model: str | None, prices: Prices, history: History) -> Hold:
    """The same for an answer that the server has begun by itself, and that no refusal can stop."""
    if call.grant is None or not counted(call.grant):
        return NOTHING
    found = hold(call, call.grant, of_session(model), 0, prices, history)
    return Hold(nano_usd=FIRST_NANO_USD) if isinstance(found, Refusal) else found


async def take(call: Call, wanted: Hold, clerk: Clerk) -> Refusal | None:
    """Reserve for a call; why not, where a limit stands against it. Raises StoreUnavailable."""
    assert call.grant is not None
    answer = await reserve(call.id, call.grant, wanted, clerk)
    if answer.hit is None:
        call.hold, call.standing = wanted, answer.standing
    return refusals.why_not(answer)


async def reserve(call_id: str, grant: Grant, wanted: Hold, clerk: Clerk) -> Answer:
    """Reserve under any id. Raises StoreUnavailable."""
    ask = Ask(call_id, grant, wanted.tokens, wanted.nano_usd)
    try:
        return await asyncio.wrap_future(clerk.reserve(ask))
    except BaseException:  # nobody waits for the answer any more
        clerk.release(call_id)
        raise


async def look(call: Call, clerk: Clerk) -> Refusal | None:
    """Why a call may not pass at all: nothing is left for it. It takes nothing."""
    if call.grant is None or not call.grant.needs_claim:
        return None
    return refusals.why_not(await asyncio.wrap_future(clerk.look(Ask(call.id, call.grant, 1, 1))))


def price(call: Call, found: Most, prices: Prices) -> int:
    """The nano-USD of these figures, by the prices of the call's host and time. Raises Unpriced."""
    where = pricing.Call(None, call.started_at, host=call.host, path=call.url.partition("?")[0])
    if found.model is None and call.endpoint in FORM_MODELS:
        return dearest.of_models(found, FORM_MODELS[call.endpoint], where, prices)
    return dearest.nano_usd(found, where, prices)


def _first(found: Most, size: int) -> Most:
    """A guess: a quarter of the request's bytes, and a short answer; pictures and speech as bounded."""
    given = size // BYTES_PER_TOKEN + 1
    if found.unbounded:
        return Most(found.model, given, FIRST_OUTPUT)
    given = min(found.input_tokens, given)
    if found.made or found.seconds:
        return replace(found, input_tokens=given, seconds=found.seconds // 4)
    return replace(found, input_tokens=given, output_tokens=min(found.output_tokens, FIRST_OUTPUT))


def _parsed(content: bytes, coding: str) -> Any:
    body, error = decode(content, coding, budget=BUDGET)
    if error:
        return None
    try:
        return json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None
