"""Check that the proxy may serve calls at all, and that this one can be read in one way only."""

from __future__ import annotations

from mitmproxy import ctx
from mitmproxy.options import Options

from addons.checks.check import Check, LiveCircumstances, Phase
from addons.flow import errors
from addons.flow.call import Call
from addons.flow.errors import Refusal
from addons.flow.network.framing import malformed
from addons.settings import unsafe


class Serving(Check):
    """Refuse while the proxy is not open, or runs with an option that could misdirect keys."""

    phase = Phase.HEADERS

    def __init__(self, here: LiveCircumstances) -> None:
        self._here = here
        self._options: Options | None = None
        self._unsafe: bool | None = None
        """It holds what was found of the options, and is None after any change until somebody asks again."""

    async def check(self, _call: Call) -> Refusal | None:
        if self._here.services is None:
            return errors.SEALED
        if self._unsafe is None or self._options is not ctx.options:
            self._look()
        return errors.UNSAFE_OPTIONS if self._unsafe else None

    def _look(self) -> None:
        if self._options is not ctx.options:
            self._options = ctx.options
            self._options.changed.connect(self._forget)
        self._unsafe = bool(unsafe.unsafe(ctx.options))

    def _forget(self, updated: set[str]) -> None:  # noqa: ARG002 - the signal has it
        self._unsafe = None


class WellFormed(Check):
    """Refuse heads that others on the call's way could read differently."""

    phase = Phase.HEADERS

    async def check(self, call: Call) -> Refusal | None:
        why = malformed(call.flow.request)
        return errors.malformed(why) if why else None


class Recorded(Check):
    """Refuse what could not be recorded."""

    phase = Phase.HEADERS

    def __init__(self, here: LiveCircumstances) -> None:
        self._here = here

    async def check(self, _call: Call) -> Refusal | None:
        if self._here.services is None:
            return errors.SEALED
        worker = self._here.services.worker
        if not worker.healthy:
            return errors.SPOOL_UNAVAILABLE
        return errors.SPOOL_FULL if worker.refuses_calls else None
