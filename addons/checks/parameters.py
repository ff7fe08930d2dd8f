"""Check the values of a request's parameters by the rules of its token and project."""

from __future__ import annotations

from addons.checks.check import Check, Phase, grant_of
from addons.flow import errors
from addons.flow.call import Call
from addons.flow.errors import Refusal
from addons.openai.parameters import Values, parameters_in_event, parameters_in_form


class Parameters(Check):
    """Refuse a request of which a field has a value that a rule does not allow, or that cannot be told."""

    phase = Phase.BODY

    async def check(self, call: Call) -> Refusal | None:
        paths = paths_of(call)
        if not paths or call.websocket:
            return None  # the events of a WebSocket are judged one by one
        if call.request_form is not None:
            form = call.request_form.form()
            if form.problem is not None:
                return errors.body_unreadable(form.problem)
            return _judge(call, parameters_in_form(form, paths), complete=bool(call.kind.bills))
        if call.body is None or call.body.reading is None:
            return None
        reading = call.body.reading
        if call.body.raw and reading.problem is not None:
            return errors.body_unreadable(reading.problem)
        return _judge(call, reading.parameters, complete=bool(call.kind.bills))


def paths_of(call: Call) -> tuple[str, ...]:
    """List the fields for which there are rules."""
    if call.grant is None:
        return ()
    return tuple(dict.fromkeys(rule.field for rule in call.grant.parameter_rules))


def judge_event(call: Call, data: bytes, *, complete: bool) -> Refusal | None:
    """Judge an event of a session's client; `complete`: it must have all that is required."""
    paths = paths_of(call)
    return _judge(call, parameters_in_event(data, paths), complete=complete) if paths else None


def _judge(call: Call, found: Values | str, *, complete: bool) -> Refusal | None:
    if isinstance(found, str):
        return errors.parameter_unclear(found)
    for rule in grant_of(call).parameter_rules:
        values = found[rule.field]
        if not values and rule.required and complete:
            return errors.parameter_missing(rule.field, rule.text, rule.whose)
        for value in values:
            if not rule.allows(value):
                return errors.parameter_refused(rule.field, value, rule.text, rule.whose)
    return None
