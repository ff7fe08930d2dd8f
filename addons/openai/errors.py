"""The API's error object, in the forms in which servers send it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from addons.openai.messages import ApiError


def of_body(value: Any, status: int) -> ApiError | None:
    """The error in a JSON body: OpenAI's, Azure's, or a gateway's."""
    if isinstance(value, list) and len(value) == 1:  # some servers wrap it in a list
        value = value[0]
    if not isinstance(value, Mapping):
        return ApiError(value) if status >= 400 and isinstance(value, str) and value else None
    error = value.get("error")
    if isinstance(error, Mapping):
        return _read(error)
    if isinstance(error, str) and error:
        return ApiError(_text(value.get("message")) or error, code=_text(value.get("code")))
    if status >= 400:
        return _read(value) if "message" in value else ApiError()
    return None


def of_event(event: Mapping[str, Any]) -> ApiError | None:
    """The error in an event: nested, flat, or that of a failed response or run."""
    response = event.get("response")
    if isinstance(response, Mapping) and isinstance(response.get("error"), Mapping):
        return _read(response["error"])
    if event.get("object") == "thread.run" and isinstance(event.get("last_error"), Mapping):
        return _read(event["last_error"])
    error = event.get("error")
    if isinstance(error, Mapping):
        return _read(error)
    if isinstance(error, str) and error:
        return ApiError(error)
    return _read(event) if event.get("type") == "error" else None


def _read(error: Mapping[str, Any]) -> ApiError:
    kind = _text(error.get("type"))
    return ApiError(
        _text(error.get("message")),
        None if kind == "error" else kind,  # the event's own type, not the error's
        _text(error.get("code") if error.get("code") is not None else error.get("statusCode")),
        _text(error.get("param")),
    )


def _text(value: object) -> str | None:
    """Some servers write codes as numbers."""
    return None if value is None else str(value)
