"""Named management tokens: each role may do what it says, and nothing of another's project is there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from addons.management_api.access import FAILURES, Attempts
from store.audit.log import Wanted
from store.core.errors import Conflict, Invalid
from store.tokens import limits
from store.tokens.management_tokens import PREFIX, ManagementTokens
from tests.addons.management_api.conftest import Served, body
from tests.addons.management_api.test_reading import DAY, HOUR, count_session, event, use

KEY = "sk-real-12345678"


def tokens(served: Served) -> ManagementTokens:
    return ManagementTokens(served.store.connection, served.store.audit)


@contextmanager
def signed_in(served: Served, role: str, projects: Sequence[str] = (), **how: Any) -> Iterator[httpx.Client]:
    _, text = tokens(served).create(f"a {role}", role, projects=projects, **how)
    headers = {"authorization": f"Bearer {text.reveal()}"}
    with httpx.Client(
        base_url=served.client.base_url, headers=headers, trust_env=False, timeout=30
    ) as client:
        yield client


@pytest.fixture
def two(served: Served) -> tuple[str, str]:
    """Two projects, each with a token, a budget, a call and a sum."""
    daily = limits.of({"budgets": {"usd": {"day": "5"}}})
    ids = []
    for number, name in enumerate(("mine", "other")):
        project = served.store.create_project(name, KEY, limits=daily)
        served.store.create_token(project.id)
        use(served, HOUR, usd=number + 1, project_id=project.id, model=name)
        served.write(event(number, project_id=project.id))
        ids.append(project.id)
    return ids[0], ids[1]


def token_of(served: Served, project: str) -> str:
    return served.store.list_tokens(project)[0].id


def test_an_admin_may_do_everything_and_is_on_record(served: Served) -> None:
    with signed_in(served, "admin") as api:
        body(api.post("/projects", json={"name": "new", "api_key": KEY}), 201)
    (row,) = served.store.audit.find(Wanted(action="project.create"), limit=1)
    assert (row.actor, row.address) == ("management token:a admin", "127.0.0.1")


def test_who_may_read_changes_nothing(served: Served, two: tuple[str, str]) -> None:
    token = token_of(served, two[0])
    with signed_in(served, "read") as api:
        for path in ("/projects", "/tokens", f"/tokens/{token}", "/usage", "/budgets", "/calls", "/audit"):
            body(api.get(path))
        assert body(api.post("/explain", json={"token_id": token}))["token_id"] == token
        for response in (
            api.post("/projects", json={"name": "x", "api_key": KEY}),
            api.patch("/projects/mine", json={"active": False}),
            api.post("/tokens", json={"project_id": "mine"}),
            api.patch(f"/tokens/{token}", json={"max_requests": 1}),
            api.delete(f"/tokens/{token}"),
            api.post("/tokens/revoke", json={"project_id": "mine"}),
            api.get("/calls/e000", params={"content": "true"}),
            api.get("/management-tokens"),
            api.post("/management-tokens", json={"name": "mine", "role": "admin"}),
            api.delete("/management-tokens/a read"),
        ):
            assert body(response, 403)["error"]["code"] == "role_not_allowed"
        assert body(api.get("/calls/e000"))["event_id"] == "e000"


def test_who_is_for_a_project_sees_no_other(served: Served, two: tuple[str, str]) -> None:
    mine, other = two
    foreign = token_of(served, other)
    with signed_in(served, "project", [mine]) as api:
        assert [one["id"] for one in body(api.get("/projects"))["data"]] == [mine]
        assert {one["project_id"] for one in body(api.get("/tokens"))["data"]} == {mine}
        assert [row["model"] for row in body(api.get("/usage", params={"by": "model", **DAY}))["data"]] == [
            "mine"
        ]
        assert {row["project"] for row in body(api.get("/budgets"))["data"]} == {mine}
        assert [one["event_id"] for one in body(api.get("/calls"))["data"]] == ["e000"]
        assert {row["project_id"] for row in body(api.get("/audit"))["data"]} == {mine}
        assert {row["project_id"] for row in body(api.get("/audit"))["events"]} == {mine}
        (row,) = served.store.audit.find(Wanted(action="project.create", project_id=other), limit=1)
        for response in (
            api.get("/projects/other"),
            api.get("/tokens", params={"project_id": "other"}),
            api.post("/tokens", json={"project_id": "other"}),
            api.get(f"/tokens/{foreign}"),
            api.patch(f"/tokens/{foreign}", json={"max_requests": 1}),
            api.delete(f"/tokens/{foreign}"),
            api.post(f"/tokens/{foreign}/rotate", json={}),
            api.post("/tokens/revoke", json={"project_id": "other"}),
            api.post("/projects/other/tokens/revoke"),
            api.get("/usage", params={"project_id": "other"}),
            api.get("/usage", params={"token_id": foreign}),
            api.get("/budgets", params={"project_id": other}),
            api.get("/calls", params={"project_id": "other"}),
            api.get("/calls/e001"),
            api.post("/explain", json={"token_id": foreign}),
            api.get("/audit", params={"project_id": "other"}),
            api.get(f"/audit/{row.seq}"),
        ):
            assert body(response, 404)["error"]["code"] == "not_found", response.request.url
        for response in (
            api.post("/projects", json={"name": "x", "api_key": KEY}),
            api.patch("/projects/mine", json={"name": "x"}),
            api.post("/projects/mine/topup", json={"amount": "5usd/day"}),
            api.get("/health"),
            api.get("/management-tokens"),
            api.post("/management-tokens", json={"name": "mine", "role": "admin"}),
        ):
            body(response, 403)
        body(api.post("/tokens/revoke", json={"older_than": "0s"}), 400)
        made = body(api.post("/tokens", json={"project_id": "mine", "metadata": {"team": "a"}}), 201)
        body(api.patch(f"/tokens/{made['id']}", json={"max_requests": 5}))
        body(api.post(f"/tokens/{made['id']}/rotate", json={}))
        assert body(api.delete(f"/tokens/{made['id']}"))["active"] is False
    assert served.store.get_token(foreign).active


def test_one_that_is_revoked_or_has_ended_admits_nobody(served: Served) -> None:
    with signed_in(served, "read") as api:
        body(api.get("/projects"))
        revoked = tokens(served).revoke("a read")
        assert body(api.get("/projects"), 401)["error"]["code"] == "invalid_management_token"
    assert (revoked.revoked_at is not None, revoked.last_used_at is not None) == (True, True)
    assert tokens(served).revoke("a read") == revoked
    with signed_in(served, "admin", expires_at=datetime.now(UTC) - timedelta(seconds=1)) as api:
        body(api.get("/projects"), 401)
    assert [token.name for token in tokens(served).list()] == ["a admin", "a read"]


def test_a_token_of_the_data_plane_is_none(served: Served) -> None:
    served.store.create_project("acme", KEY)
    text = served.store.create_token("acme")[1].reveal()
    with httpx.Client(base_url=served.client.base_url, trust_env=False) as api:
        body(api.get("/projects", headers={"authorization": f"Bearer {text}"}), 401)
    _, text_too = served.store.create_token("acme", prefix="sk-")
    assert not text_too.reveal().startswith(PREFIX)


def test_what_is_kept_of_a_token_is_its_hash(served: Served) -> None:
    made, text = tokens(served).create("ci", "admin")
    rows = served.store.connection.rows("SELECT * FROM management_tokens")
    written = json.dumps([dict(row) for row in rows])
    records = repr(served.store.audit.find(Wanted(), limit=10))
    assert text.reveal() not in written + records
    assert made.prefix in written
    with pytest.raises(Conflict, match="exists already"):
        tokens(served).create("ci", "read")
    for role, projects in (("project", ()), ("read", ("p",)), ("root", ())):
        with pytest.raises(Invalid):
            tokens(served).create("x", role, projects=projects)


def test_failed_log_ins_are_counted_and_then_refused_unasked(served: Served) -> None:
    with (
        signed_in(served, "read") as good,
        httpx.Client(base_url=served.client.base_url, trust_env=False) as bad,
    ):
        body(good.get("/projects"))
        statuses = []
        for number in range(int(FAILURES) + 5):
            headers = {"authorization": f"Bearer {PREFIX}{number:043}"}
            response = bad.get("/projects", headers=headers)
            statuses.append(response.status_code)
        assert statuses[:40] == [401] * 40
        assert statuses[-1] == 429
        assert response.headers["retry-after"] == "60"
        assert body(response, 429)["error"]["code"] == "too_many_attempts"
        guess = bad.get("/projects", headers={"authorization": "Bearer anything-else-at-all"})
        assert guess.status_code == 429
        body(good.get("/projects"))
        body(served.client.get("/projects"))
    assert len(served.denied) == statuses.count(401)


def test_attempts_are_forgiven_in_time() -> None:
    now = 0.0
    attempts = Attempts(lambda: now)
    for _ in range(int(FAILURES)):
        assert attempts.may_try("a", "x")
        attempts.failed("a")
    assert not attempts.may_try("a", "x")
    assert attempts.may_try("b", "x")
    attempts.succeeded("good")
    assert attempts.may_try("a", "good")
    now = 2.0
    assert attempts.may_try("a", "x")


def test_sessions_of_other_projects_are_not_there(served: Served, two: tuple[str, str]) -> None:
    mine, other = two
    for number, project in enumerate(two):
        count_session(served, project, token_of(served, project), "same", 1_774_800_000 + number, calls=1)
    count_session(served, other, token_of(served, other), "theirs", 1_774_800_000, calls=1)
    with signed_in(served, "project", [mine]) as api:
        assert [row["project"] for row in body(api.get("/sessions"))["data"]] == [mine]
        assert body(api.get("/sessions", params={"session": "theirs"}))["data"] == []
        assert api.get("/sessions", params={"project_id": other}).status_code == 404
        assert api.get("/sessions", params={"token_id": token_of(served, other)}).status_code == 404
        assert body(api.get("/sessions/same"))["total"]["project"] == mine, "no other one is there"
        assert api.get("/sessions/theirs").status_code == 404
        assert api.get(f"/sessions/{token_of(served, other)}%2Fsame").status_code == 404
        assert api.get(f"/sessions/{token_of(served, other)}").status_code == 404
    with signed_in(served, "read") as api:
        assert len(body(api.get("/sessions"))["data"]) == 3
        assert api.get("/sessions/same").status_code == 409


def test_a_filter_takes_the_name_of_a_token_among_those_of_the_caller(served: Served) -> None:
    """Where several projects have a token of one name, whoever sees one of them means that one."""
    made = {}
    for project in ("mine", "theirs"):
        owner = served.store.create_project(project, "sk-real-12345678").id
        made[project] = served.store.create_token(owner, name="ranking")[0]
    mine, theirs = made["mine"].id, made["theirs"].id
    said = served.get("/usage", 400, token_id="ranking")["error"]["message"]
    assert mine in said
    assert theirs in said
    for path in ("/audit", "/calls"):
        served.get(path, 400, token_id="ranking")
    with signed_in(served, "project", [made["mine"].project_id]) as api:
        for given in ("ranking", mine, made["mine"].prefix):
            assert body(api.get("/usage", params={"token_id": given}))["data"] == []
            rows = body(api.get("/audit", params={"token_id": given}))["data"]
            assert {row["token_id"] for row in rows} == {mine}
            explained = body(api.post("/explain", json={"token_id": given}))
            assert explained["token_id"] == mine
        for other in (theirs, made["theirs"].prefix):
            assert api.get("/usage", params={"token_id": other}).status_code == 404
        short = body(api.get("/usage", params={"token_id": theirs[:4]}))
        assert theirs not in str(short), "a beginning that only one of theirs has is that one's"
