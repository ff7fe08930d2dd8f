"""Word refusals in the form that OpenAI clients understand.

The body is OpenAI's error object; status and code follow the API's error-code guide, so that an SDK raises
the exception its user expects. ``x-should-retry`` is the header by which the official SDKs let a server
overrule their own retry rule: a refusal that time does not heal says ``false``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from secrets import token_hex

from mitmproxy import http

from addons.openai.objects.kinds import Ref, not_found
from store.tokens.lookup import Reason


@dataclass(frozen=True, slots=True)
class Refusal:
    """Says why a call may not pass, as the client will see it."""

    status: int
    code: str
    message: str
    type: str = "invalid_request_error"
    param: str | None = None
    unnamed: bool = False
    """It tells whether the API gives no code in this case: then the client sees none, either."""
    retry_after: int | None = None
    """Seconds after which trying again makes sense; None where it does not."""
    headers: tuple[tuple[str, str], ...] = ()
    """Further ones of the answer."""
    audited: str | None = None
    """Reason under which the audit log counts it, where it is a refused authentication."""

    @property
    def shown(self) -> str:
        """Give the message; of what only those who run the proxy can mend, also the place that tells them
        how.
        """
        return self.message if self.status < 500 else f"{self.message} (docs/runbook.md#{self.code})"

    def response(self) -> http.Response:
        """Give the answer to the client; a new request id for each."""
        error: dict[str, str | None] = {"message": self.shown, "type": self.type, "param": self.param}
        error["code"] = None if self.unnamed else self.code
        headers = {
            "content-type": "application/json",
            "x-request-id": f"req_{token_hex(16)}",
            "x-should-retry": "false" if self.retry_after is None else "true",
            **dict(self.headers),
        }
        if self.retry_after is not None:
            headers["retry-after"] = str(self.retry_after)
        return http.Response.make(self.status, json.dumps({"error": error}), headers)


INVALID_KEY = "invalid_api_key"
MODEL_NOT_FOUND = "model_not_found"

BY_REASON: dict[Reason, Refusal] = {
    Reason.MISSING: Refusal(
        401,
        INVALID_KEY,
        "No proxy token was given. Send it as 'Authorization: Bearer TOKEN' (or 'api-key: TOKEN').",
        audited=Reason.MISSING.value,
    ),
    Reason.UNKNOWN: Refusal(
        401,
        INVALID_KEY,
        "The proxy token is not known here. Ask who gave it to you for a new one.",
        audited=Reason.UNKNOWN.value,
    ),
    Reason.REVOKED: Refusal(
        401, INVALID_KEY, "The proxy token has been revoked.", audited=Reason.REVOKED.value
    ),
    Reason.EXPIRED: Refusal(401, INVALID_KEY, "The proxy token has expired.", audited=Reason.EXPIRED.value),
    Reason.REPLACED: Refusal(
        401,
        INVALID_KEY,
        "The proxy token has been replaced. Ask who gave it to you for the new one.",
        audited=Reason.REPLACED.value,
    ),
    Reason.PROJECT_INACTIVE: Refusal(
        403,
        "project_inactive",
        "The project of this proxy token is not active.",
        audited=Reason.PROJECT_INACTIVE.value,
    ),
    Reason.ENDPOINT_NOT_ALLOWED: Refusal(
        403, "endpoint_not_allowed", "This endpoint is not allowed through the proxy (option llm_endpoints)."
    ),
}

INTERNAL = Refusal(
    503,
    "proxy_error",
    "The proxy could not check this call and has not passed it on.",
    type="server_error",
    retry_after=1,
    audited="unchecked",
)
SEALED = Refusal(
    503,
    "proxy_not_ready",
    "The proxy's gate is not in force; nothing passes until it is.",
    type="server_error",
    retry_after=5,
)
NOT_CACHED = Refusal(
    504,
    "not_cached",
    "The request wants an answer from the cache only (Cache-Control: only-if-cached), and there is none.",
)
STORE_UNAVAILABLE = Refusal(
    503, "store_unavailable", "The proxy's token store cannot be read.", type="server_error", retry_after=5
)
KEY_UNAVAILABLE = Refusal(
    503,
    "key_unavailable",
    "The key of this token's project cannot be read at present; the proxy's log says why.",
    type="server_error",
    retry_after=5,
)
SPOOL_UNAVAILABLE = Refusal(
    503, "spool_unavailable", "The proxy cannot record calls at present.", type="server_error", retry_after=5
)
SPOOL_FULL = Refusal(
    503,
    "spool_full",
    "The proxy's record of calls has reached its limit; calls are served again once it has been sent on.",
    type="server_error",
    retry_after=30,
)
NO_MASTER_KEY = Refusal(
    503,
    KEY_UNAVAILABLE.code,
    "The proxy has no master key to seal ephemeral keys with; `llmproxy keys init` makes one.",
    type="server_error",
)
MINTED_UNKNOWN = Refusal(
    502,
    "secret_withheld",
    "The API made a secret in a form that the proxy does not know, so it was not passed on.",
    type="server_error",
)
MINTED_EXPIRED = Refusal(401, INVALID_KEY, "The ephemeral key has expired; ask for a new one.")
MINTED_ELSEWHERE = Refusal(
    403,
    "endpoint_not_allowed",
    "An ephemeral key opens only the sessions that it was made for, at the host that it was asked of.",
)
NO_ADMINISTRATOR = Refusal(
    403,
    "endpoint_not_allowed",
    "The organization is managed only with a proxy token whose own list of endpoints has 'administration'.",
)
UNSAFE_OPTIONS = Refusal(
    503, "unsafe_options", "The proxy runs with an option that could misdirect keys.", type="server_error"
)
NO_WEBSOCKET = Refusal(
    400,
    "websocket_only",
    "The proxy upgrades connections only to WebSockets of version 13 (RFC 6455).",
)
PROXY_BUSY = Refusal(
    503,
    "proxy_busy",
    "Too many large requests wait to be checked; send this one again in a moment.",
    type="server_error",
    retry_after=1,
)
TWO_CONTENT_TYPES = Refusal(
    400,
    "unsupported_content_type",
    "The request has two content types that differ; send one.",
)
STOPPING = Refusal(
    503,
    "proxy_stopping",
    "The proxy is being restarted; connect again.",
    type="server_error",
    retry_after=1,
)
TOO_MANY_WAITING = Refusal(
    429,
    "too_many_waiting",
    "Too many requests wait for their answers on this WebSocket; send more when some have come.",
    type="rate_limit_error",
    retry_after=1,
)
HEAD_TOO_LARGE = Refusal(
    431, "head_too_large", "The head of the request is longer than the proxy allows (option llm_head_limit)."
)
FORM_TOO_LARGE = Refusal(
    413,
    "form_too_large",
    "The proxy allows only some models, objects or values, so it has to read forms whole: "
    "send one with a Content-Length of at most 64 MiB.",
)

LIST_UNREADABLE = Refusal(
    502,
    "list_unreadable",
    "The proxy could not tell which objects of this list are yours (option llm_ownership).",
    type="server_error",
)


UNKNOWN_OBJECT = (
    "The proxy does not know it as an object of this project: make it through the proxy, or ask whoever runs "
    "the proxy to give it to the project (`llmproxy objects adopt`)."
)


def object_not_found(ref: Ref) -> Refusal:
    """Give 404 in the API's own words, for an object that is another's as for one that is nobody's.

    Then says that it was the proxy, and the remedy: the API itself may well have the object.
    """
    said = not_found(ref)
    code = said.code or "not_found"
    return Refusal(404, code, f"{said.message} {UNKNOWN_OBJECT}", param=said.param, unnamed=said.code is None)


def unclear_references(why: str) -> Refusal:
    """Give 400 for a body of which it can't be told which objects it refers to."""
    message = f"The proxy cannot tell which objects this call uses (option llm_ownership): {why}."
    return Refusal(400, "body_unreadable", message)


