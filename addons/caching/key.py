"""Make the key under which an answer is kept: all that it may depend on, and whom it is for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl, urlencode

from addons.caching.settings import TOKEN, USER
from addons.flow.call import Call
from addons.flow.request_metadata import USER_NAMES
from addons.openai.http.cache_control import Headers, normalized
from store.tokens.models import Grant

VERSION = 1
KEYED = ("accept", "accept-language", "content-type", "openai-beta")
"""Fields of a request that count always, whatever ``Vary`` says."""


def target_of(url: str) -> str:
    """Bring path and query into one form: the parameters in order.

    >>> target_of("/v1/models?b=2&a=1")
    '/v1/models?a=1&b=2'
    """
    path, _, query = url.partition("#")[0].partition("?")
    # Values of one name stay in their order, and bytes that are no text stay what they are.
    pairs = parse_qsl(query, keep_blank_values=True, errors="surrogateescape")
    parameters = urlencode(sorted(pairs, key=lambda pair: pair[0]), errors="surrogateescape")
    return f"{path}?{parameters}" if parameters else path


def key_of(call: Call, grant: Grant, target: str, scope: str) -> str:
    """Return the key of a request, 64 hexadecimal digits; two projects never have the same."""
    body = call.body.decoded if call.body is not None and call.request_body is None else None
    if body is None:  # something was added to it, such as a limit: then it is not coded
        body = call.flow.request.raw_content or b""
    parts = [
        VERSION,
        grant.project.id,
        _sharers(grant, call.request_metadata.pairs, scope),
        str(call.upstream),
        "GET" if call.method == "HEAD" else call.method,
        target,
        call.cache_namespace,
        [_field(name, call.headers) for name in KEYED],
        hashlib.sha256(body).hexdigest(),
    ]
    return _digest(parts)


def variant_of(key: str, names: Sequence[str], headers: Headers, token_id: str) -> str:
    """Return the key of one of several answers to a request, told apart by these of its fields (``Vary``).

    The credential that a client shows is not kept; its token stands for it.
    """
    values = [token_id if name == "authorization" else _field(name, headers) for name in names]
    return _digest([key, list(names), values])


def _sharers(grant: Grant, claimed: Mapping[str, str], scope: str) -> list[str]:
    """Name who shares the answer, within the project.

    A user whom the token names shares with that user's other tokens; one whom a request claims to be its
    own shares within its token only, or anyone could claim to be another.
    """
    if scope == USER and (named := _users(grant.metadata)):
        return named
    own = [grant.token.id] if scope in (TOKEN, USER) else []
    return own + _users(claimed) if scope == USER else own


def _users(metadata: Mapping[str, str]) -> list[str]:
    return [f"{name}={metadata[name]}" for name in USER_NAMES if metadata.get(name)]


def _field(name: str, headers: Headers) -> str:
    return normalized(name, [value for key, value in headers if key.lower() == name])


def _digest(parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode("utf-8", "replace")).hexdigest()
