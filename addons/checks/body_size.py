"""Check the size of a request's body, as far as the proxy keeps it whole (option ``llm_body_limit``)."""

from __future__ import annotations

from addons.checks.check import Check, Circumstances, Phase
from addons.flow import errors
from addons.flow.call import Call
from addons.flow.errors import Refusal
from addons.mitm import bounds as mitm_bounds


class StatedBodySize(Check):
    """Refuse a body that says that it is too large, and see to it that no more than the limit is kept.

    A body that is passed on while it comes (an upload) is not kept.
    """

    phase = Phase.HEADERS

    def __init__(self, here: Circumstances) -> None:
        self._here = here

    async def check(self, call: Call) -> Refusal | None:
        request, limit = call.flow.request, self._here.settings.bounds.body_bytes
        if request.stream:
            return None
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > limit:
            return _too_large(limit)
        mitm_bounds.bound_request_body(call.flow, limit)
        return None


class KeptBodySize(Check):
    """Refuse a body that turned out to be too large; nothing of it is there any more."""

    phase = Phase.BODY

    def __init__(self, here: Circumstances) -> None:
        self._here = here

    async def check(self, call: Call) -> Refusal | None:
        return (
            _too_large(self._here.settings.bounds.body_bytes)
            if mitm_bounds.body_exceeded(call.flow)
            else None
        )


def _too_large(limit: int) -> Refusal:
    return errors.body_too_large(f"it has more than {limit} bytes (option llm_body_limit)")
