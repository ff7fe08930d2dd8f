"""Agents: what a session makes and names, and which turn a stream is billed by."""

from __future__ import annotations

from addons.openai import summarize
from addons.openai.endpoints import resolve
from addons.openai.objects.kinds import Place, Ref, place_of
from addons.openai.objects.made import Made, made
from addons.openai.objects.references import referenced_ids
from addons.openai.objects.watch import Watch
from tests.scenarios import SCENARIOS

SESSIONS = "/v1/agents/sessions"


def test_a_stream_is_billed_by_the_turn_of_the_agent_itself() -> None:
    """That of a subagent is named, and makes the figure a lower bound; a look at it counts it."""
    scenario = SCENARIOS["agents-session-stream"]
    found = summarize(scenario.request, scenario.response)
    assert found.usage is not None
    assert (found.usage_of, found.output["other_turns"]) == (("agent.session.turn", "turn_1"), ["turn_2"])
    assert list(found.usage.missing) == ["later"]
    looked_at = SCENARIOS["agents-turn-get"]
    again = summarize(looked_at.request, looked_at.response)
    assert (again.usage_of, again.usage and list(again.usage.missing)) == (
        ("agent.session.turn", "turn_3"),
        [],
    )


def test_what_a_session_makes() -> None:
    answer = {
        "id": "sess_1",
        "object": "agent.session",
        "agent": {"id": "agent_1"},
        "environment": {"id": "env_1", "type": "openai_hosted"},
        "metadata": {"id": "agent_9"},
    }
    found = [Made("agent.session", "sess_1"), Made("agent", "agent_1"), Made("agent.environment", "env_1")]
    assert made("POST", SESSIONS, answer) == found
    watch = Watch("POST", SESSIONS, stream=True)
    stream = SCENARIOS["agents-session-stream"].response.body
    assert [one.id for one in watch.feed(stream)] == ["sess_1", "agent_1"]
    assert made("POST", "/v1/vaults/vault_1/credentials", {"id": "cred_1", "object": "vault.credential"}) == [
        Made("vault.credential", "cred_1")
    ]


def test_what_a_session_names() -> None:
    body = {
        "agent_id": "agent_1",
        "vault_ids": ["vault_1"],
        "environment": {
            "environment_template_id": "tmpl_1",
            "env": {"file_id": "mine"},
            "files": [{"file_id": "file-1"}],
        },
        "agent": {
            "tools": [{"type": "mcp", "credential_id": "cred_1", "request_metadata": {"file_id": "x"}}]
        },
        "metadata": {"session_id": "mine"},
    }
    found = referenced_ids(body, resolve("POST", SESSIONS).objects)
    assert {ref.id for ref in found} == {"agent_1", "vault_1", "tmpl_1", "file-1", "cred_1"}
    automation = {"target": {"type": "existing_session", "session_id": "sess_1"}}
    assert referenced_ids(automation, resolve("POST", "/v1/agents/automations").objects) == [
        Ref("agent.session", "sess_1", "session_id")
    ]


def test_where_agents_are() -> None:
    assert place_of(SESSIONS) == Place("agent.session")
    assert place_of(f"{SESSIONS}/sess_1/turns/turn_1") == Place(
        "agent.session", "sess_1", ("turns", "turn_1")
    )
    assert place_of("/v1/agents/environments/templates/tmpl_1") == Place(
        "agent.environment_template", "tmpl_1"
    )
    assert place_of("/v1/agents/agent_1") == Place("agent", "agent_1")
