"""Who may use the management API: whoever holds the management token."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mitmproxy import exceptions

from store.secret import Secret

VARIABLE = "LLMPROXY_MANAGEMENT_TOKEN"
FILE_VARIABLE = "LLMPROXY_MANAGEMENT_TOKEN_FILE"
SHORTEST = 32
"""Characters. Nothing slows down guessing, so there must be too much to guess."""


def management_token(environment: Mapping[str, str]) -> Secret | None:
    """The token, None where there is none. Raises OptionsError; the token is never part of the message."""
    value, file = environment.get(VARIABLE), environment.get(FILE_VARIABLE)
    if value and file:
        raise exceptions.OptionsError(f"llmproxy: {VARIABLE} and {FILE_VARIABLE} are both set; unset one.")
    if not value and not file:
        return None
    where = VARIABLE
    if file:
        where = f"{FILE_VARIABLE}={file}"
        try:
            value = Path(file).expanduser().read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            raise exceptions.OptionsError(f"llmproxy: {where}: {reason}.") from error
    token = (value or "").strip()
    if len(token) < SHORTEST or not token.isascii() or not token.isprintable() or " " in token:
        raise exceptions.OptionsError(
            f"llmproxy: {where} holds no management token: that has {SHORTEST} or more letters, digits and "
            "signs; `openssl rand -hex 32` makes one."
        )
    return Secret(token)


def is_allowed(authorization: str, token: Secret) -> bool:
    """Whether a request's header ``Authorization`` holds `token`."""
    scheme, _, given = authorization.partition(" ")
    return scheme.lower() == "bearer" and Secret(given.strip()) == token
