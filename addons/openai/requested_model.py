"""Find the model that a request asks for, wherever it says so, read as upstream will read it.

An allow-list is only as good as this: what another parser may read in another way counts as unknown, and the
gate refuses what is unknown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import parse_qsl

from addons.openai.endpoint import Endpoint, ModelIn
from addons.openai.http.form import Form
from addons.openai.http.messages import Request
from addons.openai.paths import is_ambiguous
from addons.openai.providers import deployment_in

ENGINE = re.compile(r"/engines/([^/]+)/")
DATE = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|\d{4})$")


@dataclass(frozen=True, slots=True)
class Asked:
    """Holds the model that a request asks for. Both None: it asks for none, and the server chooses."""

    model: str | None = None
    """On Azure the name of a deployment."""
    unknown: str | None = None
    """It says why that cannot be told for sure; `model` is then a guess, for the record only."""


class NotJson(Exception):
    """The text is no JSON that every parser reads alike; says why."""


NO_BODY = object()
"""The content of a request without a body."""


def model_in(request: Request, endpoint: Endpoint, content: Form | Any) -> Asked:
    """Give the model that `request` asks for, whose body has been read as `content`. Never raises.

    >>> from addons.openai.endpoints import resolve
    >>> target = "/v1/chat/completions"
    >>> model_in(Request("POST", target), resolve("POST", target), {"model": "gpt-4o"})
    Asked(model='gpt-4o', unknown=None)
    """
    found: Iterator[Asked] = iter(())
    if isinstance(content, Form):
        found = _in_form(content, endpoint)
    elif content is not NO_BODY:
        found = _of_value(content, endpoint)
    return _model(request, endpoint, found)


def _model(request: Request, endpoint: Endpoint, in_body: Iterator[Asked]) -> Asked:
    if endpoint.model_in is ModelIn.NOWHERE:
        return Asked()
    named = request.provider.deployment or deployment_in(request.path)
    unclear = "the path can be read in two ways" if is_ambiguous(request.path) else None
    if named is not None:
        return Asked(named, unclear)
    if ModelIn.PATH in endpoint.model_in and (match := ENGINE.search(request.path)):
        return Asked(match[1])
    # A place where the endpoint has no model counts too: upstream may look there.
    found = list(_in_query(request.query))
    if endpoint.model_in & (ModelIn.JSON | ModelIn.FORM | ModelIn.SESSION):
        found += in_body
    models = list(dict.fromkeys(asked.model for asked in found if asked.model is not None))
    unknown = unclear or next((asked.unknown for asked in found if asked.unknown), None)
    if len(models) > 1:
        unknown = unknown or f"the request names {len(models)} models"
    if not models and ModelIn.ELSEWHERE in endpoint.model_in:
        unknown = unknown or "the request does not say which model it uses"
    return Asked(models[-1] if models else None, unknown)


def _in_query(query: str) -> Iterator[Asked]:
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name.lower() in ("model", "deployment"):
            yield Asked(value or None)


def _in_form(form: Form, endpoint: Endpoint) -> Iterator[Asked]:
    for field in form.fields:
        if field.name.strip().lower() == "model":
            exact = field.name == "model" and field.text is not None
            yield Asked(field.text or None, None if exact else "a field of the form is nearly 'model'")
        elif field.name == "session" and ModelIn.SESSION in endpoint.model_in:
            yield from _of_value(_parsed((field.text or "").encode()), endpoint)
    if form.problem:
        yield Asked(unknown=f"the form cannot be read: {form.problem}")


def _parsed(text: bytes) -> Any:
    """Give the value of a JSON text, the last of equal keys counting; a reason where there is none."""
    try:
        return json.loads(text.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return NotJson("the body is not UTF-8")
    except (ValueError, RecursionError):
        return NotJson("the body is not JSON")


def _of_value(value: Any, endpoint: Endpoint) -> Iterator[Asked]:
    if isinstance(value, NotJson):
        yield Asked(unknown=str(value))
        return
    if not isinstance(value, Mapping):
        yield Asked(unknown="the body is no JSON object")
        return
    yield from _of_object(value)
    if ModelIn.SESSION in endpoint.model_in and isinstance(session := value.get("session"), Mapping):
        yield from _of_object(session)


def _of_object(value: Mapping[str, Any]) -> Iterator[Asked]:
    model = value.get("model")
    if isinstance(model, str):
        yield Asked(model or None)
    elif model is not None:
        yield Asked(unknown="'model' is no text")
    # Servers written in Go take keys in any case; OpenRouter takes `models` in place of `model`.
    if any(key != "model" and key.strip().lower() == "model" for key in value):
        yield Asked(unknown="a key is nearly 'model'")
    if value.get("models"):
        yield Asked(unknown="the request names alternative models")


def is_allowed(model: str, globs: Sequence[str]) -> bool:
    """Tell whether a model that was asked for is on an allow-list, in any case and padding.

    >>> is_allowed("gpt-4o-mini", ["gpt-4o*"]), is_allowed("ft:gpt-4o:acme::1", ["gpt-4o*"])
    (True, False)
    """
    name = model.strip().lower()
    return any(fnmatchcase(name, glob.strip().lower()) for glob in globs)


@dataclass(frozen=True, slots=True)
class Allowed:
    """Lists the models that are allowed."""

    globs: tuple[str, ...]
    whose: str
    """It says whose list it is, in words."""


def refusing(model: str, lists: Sequence[Allowed]) -> Allowed | None:
    """Give the first list that a model that was asked for is not on."""
    return next((allowed for allowed in lists if not is_allowed(model, allowed.globs)), None)


def is_allowed_answer(model: str, lists: Sequence[Allowed]) -> bool:
    """Tell whether the model that answered is on all lists.

    It may be a dated version of the one asked for.
    """
    undated = DATE.sub("", model.strip())
    return all(is_allowed(model, each.globs) or is_allowed(undated, each.globs) for each in lists)
