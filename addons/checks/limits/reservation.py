"""Reserve budgets and rates for a call before it goes upstream.

In the mode `strict` it is the most that the call can use (:mod:`addons.openai.bounds.upper_bound`), so what
is spent never exceeds a budget. In the mode `expected` it is what such calls of the token have used, or,
before there are enough of them, a stated number; and never more than the most.
"""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, TypeVar

from mitmproxy import http

from addons.checks import models
from addons.checks.check import Check, Circumstances, Ledger, Phase, grant_of, services_of
from addons.checks.history import History
from addons.checks.limits import limit_errors
from addons.flow.call import Call
from addons.flow.errors import Refusal
from addons.flow.hold import NOTHING, Hold
from addons.openai.bounds import upper_price
from addons.openai.bounds.upper_bound import bound_turn, bound_upload, upper_bound
from addons.openai.bounds.usage_bound import UsageBound
from addons.openai.pricing import pricing
from addons.openai.pricing.bill import Unpriced
from addons.openai.pricing.prices import Prices, is_loaded, load
from store.core.errors import StoreUnavailable
from store.database.engine import ANSWER_SECONDS
from store.ledger import ReservationDecision, ReservationRequest
from store.tokens import limits
from store.tokens.amounts import UNITS, USD
from store.tokens.models import Grant

T = TypeVar("T")

ON_LOOP = 16 * 1024
"""Bytes of the largest body that is read on the event loop; larger ones are read in a thread."""
BYTES_PER_TOKEN = 4
FIRST_OUTPUT = 1_000
"""Tokens of an answer, before there is a history."""
FIRST_NANO_USD = 10_000_000
"""It is what a call without a known price holds, before there is a history: a cent."""


FREE = frozenset({"storage", "listing", "key_minting", "administration"})
"""Risk classes of endpoints that are billed by the day, if at all, which no budget counts."""


def counted(grant: Grant) -> frozenset[str]:
    """List the units in which the use of `grant` is limited."""
    return frozenset(unit for each in grant.limits for unit in each.units if unit in UNITS)


def _uses(call: Call) -> bool:
    """Tell whether a call can use up a budget. What an ephemeral key opens is reserved by itself."""
    return bool(call.kind.bills) and call.kind.risk not in FREE


def is_strict(grant: Grant) -> bool:
    return limits.budget_mode(*grant.limits) == "strict"


class UploadReservation(Check):
    """Reserve for what goes upstream as it comes.

    Of a session each answer is a call, and reserved when it is asked for; here it is only looked at.
    """

    phase = Phase.HEADERS

    def __init__(self, here: Circumstances) -> None:
        self._here = here

    async def check(self, call: Call) -> Refusal | None:
        services, request = services_of(self._here), call.flow.request
        if not grant_of(call).needs_claim:
            return None
        if call.websocket:
            return await look(call, services.ledger)
        if not request.stream:
            return None
        await prices_at_hand(grant_of(call))
        wanted = of_upload(request, call, self._here.settings.prices, services.history)
        return wanted if isinstance(wanted, Refusal) else await take(call, wanted, services.ledger)


class Reservation(Check):
    """Reserve for a call whose body is there, unless it has been done. The last check: it takes something."""

    phase = Phase.BODY

    def __init__(self, here: Circumstances) -> None:
        self._here = here

    async def check(self, call: Call) -> Refusal | None:
        if not grant_of(call).needs_claim or call.hold is not None or call.websocket:
            return None
        services = services_of(self._here)
        await prices_at_hand(grant_of(call))
        wanted = of_request(call, self._here.settings.prices, services.history)
        return wanted if isinstance(wanted, Refusal) else await take(call, wanted, services.ledger)


async def prices_at_hand(grant: Grant) -> None:
    """Have prices read where none was asked for yet: that takes a third of a second, once."""
    if not is_loaded() and USD in counted(grant):
        await asyncio.to_thread(load)


def is_bounded(call: Call) -> bool:
    """Check whether `call` can use up a budget, or tokens of a rate."""
    return call.grant is not None and bool(counted(call.grant)) and _uses(call)


def of_request(call: Call, prices: Prices, history: History) -> Hold | Refusal:
    """Work out what a call whose body is there holds; refuse where that has no bound and has to have one."""
    if call.grant is None or not is_bounded(call):
        return NOTHING
    if call.request_form is not None:
        size = call.request_form.size
        found = bound_upload(call.kind, size)
        found.model = models.known(call, models.asked(call))
    elif call.body is not None and call.body.reading is not None:
        size, found = call.body.size, call.body.reading.upper_bound
    else:
        size, found = 0, UsageBound(unbounded="the body cannot be read")
    return hold(call, call.grant, found, size, prices, history)


def of_upload(request: http.Request, call: Call, prices: Prices, history: History) -> Hold | Refusal:
    """Work out what a form holds that goes upstream as it comes."""
    if call.grant is None or not is_bounded(call):
        return NOTHING
    length = request.headers.get("content-length", "")
    size = int(length) if length.isdecimal() else None
    return hold(call, call.grant, bound_upload(call.kind, size), size or 0, prices, history)


