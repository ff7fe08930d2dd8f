"""The models that a call may use.

A body is looked at only where an allow-list is in force (of ``llm_models``, the token or its project), or
another limit asks for it. With an allow-list a form, which is otherwise passed on as it comes, is read whole
first: its model may stand behind the file, and what went upstream can't be called back.
"""

from __future__ import annotations

from collections.abc import Iterable

from mitmproxy import http

from addons import refusal
from addons.calls import Call
from addons.openai import tool_models
from addons.openai.endpoints import ModelIn
from addons.openai.form import FormReader, is_form
from addons.openai.messages import Request
from addons.openai.model_of import Asked, model_of, refusing
from addons.refusal import Refusal

FORM_LIMIT = 64 * 2**20
"""Bytes of a form that is read whole; the API takes audio of up to 25 MB."""


def is_restricted(call: Call) -> bool:
    """Whether the model of `call` has to be looked for."""
    return bool(call.models) and call.kind.model_in is not ModelIn.NOWHERE


def take_form(request: http.Request, call: Call) -> Refusal | None:
    """Read the body as a form if it is one: while it passes, or before where the model decides."""
    content_type = request.headers.get("content-type", "")
    if not content_type.strip().lower().startswith("multipart/"):
        return None
    coding = ",".join(request.headers.get_all("content-encoding"))
    if not is_restricted(call):
        call.request_form = FormReader(content_type, coding)
        request.stream = call.request_form.tap
        return None
    length = request.headers.get("content-length", "")
    if "transfer-encoding" in request.headers or not length.isdecimal() or int(length) > FORM_LIMIT:
        return refusal.FORM_TOO_LARGE
    if is_form(content_type):
        call.request_form = FormReader(content_type, coding, strict=True)
    return None


def judge(call: Call, asked: Asked) -> Refusal | None:
    """Why `call` may not use the model that it asks for."""
    if not is_restricted(call):
        return None
    if asked.unknown is not None:
        return refusal.model_unknown(asked.unknown, call.models[0].whose)
    if asked.model is None and call.minted is not None and call.minted.model is not None:
        asked = Asked(call.minted.model)  # the secret's session has it already
    if asked.model is None and ModelIn.FRAMES in call.kind.model_in:
        return None  # each of its events is judged by itself
    if asked.model is None:
        # Where nothing is billed the server's own choice does no harm.
        why = "the request names no model"
        return refusal.model_unknown(why, call.models[0].whose) if call.kind.bills else None
    if (allowed := refusing(known(call, asked) or asked.model, call.models)) is not None:
        return refusal.model_refused(asked.model, allowed.whose)
    return None


def judge_tools(request: http.Request, call: Call) -> Refusal | None:
    """Why `call` may not use a model that one of the API's own tools would."""
    if not is_restricted(call) or call.request_form is not None:
        return None
    coding = ",".join(request.headers.get_all("content-encoding"))
    return judge_each(call, tool_models.in_body(request.raw_content or b"", coding))


def judge_each(call: Call, named: Iterable[Asked]) -> Refusal | None:
    """Why one of these models may not be used."""
    for one in named:
        if one.unknown is not None:
            return refusal.model_unknown(one.unknown, call.models[0].whose)
        if one.model and (allowed := refusing(known(call, one) or one.model, call.models)):
            return refusal.model_refused(one.model, allowed.whose)
    return None


def asked(request: http.Request, call: Call) -> Asked:
    """The model that `call`, whose body is there, asks for."""
    if call.request_form is not None and not request.stream and not call.request_form.size:
        call.request_form.feed(request.raw_content or b"")
    headers = list(request.headers.items(multi=True))
    form = call.request_form.form() if call.request_form is not None else None
    body = request.raw_content or b"" if form is None else b""
    return model_of(
        Request(request.method, request.path, headers, body, form=form, azure=call.azure), call.kind
    )


def known(call: Call, asked: Asked) -> str | None:
    """The model itself: on Azure the one behind a deployment, where that is configured."""
    return (call.azure.model(asked.model) if call.azure else None) or asked.model
