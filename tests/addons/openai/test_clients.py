"""Requests of real clients are understood as they are meant, and no check has a reason to refuse one."""

from __future__ import annotations

import pytest

from addons.openai.bounds.output_cap import is_capped
from addons.openai.endpoint import Endpoint
from addons.openai.endpoints import resolve
from addons.openai.http.body import header
from addons.openai.http.form import is_form, read_form
from addons.openai.http.messages import Request
from addons.openai.objects.references import References, in_form, in_target
from addons.openai.request_reading import Question, RequestReading
from addons.openai.requested_model import Asked, model_in
from tests.scenarios.clients import CLIENTS, Sent

ALLOWED_BY_DEFAULT = ["inference", "storage", "listing"]
"""The default of the option llm_endpoints."""
EVERY = [sent for sents in CLIENTS.values() for sent in sents]
EXPECTED_CLIENTS = {
    *("openai-python", "openai-python-2", "openai-node", "agents-python", "agents-node", "codex"),
    *("langchain", "llamaindex", "litellm", "vercel-ai", "aider", "llm"),
}


def test_every_client_is_there() -> None:
    assert CLIENTS.keys() == EXPECTED_CLIENTS
    assert all(CLIENTS.values())


def understood(request: Request, endpoint: Endpoint) -> tuple[Asked, References]:
    """The model and the objects, as the gate reads them."""
    content_type = header(request.headers, "content-type")
    if is_form(content_type):
        form = read_form(request.body, content_type, strict=True)
        return model_in(request, endpoint, form), in_form(form, endpoint.objects)
    reading = RequestReading(request.body, Question(request.method, request.url))
    return reading.asked, reading.references


@pytest.mark.parametrize("sent", EVERY, ids=str)
def test_the_request_is_understood(sent: Sent) -> None:
    request = sent.request
    path, _, query = request.url.partition("?")
    endpoint = resolve(request.method, path, query=query)
    asked, found = understood(request, endpoint)
    assert (endpoint.name, asked) == (sent.expected["endpoint"], Asked(sent.expected["model"]))
    assert found.unclear is None
    named = [*in_target(path, query, endpoint.objects_in_query), *found.refs]
    assert [f"{ref.kind} {ref.id}" for ref in named] == sent.expected["objects"]


@pytest.mark.parametrize("sent", EVERY, ids=str)
def test_no_limit_has_a_reason_to_refuse_it(sent: Sent) -> None:
    request = sent.request
    path = request.url.partition("?")[0]
    endpoint = resolve(request.method, path)
    assert endpoint.allowed_by(ALLOWED_BY_DEFAULT)
    question = Question(request.method, request.url, most_output=1_000_000)
    reading = RequestReading(request.body, question)
    assert [tool.unknown for tool in reading.tool_models] == []
    if is_capped(endpoint):
        assert reading.capped.problem is None