def unsupported_content_type(given: str, takes: Sequence[str]) -> Refusal:
    """Give 415 for a body that the endpoint does not read, and that a check could read in another way."""
    return Refusal(
        415,
        "unsupported_content_type",
        f"This endpoint takes {' or '.join(takes)}{' in UTF-8' if takes[0].endswith('json') else ''}, "
        f"and the request's Content-Type is {_short(given)!r}.",
    )


def malformed(why: str) -> Refusal:
    """Give 400 for a request that others on its way could read as another."""
    return Refusal(
        400, "malformed_request", f"The proxy passes no request that could be read in two ways: {why}."
    )


def body_too_large(why: str) -> Refusal:
    """Give 413 for a body that is beyond what the proxy reads, so that it cannot be checked."""
    return Refusal(413, "body_too_large", f"The proxy does not read a body as large as this one: {why}.")


def body_unreadable(why: str) -> Refusal:
    """Give 400 for a body that cannot be decoded, so that it cannot be checked."""
    return Refusal(400, "body_unreadable", f"The proxy cannot read the body: {why}.")


def destination_refused(why: str) -> Refusal:
    """Give 403 for a request whose true destination is not one that may receive a key."""
    return Refusal(403, "destination_not_allowed", why)


def endpoint_refused(endpoint: str, why: str = "option llm_endpoints") -> Refusal:
    """Give 403 that names the endpoint and what would allow it."""
    return Refusal(
        403,
        BY_REASON[Reason.ENDPOINT_NOT_ALLOWED].code,
        f"Endpoint {endpoint!r} is not allowed through the proxy ({_short(why)}).",
    )


