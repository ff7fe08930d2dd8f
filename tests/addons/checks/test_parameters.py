"""Rules for parameters: which values a field of a request may have, for tokens and projects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from addons.checks.history import History
from addons.checks.parameters import judge_event
from addons.explanation import Question, explain
from addons.flow.call import Call
from addons.openai.parameters import parameters_in
from addons.openai.request_reading import SMALL
from addons.settings.options import defaults
from store.core.errors import Invalid
from store.tokens.parameter_rules import parse_rule
from tests.addons.hooks.gated import HELLO, Gated, gated

RULES = {
    "temperature": "0..1",
    "service_tier": "auto|flex*",
    "tools[].type": "function",
    "reasoning.effort": "low|medium",
    "n": "..2",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gated]:
    with gated(tmp_path_factory.mktemp("parameters")) as made:
        yield made


@pytest.fixture(scope="module")
def token(world: Gated) -> str:
    return world.token(parameters=RULES)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"temperature": 0.5, "n": 2, "service_tier": "flex-2", "unknown": "x"},
        {"temperature": None, "reasoning": None, "tools": []},
        {"reasoning": {"effort": "low"}, "tools": [{"type": "function"}, {"type": "function"}]},
    ],
)
def test_what_keeps_the_rules_passes(world: Gated, token: str, fields: dict[str, Any]) -> None:
    assert world.ask(token, body={**HELLO, **fields}).code is None


@pytest.mark.parametrize(
    ("fields", "field", "value"),
    [
        ({"temperature": 1.5}, "temperature", "1.5"),
        ({"temperature": "hot"}, "temperature", "hot"),
        ({"temperature": True}, "temperature", "true"),
        ({"Temperature ": 1.5}, "temperature", "1.5"),
        ({"service_tier": "priority"}, "service_tier", "priority"),
        ({"tools": [{"type": "function"}, {"type": "web_search"}]}, "tools[].type", "web_search"),
        ({"tools": {"type": "mcp"}}, "tools[].type", "mcp"),
        ({"reasoning": {"effort": "high"}}, "reasoning.effort", "high"),
        ({"n": 3}, "n", "3"),
        ({"session": {"temperature": 2}}, "temperature", "2"),
    ],
)
def test_what_breaks_one_is_refused(
    world: Gated, token: str, fields: dict[str, Any], field: str, value: str
) -> None:
    reply = world.ask(token, body={**HELLO, **fields})
    error = reply.error
    assert (reply.status, error["code"], error["param"]) == (400, "parameter_not_allowed", field)
    assert error["type"] == "invalid_request_error"
    for named in (value, field, RULES[field]):
        assert repr(named) in error["message"]


def test_names_that_are_there_twice_count_both(world: Gated, token: str) -> None:
    for body in ('{"n":1,"n":9,%s}', '{"n":9,"n":1,%s}', '{"reasoning":{"effort":"high","effort":"low"},%s}'):
        content = (body % json.dumps(HELLO)[1:-1]).encode()
        assert world.ask(token, body=content).code == "parameter_not_allowed"


def test_large_bodies_are_held_against_them_too(world: Gated, token: str) -> None:
    long = {**HELLO, "user": "x" * 2 * SMALL}
    assert world.ask(token, body={**long, "n": 2}).code is None
    assert world.ask(token, body={**long, "n": 3}).code == "parameter_not_allowed"
    many = {**HELLO, "tools": [{"type": f"t{i}"} for i in range(1200)]}
    assert world.ask(token, body=many).code == "parameter_not_allowed"


def test_required_fields(world: Gated) -> None:
    token = world.token(parameters={"reasoning.effort": "!low|medium"})
    refused = world.ask(token)
    assert refused.code == "parameter_not_allowed"
    assert (
        "has no 'reasoning.effort', which the proxy token requires: 'low|medium'" in refused.error["message"]
    )
    assert world.ask(token, body={**HELLO, "reasoning": {"effort": "low"}}).code is None
    assert world.ask(token, "/v1/models", b"", method="GET").code is None, "nothing is billed"


def test_the_projects_rules_hold_as_well(world: Gated) -> None:
    token = world.token(parameters={"n": "*"})
    world.store.update_project(world.project.id, parameters={"n": "1"})
    try:
        reply = world.ask(token, body={**HELLO, "n": 2})
        assert "its project allows '1'" in reply.error["message"]
    finally:
        world.store.update_project(world.project.id, parameters={})
    assert world.ask(token, body={**HELLO, "n": 2}).code is None


def _form(**fields: str) -> tuple[bytes, dict[str, str]]:
    parts = [f'--b\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in fields.items()]
    content = "".join([*parts, "--b--\r\n"]).encode()
    return content, {"content-type": "multipart/form-data; boundary=b", "content-length": str(len(content))}


@pytest.mark.parametrize(
    ("fields", "passes"),
    [
        ({"temperature": "0.5"}, True),
        ({"temperature": "1.5"}, False),
        ({"reasoning[effort]": "high"}, False),
        ({"reasoning": '{"effort": "high"}'}, False),
        ({"tools[][type]": "function"}, True),
    ],
)
def test_forms(world: Gated, token: str, fields: dict[str, str], passes: bool) -> None:
    content, headers = _form(model="whisper-1", **fields)
    reply = world.ask(token, "/v1/audio/transcriptions", content, headers=headers)
    assert reply.code == (None if passes else "parameter_not_allowed")


def test_events_of_a_websocket(world: Gated) -> None:
    made, _ = world.new_token(parameters={**RULES, "voice": "!alloy"})
    found: list[str | None] = []

    def explain_(event: object, *, complete: bool = False) -> None:
        refusal = judge_event(_call(world, made.id), json.dumps(event).encode(), complete=complete)
        found.append(refusal and refusal.param)

    explain_({"type": "session.update", "session": {"temperature": 0.9}})
    explain_({"type": "session.update", "session": {"temperature": 1.2}})
    explain_({"type": "response.create", "response": {"tools": [{"type": "mcp"}]}})
    explain_({"type": "response.create", "service_tier": "priority"})
    explain_({"type": "response.create"}, complete=True)
    assert found == [None, "temperature", "tools[].type", "service_tier", "voice"]


def _call(world: Gated, token_id: str) -> Call:
    grant = world.store.explained(token_id, lambda _db, grant: grant)
    return cast("Call", SimpleNamespace(grant=grant))


def test_explain_says_it_beforehand(world: Gated) -> None:
    made, _ = world.new_token(parameters=RULES)
    asked = Question(model="gpt-4o-mini", body={**HELLO, "n": 5})
    answer = world.store.explained(
        made.id, lambda db, grant: explain(db, grant, asked, defaults(), History())
    )
    assert answer["refusal"]["code"] == "parameter_not_allowed"
    assert "'5' of 'n' is not allowed: the proxy token allows '..2'" in answer["refusal"]["message"]


@pytest.mark.parametrize("rule", ["", "a||b", "2..1", "!", "x" * 501, "a\nb"])
def test_rules_that_cannot_be(rule: str) -> None:
    with pytest.raises(Invalid, match="parameter n: "):
        parse_rule("n", rule)


@pytest.mark.parametrize("field", ["", "a.", "a[0]", ".b", "a b", "a[].[]"])
def test_fields_that_cannot_be(field: str) -> None:
    with pytest.raises(Invalid, match="write a name or a path"):
        parse_rule(field, "1")


def test_long_values_are_not_looked_at() -> None:
    assert parameters_in({"a": "x" * 1001}, ["a"]) == "a is longer than 1000 characters"
