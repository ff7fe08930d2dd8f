"""Limit the length of answers: hold the request against it, or write it in where the request has none."""

from __future__ import annotations

from addons.checks.check import Check, Phase
from addons.flow import errors
from addons.flow.call import Call
from addons.flow.errors import Refusal
from addons.openai.bounds.output_cap import is_capped
from store.tokens import limits


def limit_of(call: Call) -> int | None:
    """Give the tokens that the answer of `call` may have; None where nothing limits them."""
    most = limits.max_output_tokens(*call.grant.limits) if call.grant else None
    return most if is_capped(call.kind) else None


class OutputLimit(Check):
    """Refuse a call whose answer may be too long; write the limit into one that says nothing."""

    phase = Phase.BODY

    async def check(self, call: Call) -> Refusal | None:
        return _too_long(call)


def _too_long(call: Call) -> Refusal | None:
    most = limit_of(call)
    if most is None or call.body is None or call.body.reading is None:
        return None
    capped = call.body.reading.capped
    if capped.problem is not None:
        return errors.output_refused(capped.problem, most, capped.param)
    if capped.insertion is not None:
        call.add_to_body(capped.insertion)
    return None
