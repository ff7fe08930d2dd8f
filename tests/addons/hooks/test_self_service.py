"""What a token's holder may ask: answered here, never forwarded, of their own token only."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mitmproxy import http

from addons.flow import flow_metadata
from addons.flow.call import open_calls
from addons.hooks.self_service import SelfService
from store.audit.log import Wanted
from store.tokens import label_limits
from store.tokens.limits import of
from store.usage.rollups import FIGURES, Line, RollUps
from tests.addons.hooks.gated import Gated, gated

DAILY = {"budgets": {"usd": {"day": "5"}}, "models": ["gpt-4o*"]}


class Asked:
    """A gate with the self-service before it."""

    def __init__(self, world: Gated) -> None:
        self.world, self.service = world, SelfService(world.runtime)

    def ask(self, path: str, token: str | None, **how: Any) -> http.Response | None:
        """The proxy's own answer; None where it leaves the call to the gate."""
        flow = self.world.flow(token, f"/v1/llmproxy{path}", b"", **{"method": "GET", **how})
        asyncio.run(self.service.requestheaders(flow))
        assert flow_metadata.CLEARED not in flow.metadata
        assert flow.id not in open_calls, "no event tells of it"
        assert flow.response is None or token is None or token not in str(flow.get_state())
        return flow.response

    def get(self, path: str, token: str | None, status: int = 200, **how: Any) -> dict[str, Any]:
        response = self.ask(path, token, **how)
        assert response is not None
        assert response.status_code == status, response.text
        found: dict[str, Any] = response.json()
        return found


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[Asked]:
    with gated(tmp_path) as world:
        asked = Asked(world)
        yield asked
        asked.service.done()


def test_me(asked: Asked) -> None:
    token, text = asked.world.new_token(DAILY, max_requests=7, metadata={"user_id": "ada"})
    found = asked.get("/me", text.reveal())
    assert (found["id"], found["project_name"], found["metadata"]) == (token.id, "acme", {"user_id": "ada"})
    assert {(row["limit"], row["left"]) for row in found["use"]} == {("max_requests", 7), ("usd/day", "5")}
    assert next(row for row in found["use"] if row["limit"] == "usd/day")["resets_at"]
    assert found["models"] == [["gpt-4o*"]]
    assert "sk-real" not in json.dumps(found)
    asked.get("/me", text.reveal(), headers={"x": "y"}, client="10.0.0.1")
    assert asked.world.store.get_token(token.id).request_count == 0, "it counts as no call"


def test_me_shows_what_users_and_labels_have_left(asked: Asked) -> None:
    asked.world.store.update_project(asked.world.project.id, user_limits=of({"max_concurrent": 3}))
    labels = label_limits.of({"team": {"requests_per_minute": 9}, "customer": {"requests_per_minute": 7}})
    metadata = {"user_id": "ada", "team": "search"}
    text = asked.world.token(label_limits=labels, header_metadata=["customer"], metadata=metadata)
    found = asked.get("/me", text, headers={"X-LLMProxy-Metadata-Customer": "c1"})
    assert found["label_limits"] == label_limits.as_dict(labels)
    assert [(row["side"], row["name"], row["left"]) for row in found["use"]] == [
        ("user", "ada", 3),
        ("label", "customer=c1", 7),
        ("label", "team=search", 9),
    ]


def test_usage_is_that_of_the_token(asked: Asked) -> None:
    mine, text = asked.world.new_token()
    other, _ = asked.world.new_token()
    db = asked.world.store.connection
    for token, model, usd in ((mine, "gpt-4o", 2), (other, "gpt-5", 3)):
        key = (493_000, "", token.id, "", model, "")
        with db.transaction():
            figures = dict.fromkeys(FIGURES, 0) | {"calls": 1, "nano_usd": usd * 10**9}
            RollUps().add(db, [Line(key, figures)])
    found = asked.get("/usage?since=2026-01-01", text.reveal())
    assert [(row["day"], row["model"], row["usd"]) for row in found["data"]] == [
        ("2026-03-29", "gpt-4o", "2")
    ]
    assert asked.get("/usage?since=2026-01-01&by=", text.reveal())["total"]["usd"] == "2"
    for query in ("by=colour", "since=soon", "project_id=x", "token_id=x"):
        assert asked.get(f"/usage?{query}", text.reveal(), 400)["error"]["code"] == "invalid_value"


def test_a_call_of_the_token_and_no_other(asked: Asked) -> None:
    token, text = asked.world.new_token()
    event = {
        "type": "llm_proxy_usage",
        "event_id": "e1",
        "request_id": "r1",
        "timestamp": "2026-03-29T16:00:00.000Z",
        "token_id": token.id,
        "cost": {"usd": "0.01"},
        "request": {"body": "a prompt"},
    }
    with (asked.world.spool / "w.host.1.000001.jsonl").open("w") as file:
        foreign = {**event, "event_id": "e2", "request_id": "r2", "token_id": "x"}
        file.writelines(json.dumps(one) + "\n" for one in (event, foreign))
    found = asked.get("/calls/r1", text.reveal())
    assert (found["event_id"], found["cost"], "request" in found) == ("e1", {"usd": "0.01"}, False)
    for name in ("e2", "r2", "none", ""):
        asked.get(f"/calls/{name}", text.reveal(), 404)


def test_who_has_no_good_token_is_refused_as_ever_and_on_record(asked: Asked) -> None:
    token, text = asked.world.new_token({"networks": ["10.0.0.0/8"]})
    for shown in (None, "sk-llmp-unknown"):
        assert asked.get("/me", shown, 401)["error"]["code"] == "invalid_api_key"
    assert asked.get("/me", text.reveal(), 403)["error"]["type"]
    asked.get("/me", text.reveal(), client="10.1.2.3")
    asked.world.store.revoke_token(token.id)
    assert asked.get("/me", text.reveal(), 401, client="10.1.2.3")
    services = asked.world.runtime.services
    assert services is not None
    services.refusals.close()
    rows = asked.world.store.audit.find(Wanted(action="auth.refused"), limit=9)
    assert {row.reason for row in rows} >= {"missing", "unknown", "revoked"}


def test_other_methods_and_paths(asked: Asked) -> None:
    text = asked.world.token()
    assert asked.get("/me", text, 405, method="POST")["error"]["code"] == "method_not_allowed"
    asked.get("/elsewhere", text, 404)
    asked.get("/me?x=1", text, 400)
    flow = asked.world.flow(text, "/v1/llmproxyx", b"", method="GET")
    asyncio.run(asked.service.requestheaders(flow))
    assert flow.response is None, "that is the gate's"


def test_off(tmp_path: Path) -> None:
    with gated(tmp_path, llm_self_service="off") as world:
        text = world.token()
        assert Asked(world).ask("/me", text) is None
        assert world.ask(text, "/v1/llmproxy/me", b"", method="GET").status in (403, 404)


@pytest.mark.slow
def test_a_store_that_is_away(asked: Asked) -> None:
    text = asked.world.token()
    asked.get("/me", text)
    path = asked.world.store.path
    assert path is not None
    path.rename(path.with_suffix(".aside"))
    assert asked.get("/me", text, 503)["error"]["code"] in ("store_unavailable", "token_store_unavailable")
