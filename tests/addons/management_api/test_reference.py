"""Every request of the reference system's management API, as its description writes it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.addons.management_api.conftest import TOKEN, Served, body

KEY = "sk-real-12345678"
REFERENCE = pytest.mark.parametrize("served", [{"management_dialect": "reference"}], indirect=True)


def project(served: Served, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = served.post("/projects", 201, name="acme", api_key=KEY, **more)
    return made


def test_projects(served: Served) -> None:
    made = project(served)
    assert KEY not in str(made), "deliberately other: no key is shown"
    assert made.keys() >= {"id", "name", "is_active", "created_at", "updated_at"}
    url = f"/projects/{made['id']}"
    assert served.get(url)["is_active"] is True
    changed = body(served.client.patch(url, json={"name": "acme 2", "api_key": "sk-other-123456"}))
    assert changed["name"] == "acme 2"
    assert body(served.client.patch(url, json={"api_key": ""}))["name"] == "acme 2"
    assert body(served.client.patch(url, json={}))["name"] == "acme 2"
    for _ in range(2):
        assert body(served.client.patch(url, json={"is_active": False}))["is_active"] is False
    refused = served.client.delete(url)
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, PATCH")
    for fields, said in (
        ({"name": "x"}, "api_key"),
        ({"api_key": KEY}, "name"),
        ({"name": "x", "api_key": "sk-ab...yz"}, "masked"),
        ({"name": "x", "api_key": "sk-****"}, "masked"),
    ):
        assert said in served.post("/projects", 400, **fields)["error"]["message"]
    body(served.client.patch(url, json={"revoke_tokens": True}), 400)
    body(served.client.patch(url, json={"is_active": True, "revoke_tokens": True}), 400)
    served.get("/projects/none", 404)


def test_tokens(served: Served) -> None:
    acme = project(served)
    order = {
        "project_id": acme["id"],
        "duration_minutes": 60,
        "max_requests": 5,
        "metadata": {"user_id": "u"},
    }
    made = served.post("/tokens", 200, **order)
    assert made.keys() >= {"id", "token", "expires_at", "max_requests"}
    ends = datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)
    assert timedelta(minutes=59) < ends <= timedelta(minutes=60)
    unlimited = served.post("/tokens", 200, project_id="acme", duration_minutes=525_600, max_requests=0)
    assert unlimited["max_requests"] is None
    for fields, status in (
        ({"project_id": acme["id"], "duration_minutes": 525_601}, 400),
        ({"project_id": acme["id"], "duration_minutes": 0}, 400),
        ({"duration_minutes": 5}, 400),
        ({"project_id": acme["id"], "duration_minutes": 5, "max_requests": -1}, 400),
        ({"project_id": acme["id"], "duration_minutes": 5, "metadata": {"n": 1}}, 400),
        ({"project_id": "none", "duration_minutes": 5}, 404),
    ):
        served.post("/tokens", status, **fields)
    assert len(served.get("/tokens", projectId=acme["id"])["data"]) == 2
    url = f"/tokens/{made['id']}"
    shown = served.get(url)
    assert shown.keys() >= {
        *("id", "project_id", "expires_at", "is_active", "request_count", "max_requests"),
        *("created_at", "last_used_at", "cache_hit_count"),
    }
    assert body(served.client.patch(url, json={"max_requests": 7}))["max_requests"] == 7
    body(served.client.patch(url, json={}), 400)
    assert body(served.client.patch(url, json={"is_active": True}))["is_active"] is True
    assert body(served.client.patch(url, json={"is_active": False}))["is_active"] is False
    back = body(served.client.patch(url, json={"is_active": True}), 409)
    assert "stays revoked" in back["error"]["message"], "deliberately other, and the answer says so"
    for _ in range(2):
        assert body(served.client.delete(url))["is_active"] is False
    served.get("/tokens/none", 404)


def test_all_tokens_of_a_project_are_revoked_with_counts(served: Served) -> None:
    acme = project(served)
    ids = [served.store.create_token(acme["id"])[0].id for _ in range(3)]
    served.store.revoke_token(ids[0])
    counts = served.post(f"/projects/{acme['id']}/tokens/revoke")
    assert {name: counts[name] for name in ("revoked_count", "already_revoked_count", "total_tokens")} == {
        "revoked_count": 2,
        "already_revoked_count": 1,
        "total_tokens": 3,
    }
    served.post("/projects/none/tokens/revoke", 404)


def test_a_project_is_deactivated_with_its_tokens(served: Served) -> None:
    acme = project(served)
    token, _ = served.store.create_token(acme["id"])
    both = {"is_active": False, "revoke_tokens": True}
    assert body(served.client.patch(f"/projects/{acme['id']}", json=both))["is_active"] is False
    assert not served.store.get_token(token.id).active
    refused = served.post("/tokens", 403, project_id=acme["id"], duration_minutes=5)
    assert refused["error"]["code"] == "project_inactive"


def test_the_audit_log_is_searched_by_the_page(served: Served) -> None:
    ids = {"X-Request-ID": "req-1", "X-Correlation-ID": "corr-1", "User-Agent": "a client/1"}
    made = body(served.client.post("/projects", json={"name": "acme", "api_key": KEY}, headers=ids), 201)
    for number in range(5):
        served.store.create_token(made["id"], metadata={"n": str(number)})
    page = served.get("/audit", page="2", page_size="2")
    assert page["pagination"] == {
        "page": 2,
        "page_size": 2,
        "total_count": 6,
        "total_pages": 3,
        "has_next": True,
        "has_prev": True,
    }
    assert [event["action"] for event in page["events"]] == ["token.create"] * 2
    for params in (
        {"action": "project.create"},
        {"request_id": "req-1"},
        {"correlation_id": "corr-1"},
        {"method": "POST"},
        {"path": "/manage/projects"},
        {"search": "PROJECT.CRE"},
        {"client_ip": "127.0.0.1", "actor": "management", "outcome": "success", "project_id": made["id"]},
    ):
        (event,) = served.get("/audit", **params)["events"]
        assert event["request_id"] == "req-1", params
    assert event.keys() >= {
        *("id", "timestamp", "action", "actor", "project_id", "correlation_id", "client_ip", "method"),
        *("path", "user_agent", "outcome", "metadata"),
    }
    assert (event["path"], event["user_agent"]) == ("/manage/projects", "a client/1")
    one = served.get(f"/audit/{event['id']}")
    assert {name: one[name] for name in event} == event
    assert served.get("/audit", start_time="2100-01-01T00:00:00Z")["events"] == []
    assert served.get("/audit", end_time="2020-01-01T00:00:00Z")["pagination"]["total_pages"] == 0
    for unknown in ("999999", "x"):
        served.get(f"/audit/{unknown}", 404)
    served.get("/audit", 400, page_size="101")


def test_every_answer_has_both_ids(served: Served) -> None:
    given = {"X-Request-ID": "a-1", "X-Correlation-ID": "b-2"}
    for path in ("/projects", "/nothing", "/tokens/none"):
        response = served.client.get(path, headers=given)
        assert (response.headers["x-request-id"], response.headers["x-correlation-id"]) == ("a-1", "b-2")
        fresh = served.client.get(path, headers={"X-Request-ID": "with space" * 20})
        assert len(fresh.headers["x-request-id"]) == 36


@pytest.mark.parametrize("authorization", [None, "Bearer", f"Basic {TOKEN}", "Bearer wrong"])
def test_common_refusals(served: Served, authorization: str | None) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    with httpx.Client(base_url=served.client.base_url, headers=headers, trust_env=False) as api:
        body(api.get("/projects"), 401)
    assert served.client.put("/projects", json={}).status_code == 405


@REFERENCE
def test_with_its_dialect_the_answers_have_its_form_too(served: Served) -> None:
    made = served.post("/projects", 201, name="acme", api_key=KEY)
    assert made["api_key"] == "********"
    assert [one["id"] for one in served.get("/projects")] == [made["id"]]
    token = served.post("/tokens", 200, project_id=made["id"], duration_minutes=5)
    (listed,) = served.get("/tokens", projectId=made["id"])
    assert listed["token"].endswith("********")
    assert listed["token"][:10] == token["token"][:10]
    url = f"/tokens/{token['id']}"
    assert body(served.client.patch(url, json={"max_requests": 0}))["max_requests"] is None
    assert served.client.delete(url).status_code == 204
    assert served.post(f"/projects/{made['id']}/tokens/revoke") == {
        "revoked_count": 0,
        "already_revoked_count": 1,
        "total_tokens": 1,
    }
    assert served.get("/audit").keys() == {"events", "pagination"}
    assert isinstance(served.get("/tokens/none", 404)["error"], str)


def test_etags(served: Served) -> None:
    acme = project(served)
    token = served.store.create_token(acme["id"])[0].id
    for url, change in (
        (f"/projects/{acme['id']}", {"name": "b"}),
        (f"/tokens/{token}", {"max_requests": 3}),
    ):
        seen = served.client.get(url).headers["etag"]
        first = served.client.patch(url, json=change, headers={"If-Match": seen})
        assert (first.status_code, first.headers["etag"] != seen) == (200, True)
        late = served.client.patch(url, json=change, headers={"If-Match": seen})
        assert body(late, 412)["error"]["code"] == "precondition_failed"
        body(served.client.patch(url, json=change, headers={"If-Match": f'"x", {first.headers["etag"]}'}))
        body(served.client.patch(url, json=change, headers={"If-Match": "*"}))
    assert served.client.delete(f"/tokens/{token}", headers={"If-Match": '"x"'}).status_code == 412
    assert served.store.get_token(token).active


def test_errors_have_the_form_of_rfc_9457_beside_ours(served: Served) -> None:
    problem = served.client.get("/tokens/none", headers={"Accept": "application/problem+json"})
    assert problem.headers["content-type"] == "application/problem+json"
    found = body(problem, 404)
    assert (found["status"], found["title"], found["detail"]) == (404, "not found", found["error"]["message"])
    assert found["type"] == "urn:llmproxy:management:not_found"
