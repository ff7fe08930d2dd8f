"""The session of an agent, as Codex names it in headers and bodies."""

from __future__ import annotations

import json
from typing import Any

import pytest

from addons.openai.agent_session import AgentSession, session_in, session_of

TURN = {"session_id": "s1", "thread_id": "t2", "turn_id": "u3", "thread_source": "subagent"}
WHOLE = AgentSession("s1", "t2", "u3", "subagent")


@pytest.mark.parametrize(
    ("headers", "metadata", "found"),
    [
        ([], None, None),
        ([("session_id", "s1")], None, AgentSession("s1")),
        ([("Session-Id", "s1")], None, AgentSession("s1")),
        ([("x-codex-turn-metadata", json.dumps(TURN))], None, WHOLE),
        ([], {"x-codex-turn-metadata": json.dumps(TURN)}, WHOLE),
        ([], {"session_id": "s1", "thread_id": "t2"}, AgentSession("s1", "t2")),
        # Headers of a socket are those of its handshake.
        ([("session_id", "old"), ("thread_id", "t9")], {"session_id": "s1"}, AgentSession("s1", "t9")),
        ([], {"thread_id": "t2"}, None),
        ([("session_id", "s" * 129)], None, None),
        ([("session_id", " ")], {"session_id": 7}, None),
        ([("session_id", "s1")], {"x-codex-turn-metadata": "[" * 2000}, AgentSession("s1")),
        ([("x-codex-turn-metadata", json.dumps({**TURN, "thread_source": "elsewhere"}))], None,
         AgentSession("s1", "t2", "u3")),
    ],
)  # fmt: skip
def test_what_is_read(
    headers: list[tuple[str, str]], metadata: dict[str, Any] | None, found: AgentSession | None
) -> None:
    assert session_of(headers, session_in({"client_metadata": metadata})) == found


@pytest.mark.parametrize("body", [None, [], {}, {"client_metadata": "s1"}, {"client_metadata": ["s1"]}])
def test_a_body_without_one(body: Any) -> None:
    assert session_in(body) is None
