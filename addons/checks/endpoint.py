"""Check that the endpoint is served through this proxy."""

from __future__ import annotations

from addons.checks.check import Check, Circumstances, Phase, grant_of
from addons.flow import errors
from addons.flow.call import Call
from addons.flow.errors import Refusal


class ServedEndpoint(Check):
    """Refuse what the option ``llm_endpoints`` does not have, and administration unless the token has it."""

    phase = Phase.HEADERS

    def __init__(self, here: Circumstances) -> None:
        self._here = here

    async def check(self, call: Call) -> Refusal | None:
        endpoint = call.kind
        if not endpoint.allowed_by(self._here.settings.endpoints):
            return errors.endpoint_refused(endpoint.name)
        named = grant_of(call).token.limits.endpoints
        if endpoint.risk == "administration" and not endpoint.allowed_by(named):
            return errors.NO_ADMINISTRATOR
        return None
