"""Check which models a call may use.

A body is looked at only where an allow-list is in force (of ``llm_models``, the token or its project), or
another limit asks for it. With an allow-list a form, which is otherwise passed on as it comes, is read whole
first: its model may stand behind the file, and what went upstream can't be called back.
"""

from __future__ import annotations

from collections.abc import Iterable

from mitmproxy import http

from addons.checks import access
from addons.checks.check import Check, Circumstances, Phase, grant_of
from addons.checks.parameters import paths_of
from addons.flow import errors
from addons.flow.call import Call
from addons.flow.errors import Refusal
from addons.openai.endpoint import ModelIn
from addons.openai.http.form import FormReader, is_form
from addons.openai.http.messages import Request
from addons.openai.requested_model import NO_BODY, Asked, model_in, refusing

FORM_LIMIT = 64 * 2**20
"""Bytes of a form that is read whole; the API takes audio of up to 25 MB."""


class FormModels(Check):
    """Have a form read: while it passes, or, where its model decides, whole and before."""

    phase = Phase.HEADERS

    def __init__(self, here: Circumstances) -> None:
        self._here = here

    async def check(self, call: Call) -> Refusal | None:
        call.models = access.models(grant_of(call), self._here.settings.models)
        return take_form(call.flow.request, call)


class Models(Check):
    """Refuse a model that a list does not have, and one that cannot be told."""

    phase = Phase.BODY

    async def check(self, call: Call) -> Refusal | None:
        if not is_restricted(call):
            return None
        return judge(call, asked(call)) or judge_tools(call)


def is_restricted(call: Call) -> bool:
    """Tell whether the model of `call` has to be looked for."""
    return bool(call.models) and call.kind.model_in is not ModelIn.NOWHERE


def take_form(request: http.Request, call: Call) -> Refusal | None:
    """Read the body as a form if it is one: while it passes, or before where its fields decide."""
    content_type = request.headers.get("content-type", "")
    if not content_type.strip().lower().startswith("multipart/"):
        return None
    coding = ",".join(request.headers.get_all("content-encoding"))
    if not is_restricted(call) and not paths_of(call):
        call.request_form = FormReader(content_type, coding)
        request.stream = call.request_form.tap
        return None
    length = request.headers.get("content-length", "")
    if "transfer-encoding" in request.headers or not length.isdecimal() or int(length) > FORM_LIMIT:
        return errors.FORM_TOO_LARGE
    if is_form(content_type):
        call.request_form = FormReader(content_type, coding, strict=True)
    return None


def judge(call: Call, asked: Asked) -> Refusal | None:
    """Judge the model that `call` asks for; give the refusal, or None."""
    if not is_restricted(call):
        return None
    if asked.unknown is not None:
        return errors.model_unknown(asked.unknown, call.models[0].whose)
    if asked.model is None and call.minted is not None and call.minted.model is not None:
        asked = Asked(call.minted.model)  # the secret's session has it already
    if asked.model is None and ModelIn.FRAMES in call.kind.model_in:
        return None  # each of its events is judged by itself
    if asked.model is None:
        # Where nothing is billed the server's own choice does no harm.
        why = "the request names no model"
        return errors.model_unknown(why, call.models[0].whose) if call.kind.bills else None
    if (allowed := refusing(known(call, asked) or asked.model, call.models)) is not None:
        return errors.model_refused(asked.model, allowed.whose)
    return None


def judge_tools(call: Call) -> Refusal | None:
    """Judge the models that the API's own tools would use for `call`; give the refusal, or None."""
    if not is_restricted(call) or call.body is None or call.body.reading is None:
        return None
    return judge_each(call, call.body.reading.tool_models)


def judge_each(call: Call, named: Iterable[Asked]) -> Refusal | None:
    """Judge each of these models; give the first refusal, or None."""
    for one in named:
        if one.unknown is not None:
            return errors.model_unknown(one.unknown, call.models[0].whose)
        if one.model and (allowed := refusing(known(call, one) or one.model, call.models)):
            return errors.model_refused(one.model, allowed.whose)
    return None


def asked(call: Call) -> Asked:
    """Name the model that `call`, whose body is there, asks for."""
    request = Request(call.method, call.url, provider=call.provider)
    if call.websocket:
        return model_in(request, call.kind, NO_BODY)
    if call.request_form is not None:
        return model_in(request, call.kind, call.request_form.form())
    if call.body is None or call.body.reading is None:
        return Asked(unknown="the body has not been read")
    return call.body.reading.asked


def known(call: Call, asked: Asked) -> str | None:
    """Name the model itself: on Azure the one behind a deployment, where that is configured."""
    return call.provider.model(asked.model) or asked.model
