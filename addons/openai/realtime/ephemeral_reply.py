"""Find a secret that the API has just made in its answer, and put another in its place.

`/realtime/client_secrets` and `/realtime/translations/client_secrets` answer with ``value`` and
``expires_at``, `/realtime/sessions` and `/realtime/transcription_sessions` with a session whose
``client_secret`` has both, `/chatkit/sessions` with ``client_secret`` (a text) and ``expires_at``. What is
not understood raises: an answer with a secret left in it would be worse than none. Source: the API reference
and the types of the official SDK.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from addons.openai.confidential import LOOKS_SECRET, NAMED_SECRET
from addons.openai.http.values import Json, name

SHORTEST = 16
"""Characters; a shorter text below such a name is a setting (``"max_output_tokens": "inf"``)."""


class NotUnderstood(ValueError):
    """The answer is not of a known form. The message says why, and quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class Found:
    """Holds a secret in an answer."""

    secret: str
    expires_at: int | None
    """Seconds since the epoch."""
    model: str | None
    """It is that of the session that it opens."""


def rewrite(body: bytes, seal: Callable[[Found], str]) -> bytes:
    """Give `body` with what `seal` gives in the place of each secret. Raises NotUnderstood.

    >>> rewrite(b'{"value": "ek_0123456789", "expires_at": 9}', lambda found: "ours").decode()
    '{"value": "ours", "expires_at": 9}'
    """
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise NotUnderstood("it is no JSON") from None
    if not isinstance(value, dict):
        raise NotUnderstood("it is no JSON object")
    found = list(_found(value))
    if not found:
        raise NotUnderstood("it holds no secret in a known place")
    ours = {one.secret: seal(one) for one in found}
    if why := _left_over(value, set(ours)):
        raise NotUnderstood(why)
    return json.dumps(_replaced(value, ours), ensure_ascii=False).encode()


def _found(body: Json) -> Iterator[Found]:
    session = body.get("session")
    places = [body, session] if isinstance(session, dict) else [body]
    model = next((found for place in places if (found := name(place.get("model")))), None)
    if secret := name(body.get("value")):
        yield Found(secret, _moment(body.get("expires_at")), model)
    for place in places:
        held = place.get("client_secret")
        if secret := name(held):
            yield Found(secret, _moment(place.get("expires_at")), model)
        elif isinstance(held, dict) and (secret := name(held.get("value"))):
            yield Found(secret, _moment(held.get("expires_at")), model)


def _moment(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _left_over(value: Any, known: set[str], key: str = "") -> str | None:
    """Say why there may be another secret somewhere."""
    if isinstance(value, dict):
        # A client's own tools come back as they were sent.
        members = [(each, member) for each, member in value.items() if each != "tools"]
        return next((why for each, member in members if (why := _left_over(member, known, each))), None)
    if isinstance(value, list):
        return next((why for member in value if (why := _left_over(member, known, key))), None)
    if not isinstance(value, str) or value in known:
        return None
    rest = value
    for secret in known:
        rest = rest.replace(secret, "")
    if LOOKS_SECRET.search(rest):
        return "it holds what looks like another secret"
    if NAMED_SECRET.search(key) and len(value) >= SHORTEST:
        return "it holds a secret, by its name, that is not known"
    return None


def _replaced(value: Any, ours: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {_text(key, ours): _replaced(member, ours) for key, member in value.items()}
    if isinstance(value, list):
        return [_replaced(member, ours) for member in value]
    return _text(value, ours) if isinstance(value, str) else value


def _text(value: str, ours: dict[str, str]) -> str:
    for secret, own in ours.items():
        value = value.replace(secret, own)
    return value