def hold(
    call: Call, grant: Grant, found: UsageBound, size: int, prices: Prices, history: History
) -> Hold | Refusal:
    """Work out what a call with these upper bounds, and a request of `size` bytes, holds."""
    if not (found.tokens or found.images or found.seconds or found.unbounded):
        return NOTHING
    units = counted(grant)
    strict = is_strict(grant)
    if strict and found.unbounded:
        return limit_errors.unbounded(found.unbounded)
    upper: int | None = 0
    if USD in units:
        try:
            upper = price(call, found, prices)
        except Unpriced as error:
            if strict:
                return limit_errors.unpriced(str(error))
            upper = None
    if strict:
        return Hold(found.tokens, upper or 0, found.output_tokens)
    return _expected(call, found, upper, _first(found, size), prices, history)


def _expected(
    call: Call, found: UsageBound, upper: int | None, first: UsageBound, prices: Prices, history: History
) -> Hold:
    assert call.grant is not None
    usual = history.usual((call.grant.token.id, call.endpoint, found.model or ""))
    if usual is not None:
        tokens, nano_usd = usual
    else:
        tokens, nano_usd = first.tokens, 0
        if USD in counted(call.grant):
            try:
                nano_usd = price(call, first, prices)
            except Unpriced:
                nano_usd = FIRST_NANO_USD
    if not found.unbounded:
        tokens = min(tokens, found.tokens)
        nano_usd = nano_usd if upper is None else min(nano_usd, upper)
    if USD not in counted(call.grant):
        nano_usd = 0
    return Hold(tokens, nano_usd, max(0, tokens - first.input_tokens), found, upper)


async def of_turn(
    call: Call, model: str | None, data: bytes, prices: Prices, history: History
) -> Hold | Refusal:
    """Work out what an answer within a session holds: of Realtime, or asked for by an event of Responses."""
    if call.grant is None or not counted(call.grant):
        return NOTHING
    await prices_at_hand(call.grant)
    exact = is_strict(call.grant)

    def read() -> UsageBound:
        asked = _parsed(data)
        if not call.kind.sequential:
            return bound_turn(model, asked)
        named = asked.get("model") if isinstance(asked, dict) else None
        known = call.provider.model(named) or named or model
        return upper_bound(call.kind, known, asked, exact=exact)

    found = await asyncio.to_thread(read) if exact or len(data) > ON_LOOP else read()
    return hold(call, call.grant, found, len(data), prices, history)


def of_unasked(call: Call, model: str | None, prices: Prices, history: History) -> Hold:
    """Work out what an answer holds that the server has begun by itself, and that no refusal can stop."""
    if call.grant is None or not counted(call.grant):
        return NOTHING
    found = hold(call, call.grant, bound_turn(model), 0, prices, history)
    return Hold(nano_usd=FIRST_NANO_USD) if isinstance(found, Refusal) else found


async def take(call: Call, wanted: Hold, ledger: Ledger) -> Refusal | None:
    """Reserve for a call; why not, where a limit stands against it. Raises StoreUnavailable."""
    assert call.grant is not None
    answer = await reserve(call.id, call.grant, wanted, ledger)
    if answer.hit is None:
        call.hold, call.standing = wanted, answer.standing
    return limit_errors.why_not(answer)


async def reserve(call_id: str, grant: Grant, wanted: Hold, ledger: Ledger) -> ReservationDecision:
    """Reserve under any id. Raises StoreUnavailable."""
    # Those that are ready by now claim together: a claim of its own would be a transaction of its own.
    await asyncio.sleep(0)
    try:
        return await answered(ledger.reserve(request_of(call_id, grant, wanted)))
    except BaseException:  # nobody waits for the answer any more
        ledger.release(call_id)
        raise


def request_of(call_id: str, grant: Grant, wanted: Hold) -> ReservationRequest:
    """Say to the ledger what is to be held, and what can be used at most."""
    tokens, nano_usd = wanted.upper_bound
    return ReservationRequest(
        *(call_id, grant, wanted.tokens, wanted.nano_usd), most_tokens=tokens, most_nano_usd=nano_usd
    )


async def answered(question: Future[T]) -> T:
    """Wait for the store's answer, but not for longer than a call may. Raises StoreUnavailable."""
    try:
        return await asyncio.wait_for(asyncio.wrap_future(question), ANSWER_SECONDS)
    except TimeoutError:
        raise StoreUnavailable(f"the store does not answer within {ANSWER_SECONDS:g} s") from None


async def look(call: Call, ledger: Ledger) -> Refusal | None:
    """Refuse a call for which nothing is left. It takes nothing."""
    if call.grant is None or not call.grant.needs_claim:
        return None
    return limit_errors.why_not(await answered(ledger.look(ReservationRequest(call.id, call.grant, 1, 1))))


def price(call: Call, found: UsageBound, prices: Prices) -> int:
    """Price these figures in nano-USD, as at the call's host and time. Raises Unpriced."""
    where = pricing.Call(None, call.started_at, host=call.host, path=call.url.partition("?")[0])
    if found.model is None and call.kind.upload_bound is not None:
        return upper_price.of_models(found, call.kind.upload_bound.models, where, prices)
    return upper_price.nano_usd(found, where, prices)


def _first(found: UsageBound, size: int) -> UsageBound:
    """Guess a quarter of the request's bytes, and a short answer; pictures and speech as bounded."""
    given = size // BYTES_PER_TOKEN + 1
    if found.unbounded:
        return UsageBound(found.model, given, FIRST_OUTPUT)
    given = min(found.input_tokens, given)
    if found.made or found.seconds:
        return replace(found, input_tokens=given, seconds=found.seconds // 4)
    return replace(found, input_tokens=given, output_tokens=min(found.output_tokens, FIRST_OUTPUT))


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None
