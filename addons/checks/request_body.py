"""Read the body once, for all checks behind this one."""

from __future__ import annotations

import asyncio

from addons.checks import parameters
from addons.checks.check import Check, Circumstances, Phase, grant_of
from addons.checks.limits import output_limit, reservation
from addons.flow import errors
from addons.flow.call import Call
from addons.flow.errors import Refusal
from addons.flow.request_body import RequestBody
from addons.openai.http.form import FormReader
from addons.openai.http.json_bounds import FEW_NODES, has_more_values
from addons.openai.request_reading import SMALL, Question


class ReadBody(Check):
    """Read the body; refuse one that is beyond all bounds, or that cannot be decoded."""

    phase = Phase.BODY

    def __init__(self, here: Circumstances) -> None:
        self._here = here

    async def check(self, call: Call) -> Refusal | None:
        request = call.flow.request
        if request.stream or call.websocket:
            return None
        raw = request.raw_content or b""
        if (form := call.request_form) is not None:
            if len(raw) <= SMALL:
                return _read_form(form, raw)
            return await asyncio.to_thread(_read_form, form, raw)
        coding = ",".join(request.headers.get_all("content-encoding"))
        call.body = RequestBody(raw, coding, self._question(call))
        return await call.body.read()

    def _question(self, call: Call) -> Question:
        """Ask for all that the checks want to know of the body."""
        bounded = reservation.is_bounded(call)
        return Question(
            call.method,
            call.url,
            call.provider,
            most_output=output_limit.limit_of(call),
            references=self._here.settings.ownership != "off",
            bounded=bounded,
            parameters=parameters.paths_of(call),
            exact=bounded and reservation.is_strict(grant_of(call)),
        )


def _read_form(form: FormReader, raw: bytes) -> Refusal | None:
    """Read a whole form, some of whose fields may be JSON."""
    form.feed(raw)
    for field in form.form().fields:
        if field.text and has_more_values(field.text.encode(), FEW_NODES):
            return errors.body_too_large(f"a field of the form has more than {FEW_NODES:,} values")
    return None
