"""The management API of a real proxy, by httpx; what it changes holds from the next call on."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from click.testing import CliRunner

from scripts.client.me import me
from store.audit.log import Wanted
from tests.live.clients import chat, http, sdk
from tests.live.conftest import REAL_KEY, Running, StartProxy, Tenant
from tests.live.harness import Proxy, wait_for
from tests.live.test_management import address

StartShared = Callable[..., Running]
TOKEN = "management-" + "5b2e" * 8


def client(proxy: Proxy, token: str | None = TOKEN) -> httpx.Client:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return httpx.Client(base_url=f"{address(proxy)}/manage", headers=headers, trust_env=False, timeout=30)


@pytest.fixture(scope="module")
def running(start_shared: StartShared) -> Running:
    return start_shared("llm_management=127.0.0.1:0", environment={"LLMPROXY_MANAGEMENT_TOKEN": TOKEN})


@pytest.fixture
def managed(running: Running) -> Proxy:
    return running.proxy


@pytest.fixture
def tenant(running: Running) -> Tenant:
    return running.tenant


@pytest.fixture
def api(managed: Proxy) -> Iterator[httpx.Client]:
    with client(managed) as api:
        yield api


def ok(response: httpx.Response, status: int = 200) -> Any:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    return response.json()


def refused(response: httpx.Response, status: int, code: str, said: str = "") -> dict[str, Any]:
    error = ok(response, status)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code
    assert said in error["message"]
    return dict(error)


ORDER = {
    "project_id": "search",
    "expires_at": "30d",
    "max_requests": 5,
    "metadata": {"team": "a"},
    "header_metadata": ["session-id"],
}


def test_projects_and_tokens(running: Running, api: httpx.Client) -> None:
    managed, tenant = running.proxy, running.tenant
    acme = ok(api.get(f"/projects/{tenant.project.id}"))
    assert acme.pop("use") == []
    made = ok(
        api.post(
            "/projects",
            json={"name": "search", "api_key": REAL_KEY, "metadata": {"cost_center": "4711"}},
        ),
        201,
    )
    assert (made["name"], made["active"], made["key"]) == ("search", True, "encrypted")
    assert {"acme", "search"} <= {one["name"] for one in ok(api.get("/projects"))["data"]}
    assert ok(api.get("/projects/acme")) == {**acme, "use": []}
    assert acme == tenant.store.get_project("acme").as_dict()

    token = ok(api.post("/tokens", json=ORDER), 201)
    text = token.pop("token")
    use = ok(api.get(f"/tokens/{token['id']}")).pop("use")
    assert [(row["side"], row["limit"], row["allowed"]) for row in use] == [("token", "max_requests", 5)]
    assert ok(api.get(f"/tokens/{token['id']}")) == {**token, "use": use}
    ends = datetime.fromisoformat(token["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=29, hours=23) < ends <= timedelta(days=30)
    assert chat(sdk(managed, text)).choices
    assert running.events(1)[0]["token_metadata"] == {"team": "a", "cost_center": "4711"}

    patch = {"metadata": {"team": None, "user_id": "ada"}, "max_requests": None, "expires_at": None}
    changed = ok(api.patch(f"/tokens/{token['id']}", json=patch))
    assert (changed["metadata"], changed["max_requests"], changed["expires_at"]) == (
        {"user_id": "ada"},
        None,
        None,
    )
    assert changed["header_metadata"] == ["session_id"]
    assert chat(sdk(managed, text)).choices
    assert running.events(1)[0]["user"] == {"id": "ada", "source": "token_metadata.user_id"}

    rotated = ok(api.post(f"/tokens/{token['id']}/rotate", json={"overlap": "0s"}))
    assert rotated["id"] == token["id"]
    with pytest.raises(openai.AuthenticationError):
        chat(sdk(managed, text))
    assert chat(sdk(managed, rotated["token"])).choices
    assert ok(api.patch("/projects/search", json={"active": False}))["active"] is False
    with pytest.raises(openai.PermissionDeniedError):
        chat(sdk(managed, rotated["token"]))
    ok(api.patch("/projects/search", json={"active": True, "name": "Search"}))
    assert chat(sdk(managed, rotated["token"])).choices
    for _ in range(2):
        assert ok(api.delete(f"/tokens/{token['id']}"))["active"] is False
    with pytest.raises(openai.AuthenticationError):
        chat(sdk(managed, rotated["token"]))

    written = audited(running, api)
    for secret in (REAL_KEY, text, rotated["token"], TOKEN):
        assert secret not in written


def audited(running: Running, api: httpx.Client) -> str:
    """What the test above has left in the audit log, and all that was written of it."""
    rows = running.tenant.store.audit.find(Wanted(actor="management token"), limit=100)
    actions = [row.action for row in reversed(rows)]
    assert actions[:4] == ["project.create", "token.create", "token.update", "token.rotate"]
    assert {row.address for row in rows} == {"127.0.0.1"}
    listed = ok(api.get("/audit", params={"actor": "management", "project_id": "Search", "limit": 3}))
    assert [row["action"] for row in listed["data"]] == ["token.revoke", "token.revoke", "project.update"]
    rest = ok(api.get("/audit", params={"actor": "management", "after": listed["next"], "since": "1h"}))
    assert [row["seq"] for row in rest["data"]] == [row.seq for row in rows if row.seq < listed["next"]]
    assert ok(api.get("/audit", params={"until": "1d"}))["data"] == []
    return "".join(map(repr, rows)) + running.proxy.output


def test_lists_come_in_pages(api: httpx.Client, tenant: Tenant) -> None:
    project = tenant.store.create_project("paged", REAL_KEY)
    made = [tenant.store.create_token(project.id)[0].id for _ in range(5)]
    found: list[str] = []
    after = ""
    while True:
        page = ok(api.get("/tokens", params={"project_id": "paged", "limit": 2, "after": after}))
        found += [token["id"] for token in page["data"]]
        if page["next"] is None:
            break
        after = page["next"]
    assert found == made
    assert len(ok(api.get("/tokens"))["data"]) > 5
    for params in ({"limit": "0"}, {"limit": "1001"}, {"limit": "x"}, {"project": "paged"}):
        refused(api.get("/tokens", params=params), 400, "invalid_value")


def test_revoking_many(managed: Proxy, api: httpx.Client, tenant: Tenant) -> None:
    tenant.store.create_project("crowd", REAL_KEY)
    (a, first), (b, _), (c, _) = (
        tenant.store.create_token("crowd", metadata={"team": team, "x": "y"}) for team in "abb"
    )
    text = first.reveal()
    look = ok(api.post("/tokens/revoke", json={"metadata": {"team": "a"}, "dry_run": True}))
    assert [token["id"] for token in look["data"]] == [a.id]
    assert chat(sdk(managed, text)).choices
    gone = ok(api.post("/tokens/revoke", json={"metadata": {"team": "a"}, "project_id": "crowd"}))
    assert [(token["id"], token["active"]) for token in gone["data"]] == [(a.id, False)]
    with pytest.raises(openai.AuthenticationError):
        chat(sdk(managed, text))
    assert ok(api.post("/tokens/revoke", json={"older_than": "1d"}))["data"] == []
    refused(api.post("/tokens/revoke", json={}), 400, "invalid_value", "Say which")
    refused(api.post("/tokens/revoke", json={"dry_run": True}), 400, "invalid_value", "Say which")
    rest = ok(api.post("/projects/crowd/tokens/revoke"))
    assert [token["id"] for token in rest["data"]] == [b.id, c.id]


def test_limits_and_topups(managed: Proxy, api: httpx.Client) -> None:
    limits = {"budgets": {"usd": {"day": "5.00"}}, "models": ["gpt-4o*"], "requests_per_minute": 60}
    made = ok(api.post("/projects", json={"name": "limited", "api_key": REAL_KEY, "limits": limits}), 201)
    assert made["limits"]["budgets"] == {"usd": {"day": "5"}}
    token = ok(api.post("/tokens", json={"project_id": "limited", "limits": {"max_concurrent": 2}}), 201)
    changed = ok(api.patch("/projects/limited", json={"limits": {"models": None, "endpoints": ["chat"]}}))
    assert changed["limits"].keys() == {"budgets", "endpoints", "requests_per_minute"}
    added = ok(api.post("/projects/limited/topup", json={"amount": "2usd/day"}), 201)
    assert next(row["allowed"] for row in added["use"] if row["limit"] == "usd/day") == "7"
    use = ok(api.get(f"/tokens/{token['id']}"))["use"]
    assert {(row["side"], row["limit"]) for row in use} == {
        ("token", "max_concurrent"),
        ("project", "usd/day"),
        ("project", "requests_per_minute"),
    }
    assert chat(sdk(managed, token["token"])).choices
    refused(api.post(f"/tokens/{token['id']}/topup", json={"amount": "5usd/day"}), 409, "conflict")
    for patch, said in (
        ({"endpoints": ["nothing"]}, "no such endpoint"),
        ({"max_requests": 1}, "max_requests"),
        ({"networks": ["10.0.0.0/33"]}, "10.0.0.0/33"),
    ):
        refused(api.patch(f"/tokens/{token['id']}", json={"limits": patch}), 400, "invalid_value", said)
    refused(api.post("/projects/limited/topup", json={"amount": "lots"}), 400, "invalid_value", "lots")


def test_errors(api: httpx.Client, tenant: Tenant) -> None:
    token_id, _ = tenant.token()
    token, project = f"/tokens/{token_id}", "/projects/acme"
    for response, status, code, said in (
        (api.get("/tokens/none"), 404, "not_found", "'none'"),
        (api.get("/projects/none"), 404, "not_found", "'none'"),
        (api.patch("/projects/none", json={"active": True}), 404, "not_found", ""),
        (api.post("/tokens", json={"project_id": "none"}), 404, "not_found", ""),
        (api.post("/projects", json={"name": "acme", "api_key": "sk-x"}), 409, "conflict", "'acme' exists"),
        (api.post("/projects", json={"name": "x"}), 400, "invalid_value", "api_key"),
        (api.post("/projects", json={"name": "x", "api_key": "two words"}), 400, "invalid_value", "API key"),
        (api.patch(project, json={"api_key": "sk-...xyz"}), 400, "invalid_value", "masked"),
        (api.patch(project, json={"api_key": "env:HOME"}), 400, "invalid_value", "llm_management_keys"),
        (
            api.patch(project, json={"api_key": "file:/etc/hostname"}),
            400,
            "invalid_value",
            "file: references",
        ),
        (api.patch(token, json={"expires_at": "2020-01-31"}), 400, "invalid_value", "in the past"),
        (api.patch(token, json={"max_requests": -1}), 400, "invalid_value", "max_requests -1"),
        (api.patch(token, json={"metadata": {"n": 1}}), 400, "invalid_value", "metadata 'n'"),
        (api.patch(token, json={"metadata": "x"}), 400, "invalid_value", "metadata"),
        (api.patch(token, json={"header_metadata": ["a b"]}), 400, "invalid_value", "'a b'"),
        (api.patch(token, json={"active": False}), 400, "invalid_value", "active: unknown"),
        (api.patch(project, json={"name": None}), 400, "invalid_value", "name"),
        (api.patch(project, json={"limits": {"nothing": 1}}), 400, "invalid_value", "nothing"),
        (api.patch(token, content=b"{"), 400, "invalid_json", "not JSON"),
        (api.post(f"{token}/rotate", json={"overlap": "91d"}), 400, "invalid_value", "overlap"),
        (api.patch(token, content=b'"' + b"x" * 70_000), 413, "body_too_large", "65536"),
        (api.patch(token, content=iter([b"x" * 70_000])), 413, "body_too_large", "65536"),
        (api.patch(token, content=b"x" * 2**21), 413, "body_too_large", "65536"),
        (api.put(token, json={}), 405, "method_not_allowed", "GET or PATCH or DELETE"),
        (api.delete(project), 405, "method_not_allowed", "GET or PATCH"),
        (api.get("/audit", params={"since": "soon"}), 400, "invalid_value", "since"),
        (api.get("/audit", params={"after": "x"}), 400, "invalid_value", "after"),
        (api.get("/audit", params={"project_id": "none"}), 404, "not_found", "'none'"),
        (api.get("/nothing"), 404, "not_found", "no such route"),
        (api.get(""), 404, "not_found", "no such route"),
    ):
        refused(response, status, code, said)
    assert api.put(token, json={}).headers["allow"] == "GET, PATCH, DELETE"
    assert api.get(f"{token}%2Fx%00").status_code == 404


@pytest.mark.parametrize("token", [None, "", "wrong" * 10, TOKEN[:-1], TOKEN + "x"])
def test_nobody_without_the_token(managed: Proxy, tenant: Tenant, token: str | None) -> None:
    with client(managed, token) as api:
        for response in (
            api.get("/projects"),
            api.get("/nothing"),
            api.post("/projects", content=b"x" * 100_000),
            api.put("/tokens"),
        ):
            error = refused(response, 401, "invalid_management_token")
            assert token is None or not token or token not in error["message"]
            assert response.headers["www-authenticate"] == "Bearer"
    with client(managed, tenant.token()[1]) as api:
        refused(api.get("/projects"), 401, "invalid_management_token")
    wanted = Wanted(action="auth.refused", reason="management_token", address="127.0.0.1")
    wait_for(lambda: tenant.store.audit.find(wanted, limit=1), "a row of the audit log")


def test_off_without_a_token(start_proxy: StartProxy) -> None:
    proxy = start_proxy("llm_management=127.0.0.1:0")
    with client(proxy, "any" * 20) as api:
        refused(api.get("/projects"), 403, "management_api_off", "LLMPROXY_MANAGEMENT_TOKEN")
        refused(api.post("/tokens", json={}), 403, "management_api_off")
    assert httpx.get(f"{address(proxy)}/health", trust_env=False).status_code == 200
    assert "management API is off" in proxy.output


def test_on_a_network_it_warns_of_plain_http(start_proxy: StartProxy, tmp_path: Path) -> None:
    """With the token in a file."""
    file = tmp_path / "management.token"
    file.write_text(f"{TOKEN}\n")
    by_file = {"LLMPROXY_MANAGEMENT_TOKEN_FILE": str(file)}
    proxy = start_proxy("llm_management=0.0.0.0:0", environment=by_file)
    with client(proxy) as api:
        assert ok(api.get(str(api.base_url).replace("0.0.0.0", "127.0.0.1") + "projects"))["data"] == []
    assert "is plain HTTP" in proxy.output
    assert TOKEN not in proxy.output


def test_a_bad_token_stops_the_start(tmp_path: Path) -> None:
    bad = {"LLMPROXY_MANAGEMENT_TOKEN": "too-short-to-be-safe"}
    proxy = Proxy(tmp_path, ["llm_management=127.0.0.1:0"], environment=bad)
    proxy.launch()
    assert proxy.wait() == 1
    assert "LLMPROXY_MANAGEMENT_TOKEN holds no management token" in proxy.output
    assert "too-short-to-be-safe" not in proxy.output
    assert "Traceback" not in proxy.output


def test_not_through_the_proxy(managed: Proxy) -> None:
    with http(managed) as through:
        url = f"{address(managed)}/manage/projects"
        assert through.get(url, headers={"authorization": f"Bearer {TOKEN}"}).status_code == 403


def test_a_store_that_is_locked_holds_up_no_call(managed: Proxy, api: httpx.Client, tenant: Tenant) -> None:
    """Changes wait in a thread; calls and health go on meanwhile, and reading the lists does."""
    token_id, text = tenant.token()
    chat(sdk(managed, text))
    lock = sqlite3.connect(tenant.store.path or "", isolation_level=None)
    with ThreadPoolExecutor(1) as pool:
        lock.execute("BEGIN IMMEDIATE")
        change = pool.submit(api.patch, f"/tokens/{token_id}", json={"metadata": {"team": "a"}})
        time.sleep(0.2)  # let it reach the lock; that it has is not asserted
        assert chat(sdk(managed, text)).choices
        assert httpx.get(f"{address(managed)}/health", trust_env=False, timeout=20).status_code == 200
        lock.execute("ROLLBACK")
        assert ok(change.result(30))["metadata"] == {"team": "a"}
    lock.close()


def test_a_store_that_is_away(managed: Proxy, api: httpx.Client, tenant: Tenant) -> None:
    assert tenant.store.path is not None
    aside = tenant.store.path.with_suffix(".aside")
    tenant.store.path.rename(aside)
    response = api.get("/projects")
    refused(response, 503, "store_unavailable")
    assert response.headers["retry-after"] == "5"
    aside.rename(tenant.store.path)
    assert ok(api.get("/projects"))["data"]


def test_changes_at_the_same_time_are_all_kept(api: httpx.Client, managed: Proxy, tenant: Tenant) -> None:
    token_id, _ = tenant.token()

    def change(number: int) -> httpx.Response:
        with client(managed) as own:
            return own.patch(f"/tokens/{token_id}", json={"metadata": {f"n{number}": "v"}})

    with ThreadPoolExecutor(8) as pool:
        assert {response.status_code for response in pool.map(change, range(16))} == {200}
    assert len(ok(api.get(f"/tokens/{token_id}"))["metadata"]) == 16


def test_a_holder_asks_the_proxy_about_the_token(running: Running) -> None:
    """Answered by the proxy: upstream sees nothing, and no event tells of it."""
    _, text = running.tenant.token(max_requests=3)
    answer = sdk(running.proxy, text).with_raw_response.chat.completions.create(
        model="gpt-4o-mini", messages=[{"role": "user", "content": "x"}]
    )
    call_id = answer.headers["x-llmproxy-request-id"]
    seen = len(running.upstream.requests)
    url = f"{running.proxy.reverse_url}/v1"
    with httpx.Client(headers={"authorization": f"Bearer {text}"}, trust_env=False, timeout=30) as client:
        one = f"{url}/llmproxy/calls/{call_id}"
        found = wait_for(lambda: (got := client.get(one)).status_code == 200 and got.json(), "the call")
        assert isinstance(found, dict)
        assert (found["request_id"], found["usage"]["total_tokens"], found["status"]) == (call_id, 14, 200)
        refused = client.get(f"{url}/models", headers={"authorization": "Bearer sk-llmp-unknown"})
        assert refused.status_code == 401
        assert len(refused.headers["x-llmproxy-request-id"]) == 36
    asked = ["--url", url, "--token", text]
    shown = CliRunner().invoke(me, [*asked, "--json"], catch_exceptions=False)
    limits = {row["limit"]: row["left"] for row in json.loads(shown.output)["use"]}
    assert limits == {"max_requests": 2}
    assert "max_requests" in CliRunner().invoke(me, asked, catch_exceptions=False).output
    used = json.loads(CliRunner().invoke(me, [*asked, "--usage", "--json"]).output)
    assert used["by"] == ["day", "model"]
    bad = CliRunner().invoke(me, ["--url", url, "--token", "sk-llmp-no"])
    assert (bad.exit_code, "not known here" in bad.output) == (1, True)
    assert len(running.upstream.requests) == seen
