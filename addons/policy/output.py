"""How long an answer may be: read from the request, and written into it where that says nothing."""

from __future__ import annotations

from mitmproxy import http

from addons import refusal
from addons.calls import Call
from addons.openai.encoding import codings_of, decode
from addons.openai.model_of import BUDGET
from addons.openai.output_cap import cap, is_capped
from addons.refusal import Refusal
from store import limits


def is_limited(call: Call) -> bool:
    """Whether there is a limit for what `call` asks for."""
    path = call.flow.request.path.partition("?")[0]
    return _most(call) is not None and is_capped(call.kind, path)


def _most(call: Call) -> int | None:
    return limits.max_output_tokens(*call.grant.limits) if call.grant else None


def judge(request: http.Request, call: Call, model: str | None) -> Refusal | None:
    """Why the answer that `request` asks for may be too long; or write the limit into it.

    What goes upstream is not coded then; the event keeps the request as the client sent it.
    """
    most = _most(call)
    if most is None or not is_limited(call):
        return None
    coding = ",".join(request.headers.get_all("content-encoding"))
    sent = request.raw_content or b""
    body, error = decode(sent, coding, budget=BUDGET) if codings_of(coding) else (sent, None)
    if error:
        return refusal.output_refused(f"the body cannot be decoded: {error}", most, None)
    capped = cap(body, call.kind, model, most)
    if capped.problem is not None:
        return refusal.output_refused(capped.problem, most, capped.param)
    if capped.body is not None:
        call.request_body = sent
        request.headers.pop("content-encoding", None)
        request.content = capped.body  # sets content-length as well
    return None
