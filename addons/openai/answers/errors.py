"""Read the API's error object, in the forms in which servers send it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from addons.openai.http.messages import ApiError
from addons.openai.http.values import objects

LONGEST_MESSAGE = 2000
UNREADABLE = "unreadable_answer"
"""The type of an error that no server has told: what came is no answer."""
ANSWERS = frozenset({"choices", "output", "data", "text", "result"})
"""Members that an answer has and an error has not."""
FOREIGN_ANSWERS = frozenset(
    (
        *("object", "usage", "model", "results", "content", "candidates", "response", "embeddings"),
        *("completion", "generations", "svg_usage", "created"),
    )
)
"""Members that tell of an answer in some other form."""


def of_body(value: Any, status: int) -> ApiError | None:
    """Give the error in a JSON body: OpenAI's, Azure's, or a gateway's."""
    if isinstance(value, list) and len(value) == 1:  # some servers wrap it in a list
        value = value[0]
    if not isinstance(value, Mapping):
        return ApiError(value) if status >= 400 and isinstance(value, str) and value else None
    error = value.get("error")
    if isinstance(error, Mapping):
        return _read(error)
    if isinstance(error, str) and error:
        return ApiError(_text(value.get("message")) or error, code=_text(value.get("code")))
    if (found := _of_choices(value) or _under_success(value)) is not None:
        return found
    if status >= 400:
        return _read(value) if "message" in value else ApiError()
    return None


def is_page(written: str) -> bool:
    """Tell whether a text is an HTML page."""
    return written.lstrip("\ufeff \t\r\n")[:100].lower().startswith(("<!doctype html", "<html"))


def of_text(written: str) -> ApiError:
    """Give what stands in the place of an answer: a gateway's page, a proxy's words."""
    kind = "an HTML page" if is_page(written) else "a text"
    return ApiError(f"{kind} came in the place of an answer", UNREADABLE)


def of_no_answer(value: Mapping[str, Any]) -> ApiError | None:
    """Give the error in JSON that came with status 200 and has nothing of an answer; None where it has."""
    if any(value.get(name) is not None for name in ANSWERS | FOREIGN_ANSWERS):
        return None
    told = next(iter(objects(value.get("errors"))), value)
    words = ("message", "msg", "error_msg", "detail", "fault")
    message = next((str(told[name])[:LONGEST_MESSAGE] for name in words if told.get(name)), None)
    code = _text(told.get("code") or told.get("error_code") or told.get("statusCode"))
    return ApiError(message, UNREADABLE, code) if message or code else None


def _of_choices(value: Mapping[str, Any]) -> ApiError | None:
    """Give the error of a choice, as OpenRouter tells it."""
    for choice in objects(value.get("choices")):
        if isinstance(error := choice.get("error"), dict):
            return _read(error)
        if choice.get("finish_reason") == "error":
            return ApiError("the choice ended with an error")
    return None


def _under_success(value: Mapping[str, Any]) -> ApiError | None:
    """Read errors that compatible servers send with status 200: vLLM's, MiniMax's, those of gateways."""
    if value.get("object") == "error":
        return _read(value)
    if isinstance(base := value.get("base_resp"), dict) and base.get("status_code"):
        return ApiError(_text(base.get("status_msg")), code=_text(base.get("status_code")))
    if value.get("success") is False and not any(value.get(name) for name in ANSWERS):
        told = next(iter(objects(value.get("errors"))), value)
        return _read({**told, "message": told.get("message") or told.get("msg")})
    return None


def of_event(event: Mapping[str, Any]) -> ApiError | None:
    """Give the error in an event: nested, flat, or that of a failed response or run."""
    response = event.get("response")
    if isinstance(response, dict) and isinstance(response.get("error"), dict):
        return _read(response["error"])
    if event.get("object") == "thread.run" and isinstance(event.get("last_error"), dict):
        return _read(event["last_error"])
    error = event.get("error")
    if isinstance(error, dict):
        return _read(error)
    if isinstance(error, str) and error:
        return ApiError(error)
    if event.get("type") == "error":
        return _read(event)
    return _of_choices(event) or _under_success(event)


def _read(error: Mapping[str, Any]) -> ApiError:
    kind = _text(error.get("type"))
    return ApiError(
        _text(error.get("message")),
        None if kind == "error" else kind,  # the event's own type, not the error's
        _text(error.get("code") if error.get("code") is not None else error.get("statusCode")),
        _text(error.get("param")),
    )


def _text(value: object) -> str | None:
    """Give a code as text: some servers write codes as numbers."""
    return None if value is None else str(value)
