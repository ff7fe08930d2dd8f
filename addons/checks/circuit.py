"""Refuse calls to an upstream whose circuit is open (:mod:`addons.flow.network.circuit_breaker`)."""

from __future__ import annotations

from addons.checks.check import Check, LiveCircumstances, Phase
from addons.flow import errors
from addons.flow.call import Call
from addons.flow.errors import Refusal


class Circuit(Check):
    """Refuse what would go to an upstream that fails; behind the cache, which needs no upstream."""

    phase = Phase.BODY

    def __init__(self, here: LiveCircumstances) -> None:
        self._here = here

    async def check(self, call: Call) -> Refusal | None:
        return None if call.flow.request.stream else self.why_not(call)

    def why_not(self, call: Call) -> Refusal | None:
        """Give the refusal, or None; then the call may be the one that tries the upstream."""
        rule = self._here.settings.circuit_breaker
        if rule is None or call.upstream is None:
            return None
        wait = self._here.breaker.seconds_to_wait(call.upstream.authority, rule, call.id)
        return None if wait is None else errors.circuit_open(wait)


class UploadCircuit(Circuit):
    """Refuse the same of a body that goes upstream as it comes."""

    phase = Phase.HEADERS

    async def check(self, call: Call) -> Refusal | None:
        return self.why_not(call) if call.flow.request.stream else None
