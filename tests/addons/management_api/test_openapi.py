"""The API holds what its OpenAPI document says: schemathesis makes requests up, right ones and wrong ones."""

from __future__ import annotations

import json
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from openapi_spec_validator import validate

from addons.management_api.openapi import describe
from addons.management_api.resources.cache import CachePurge
from addons.management_api.routes import ROUTES
from tests.addons.management_api.conftest import TOKEN, Served

DOCUMENT = describe(ROUTES)
SCHEMA = schemathesis.openapi.from_dict(json.loads(json.dumps(DOCUMENT)))
OPERATIONS = {
    f"{method.upper()} {path}": SCHEMA[path][method]
    for path, item in DOCUMENT["paths"].items()
    for method in item
}
CHECKS = [
    schemathesis.checks.CHECKS.get_one(name)
    for name in (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
    )
]
EXAMPLES = 12
"""Requests of each operation; with 250 of each no other answer was found."""


def test_the_document_is_one_of_openapi_3_1(served: Served) -> None:
    found = served.get("/openapi.json")
    assert found == json.loads(json.dumps(DOCUMENT))
    validate(found)
    assert found["openapi"].startswith("3.1")
    ids = [operation["operationId"] for item in found["paths"].values() for operation in item.values()]
    assert len(ids) == len(set(ids))


BODIES = [
    (method, path, name)
    for path, handler in ROUTES
    for method, takes in handler.takes.items()
    if method != "GET" and handler is not CachePurge  # which is off here
    for name in takes
]


@pytest.mark.parametrize("engine_name", ["sqlite"], indirect=True)
def test_a_field_of_another_type_is_refused_by_its_name(served: Served) -> None:
    """So each field that the document has is read, as what the document says."""
    acme = served.store.create_project("acme", "sk-real-12345678")
    token = served.store.create_token(acme.id)[0]
    needed = {
        "name": "n",
        "api_key": "sk-other-12345678",
        "project_id": "acme",
        "token_id": token.id,
        "session": "s",
        "role": "read",
        "amount": "5usd/day",
    }
    for method, path, name in BODIES:
        takes = dict(ROUTES)[path].takes[method]
        kinds = takes[name].schema["type"]
        wrong: Any = 17 if "integer" not in kinds else "x"
        fields = {field: needed[field] for field in needed if field in takes and takes[field].required}
        url = path.removeprefix("/manage").replace("ID", acme.id if "projects" in path else token.id)
        response = served.client.request(method, url, json={**fields, name: wrong})
        assert response.status_code == 400, (method, path, name, response.text)
        assert response.json()["error"]["param"] == name, (method, path, response.text)


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
@pytest.mark.parametrize("engine_name", ["sqlite"], indirect=True)
def test_requests_that_are_made_up(served: Served, operation: str) -> None:
    """No answer is a failure of ours, and each is as the document has it."""
    served.store.create_project("acme", "sk-real-12345678")
    made = OPERATIONS[operation]

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=made.as_strategy())
    def ask(case: Any) -> None:
        url = str(served.client.base_url).removesuffix("/").removesuffix("/manage")
        response = case.call(base_url=url, headers={"Authorization": f"Bearer {TOKEN}"})
        assert response.status_code < 500, (case.as_curl_command(), response.text)
        case.validate_response(
            response,
            checks=CHECKS,
        )

    ask()
