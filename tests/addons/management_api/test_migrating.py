"""What docs/migrating.md says to write in place of LiteLLM's requests does what those did."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from addons.management_api.routes import ROUTES
from scripts.cli import COMMANDS
from tests.addons.management_api.conftest import Served, body

PAGE = Path(__file__).parents[3] / "docs" / "migrating.md"


def test_a_key_of_litellm_is_made_changed_and_ended(served: Served) -> None:
    """``/key/generate``, ``/key/update``, ``/key/regenerate``, ``/key/block``, a team, and what it spent."""
    team = served.post("/projects", 201, name="search", api_key="sk-real-12345678", metadata={"unit": "r&d"})
    limits = {
        "budgets": {"usd": {"month": "10"}},
        "models": ["gpt-4o*"],
        "tokens_per_minute": 100_000,
        "requests_per_minute": 60,
        "max_concurrent": 4,
    }
    order = {"project_id": team["id"], "expires_at": "30d", "metadata": {"team": "ranking"}}
    key = served.post("/tokens", 201, **order, limits=limits)
    assert key["limits"] == limits
    ends = datetime.fromisoformat(key["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=29) < ends <= timedelta(days=30)
    url = f"/tokens/{key['id']}"
    patched = body(served.client.patch(url, json={"limits": {"budgets": {"usd": {"month": "20"}}}}))
    assert patched["limits"] == {**limits, "budgets": {"usd": {"month": "20"}}}
    assert served.post(f"{url}/rotate")["token"] != key["token"]
    assert {row["limit"]: row["left"] for row in served.get("/budgets")["data"]} == {"usd/month": "20"}
    assert served.get("/usage", by="label:team")["data"] == []
    assert served.get("/calls", token_id=key["id"])["data"] == []
    assert body(served.client.delete(url))["active"] is False


def test_the_page_names_routes_and_commands_that_exist() -> None:
    text = PAGE.read_text()
    ours = {(method, path.replace("ID", "*")) for path, handler in ROUTES for method in handler.methods()}
    named = re.findall(r"`(GET|POST|PATCH|DELETE) (/manage/[\w/]+)", text)
    assert len(named) >= 6
    for method, path in named:
        assert (method, path.replace("ID", "*")) in ours, path
    commands = re.findall(r"(?:`|\$ )llmproxy ([a-z-]+)", text)
    assert commands
    assert set(commands) <= set(COMMANDS)
