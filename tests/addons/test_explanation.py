"""``token explain`` says what the gate says: both go through one list of checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from addons.checks.history import History
from addons.explanation import Question, explain, route_of
from addons.settings.options import defaults
from tests.addons.hooks.gated import CHAT, HELLO, Gated, gated

STRICT = {"budgets": {"usd": {"total": "1"}}, "budget_mode": "strict"}
SEARCH = {"model": "gpt-5", "input": "x", "tools": [{"type": "web_search"}]}
FOREIGN = {"model": "gpt-4o", "input": "x", "previous_response_id": "resp_0123456789"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gated]:
    with gated(tmp_path_factory.mktemp("explain")) as made:
        yield made


@pytest.mark.parametrize(
    ("endpoint", "limits", "body"),
    [
        ("chat", {}, HELLO),
        ("chat", {"models": ["gpt-5*"]}, HELLO),
        ("chat", {"endpoints": ["embeddings"]}, HELLO),
        ("chat", {"networks": ["10.0.0.0/8"]}, HELLO),
        ("chat", {"max_output_tokens": 10}, {**HELLO, "max_tokens": 100}),
        ("chat", {"max_output_tokens": 10}, HELLO),
        ("chat", {"budgets": {"tokens": {"day": 10}}}, HELLO),
        ("chat", STRICT, HELLO),
        ("chat", STRICT, {**HELLO, "model": "ours"}),
        ("responses", STRICT, SEARCH),
        ("responses", {}, FOREIGN),
        ("responses", {}, {"model": "gpt-4o", "input": "x", "conversation": "conv_0123456789"}),
        ("jobs", {"endpoints": ["unmetered"]}, {"input_file_id": "file-1"}),
        ("administration", {"endpoints": ["administration"]}, {}),
        ("embeddings", {"models": ["text-*"]}, {"input": "x"}),
    ],
)
def test_explain_says_what_the_gate_says(
    world: Gated, endpoint: str, limits: Mapping[str, Any], body: Mapping[str, Any]
) -> None:
    token, text = world.new_token(limits)
    method, path, _, _ = route_of(endpoint)
    reply = world.ask(text.reveal(), path, b"" if method == "GET" else body, method=method)
    question = Question(endpoint, None, "127.0.0.1", body)
    said = world.store.explained(
        token.id, lambda db, grant: explain(db, grant, question, defaults(), History())
    )
    if reply.status == 0:
        assert (said["allowed"], said["refusal"]) == (True, None)
    else:
        assert said["refusal"] == {
            "status": reply.status,
            "code": reply.code,
            "message": reply.error["message"],
        }


def test_it_takes_nothing(world: Gated) -> None:
    token, text = world.new_token({"budgets": {"tokens": {"day": 10**6}}, "requests_per_minute": 1})
    for _ in range(3):
        answer = world.store.explained(
            token.id, lambda db, grant: explain(db, grant, Question(model="gpt-4o"), defaults(), History())
        )
        assert answer["allowed"]
        assert answer["holds"]["tokens"] > 0
    assert world.ask(text.reveal(), CHAT).code is None
