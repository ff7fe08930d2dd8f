"""Write the OpenAPI 3.1 document of the management API from what its handlers take, and serve it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, ClassVar

from addons.management_api import parameters
from addons.management_api.handler import ApiHandler, Roles
from addons.management_api.parameters import Parameter
from store.core.version import llmproxy_version
from store.tokens.fields import FLAG, KEY, LABELS, LIMITS, MOMENT, NAMES, NUMBER, PAIRS, TEXT, Kind, fields_of
from store.tokens.management_tokens import PROJECT, READ
from store.tokens.models import Project, Token

PATH = "/manage/openapi.json"
JSON = "application/json"
TAGS = re.compile(r"/manage/([a-z-]+)")
CREATED = frozenset({"/manage/projects", "/manage/tokens", "/manage/management-tokens"})
LISTED = CREATED | {"/manage/sessions"}
TOPUP = "/topup"
SHOWN: Mapping[Kind, Mapping[str, Any]] = {
    TEXT: {"type": ["string", "null"]},
    NUMBER: {"type": ["integer", "null"]},
    FLAG: {"type": "boolean"},
    MOMENT: {"type": ["string", "null"], "format": "date-time"},
    PAIRS: {"type": "object", "additionalProperties": {"type": "string"}},
    NAMES: {"type": "array", "items": {"type": "string"}},
    LIMITS: {"type": "object"},
    LABELS: {"type": "object"},
    KEY: {"type": "string", "description": "How the key is kept; never the key itself."},
}
"""JSON Schema of what answers show, by kind of field."""
PROBLEM = {
    "type": "object",
    "required": ["error", "type", "title", "status", "detail"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string"},
            },
        },
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
}
REFUSALS = {
    "400": "a field or a parameter is unknown, missing or not allowed",
    "401": "no token, or another",
    "403": "the token's role does not allow that, or the project is not active",
    "404": "it is not there",
    "405": "another method",
    "409": "it is in the way of what is there",
    "412": "it is not what If-Match says any more",
    "413": "the body is too large",
    "429": "too many log-ins have failed",
    "503": "the store can't be read or written; try again",
}


class OpenApi(ApiHandler):
    """The document itself."""

    roles: ClassVar[Roles] = {"GET": (READ, PROJECT)}
    document: ClassVar[Mapping[str, Any]] = {}
    """Set by :mod:`addons.management_api.routes`, which knows all handlers."""

    async def get(self) -> None:
        self.query()
        self.answer(self.document)


def describe(routes: Sequence[tuple[str, type[ApiHandler]]]) -> dict[str, Any]:
    """Make the document for these routes."""
    paths = {path.replace("ID", "{id}"): dict(_operations(path, handler)) for path, handler in routes}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "llmproxy management API",
            "version": llmproxy_version(),
            "description": "Projects, tokens, usage, budgets, calls. docs/management.md tells more.",
        },
        "security": [{"managementToken": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"managementToken": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Project": _shown(Project),
                "Token": _shown(Token),
                "Problem": PROBLEM,
                "List": {
                    "type": "object",
                    "required": ["data", "next"],
                    "properties": {
                        "data": {"type": "array", "items": {"type": "object"}},
                        "next": {"type": ["string", "integer", "null"]},
                    },
                },
            },
        },
    }


def _operations(path: str, handler: type[ApiHandler]) -> Iterator[tuple[str, dict[str, Any]]]:
    for method in handler.methods():
        takes = handler.takes.get(method, {})
        roles = ["admin", *handler.roles.get(method, ())]
        tag = TAGS.match(path)
        operation: dict[str, Any] = {
            "operationId": f"{method.lower()}{_camel(path)}",
            "tags": [tag[1] if tag else "all"],
            "summary": (handler.__doc__ or "").strip().splitlines()[0] if handler.__doc__ else path,
            "description": f"Roles: {', '.join(roles)}.",
            "responses": _responses(path, method, handler),
        }
        found = [_path_parameter()] if "ID" in path else []
        if method == "GET":
            found += [_parameter(name, parameter) for name, parameter in takes.items()]
        elif takes:
            operation["requestBody"] = {
                "required": bool(parameters.required(takes)),
                "content": {JSON: {"schema": _object(takes)}},
            }
        if found:
            operation["parameters"] = found
        yield method.lower(), operation


def _responses(path: str, method: str, handler: type[ApiHandler]) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{_answer(path, method)}"}
    content: dict[str, Any] = {JSON: {"schema": schema if _answer(path, method) else {"type": "object"}}}
    if "format" in handler.takes.get(method, {}):
        content["text/csv"] = {"schema": {"type": "string"}}
    success = ["201"] if method == "POST" and (path in CREATED or path.endswith(TOPUP)) else ["200"]
    if method == "POST" and "duration_minutes" in handler.takes.get(method, {}):
        success.append("200")
    refusals = {
        status: {
            "description": said,
            "content": {JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status, said in REFUSALS.items()
    }
    return {**{status: {"description": "done", "content": content} for status in success}, **refusals}


def _answer(path: str, method: str) -> str:
    """Name the schema of an answer; an empty text for an object of any form."""
    if path.endswith("/revoke") or (method == "GET" and path in LISTED):
        return "List"
    if path.startswith("/manage/projects"):
        return "Project"
    return "Token" if path.startswith("/manage/tokens") else ""


def _object(takes: parameters.Takes) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": "object",
        "properties": {name: dict(parameter.schema) for name, parameter in takes.items()},
        "additionalProperties": False,
    }
    if required := list(parameters.required(takes)):
        found["required"] = required
    return found


def _parameter(name: str, parameter: Parameter) -> dict[str, Any]:
    """Give a parameter of the URL, where everything is text and nothing is null."""
    schema = dict(parameter.schema)
    if isinstance(kinds := schema.get("type"), list):
        schema["type"] = next(kind for kind in kinds if kind != "null")
    return {"name": name, "in": "query", "required": parameter.required, "schema": schema}


def _path_parameter() -> dict[str, Any]:
    return {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


@cache
def _shown(model: type) -> dict[str, Any]:
    properties = {name: dict(SHOWN.get(field.kind, {})) for name, field in fields_of(model).items()}
    return {
        "type": "object",
        "required": list(properties),
        "properties": properties | {"is_active": {"type": "boolean"}, "use": {"type": "array"}},
    }


def _camel(path: str) -> str:
    words = [word for word in re.split(r"[/_.-]", path.removeprefix("/manage/")) if word]
    return "".join("One" if word == "ID" else word.capitalize() for word in words)
