"""Check that the body's type is one that the endpoint reads, so that no check is blinded by a header."""

from __future__ import annotations

from mitmproxy import http

from addons.checks.check import Check, Phase
from addons.flow import errors
from addons.flow.call import Call
from addons.flow.errors import Refusal
from addons.openai.endpoint import Takes
from addons.openai.http.content_type import kind_of

NAMES = {
    Takes.JSON: "application/json",
    Takes.FORM: "multipart/form-data",
    Takes.SDP: "application/sdp",
}


class ContentType(Check):
    """Refuse a body of a type that the endpoint does not take, unless there is no body."""

    phase = Phase.HEADERS

    async def check(self, call: Call) -> Refusal | None:
        return _unsupported(call.flow.request, call)


def _unsupported(request: http.Request, call: Call) -> Refusal | None:
    given = request.headers.get_all("content-type")
    if len(set(given)) > 1:
        return errors.TWO_CONTENT_TYPES
    takes = call.kind.takes
    if Takes.ANY in takes or not _has_body(request):
        return None
    content_type = given[0] if given else ""
    if kind_of(content_type) & takes:
        return None
    if not given and takes == Takes.FORM:
        return None  # a form has a boundary: nobody can read this one
    return errors.unsupported_content_type(content_type, [NAMES[kind] for kind in takes])


def _has_body(request: http.Request) -> bool:
    """Tell whether a body comes, or may come: of HTTP/2 only its end says that there is none."""
    headers = request.headers
    if "transfer-encoding" in headers or headers.get("content-length", "0").strip() != "0":
        return True
    return request.is_http2 and "content-length" not in headers and request.method not in ("GET", "DELETE")