def network_refused(client: str | None, whose: str, networks: Sequence[str]) -> Refusal:
    """Give 403 for a client at an address from which the token may not be used."""
    return Refusal(
        403,
        "network_not_allowed",
        f"Calls from {client or 'an unknown address'} are not allowed: "
        f"{whose} allows only {_short(', '.join(networks))}.",
        audited="network",
    )


def origin_refused(origin: str, whose: str, allowed: Sequence[str]) -> Refusal:
    """Give 403 for a page of an origin that may not call."""
    return Refusal(
        403,
        "origin_not_allowed",
        f"Calls of pages from {_short(origin)!r} are not allowed: {whose} allows only "
        f"{_short(', '.join(allowed))}.",
        audited="origin",
    )


def output_refused(why: str, most: int, param: str | None) -> Refusal:
    """Give 400 for a call that asks for a longer answer than its token may have."""
    return Refusal(
        400,
        "max_output_tokens_exceeded",
        f"The proxy token may have answers of at most {most} tokens in all choices: {why}.",
        param=param,
    )


def parameter_refused(field: str, value: str, rule: str, whose: str) -> Refusal:
    """Give 400 for a field whose value a rule does not allow."""
    return Refusal(
        400,
        "parameter_not_allowed",
        f"The value {_short(value)!r} of {field!r} is not allowed: {whose} allows {_short(rule)!r}.",
        param=field,
    )


def parameter_missing(field: str, rule: str, whose: str) -> Refusal:
    """Give 400 for a field that a rule requires and the request does not have."""
    return Refusal(
        400,
        "parameter_not_allowed",
        f"The request has no {field!r}, which {whose} requires: {_short(rule.removeprefix('!'))!r}.",
        param=field,
    )


def parameter_unclear(why: str) -> Refusal:
    """Give 400 for a request of which it can't be told whether it keeps the rules."""
    return Refusal(
        400, "parameter_not_allowed", f"The proxy cannot hold the request against the token's rules: {why}."
    )


def circuit_open(seconds: float) -> Refusal:
    """Give 503 for a call to an upstream that has failed again and again, for the next `seconds`."""
    return Refusal(
        503,
        "upstream_circuit_open",
        "The API has failed several times in a row; the proxy tries it again shortly.",
        type="server_error",
        retry_after=max(1, math.ceil(seconds)),
    )


def event_refused(why: str) -> Refusal:
    """Give 400 for a message on a WebSocket that is none of the events that the gate understands."""
    return Refusal(400, "event_not_allowed", why)


def model_refused(model: str, whose: str = "option llm_models") -> Refusal:
    """Give 404, as the API says of a model that does not exist or that a key may not use."""
    return Refusal(
        404,
        MODEL_NOT_FOUND,
        f"The model {_short(model)!r} is not allowed through the proxy ({whose}).",
        param="model",
    )


def model_unknown(why: str, whose: str = "option llm_models") -> Refusal:
    """Give 404 for a call whose model cannot be told, where only some are allowed."""
    return Refusal(
        404,
        MODEL_NOT_FOUND,
        f"The proxy allows only some models ({whose}) and cannot tell which one this is: {why}.",
        param="model",
    )


def _short(text: str) -> str:
    return text if len(text) <= 100 else text[:100] + "..."
