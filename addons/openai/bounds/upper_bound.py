"""Bound what a call can use, from its request alone, by the rule that its endpoint's row names.

For budgets that must hold: a figure here may be too large, never too small. What cannot be seen (history that
the server keeps, files, pictures by address) counts as a whole context window; what has no bound says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from addons.openai.asked_tier import asked_tier
from addons.openai.bounds import model_sizes as sizes
from addons.openai.bounds.output_limits import positive
from addons.openai.bounds.usage_bound import BoundedRequest, UsageBound
from addons.openai.endpoint import Bills, Endpoint


def upper_bound(endpoint: Endpoint, model: str | None, body: Any, *, exact: bool = False) -> UsageBound:
    """Bound a call with this JSON body. Never raises.

    `exact`: count the input's tokens, which is never done on the event loop; else its bytes stand for them.
    """
    if endpoint.bills is Bills.NOTHING:
        return UsageBound(model)
    if not isinstance(body, Mapping):
        return UsageBound(model, unbounded="the body cannot be read")
    if endpoint.bound is None:
        return _unbounded(endpoint, model)
    found = UsageBound(model, tier=asked_tier(body))
    endpoint.bound(found, BoundedRequest(body, endpoint.output, exact))
    return found


def bound_upload(endpoint: Endpoint, size: int | None) -> UsageBound:
    """Bound an upload that is passed on as it comes: its fields are not known yet.

    `size`: its bytes, where they are known. It is bounded as by the dearest model that it may name.
    """
    if endpoint.upload_bound is not None:
        return endpoint.upload_bound.most(size)
    return UsageBound() if endpoint.bills is Bills.NOTHING else _unbounded(endpoint, None)


def bound_turn(model: str | None, event: Any = None) -> UsageBound:
    """Bound one answer within a realtime session, asked for by `event`: all said before is its input."""
    known = sizes.of(model)
    response = event.get("response") if isinstance(event, Mapping) else None
    limit = positive(response, "max_output_tokens") if isinstance(response, Mapping) else None
    output = min(limit or known.output, known.output)
    return UsageBound(model, known.window, output, given={"audio", "image"}, made={"audio"})


def _unbounded(endpoint: Endpoint, model: str | None) -> UsageBound:
    return UsageBound(model, unbounded=f"a call of {endpoint.name} does not show what it will cost")
