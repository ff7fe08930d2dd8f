"""Two proxies on one store, each with a spool of its own: either shows the calls of both."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from store.keys import master_key
from store.tokens.management_tokens import PROJECT, ManagementTokens
from tests.live.clients import HELLO, MODEL, authorised
from tests.live.conftest import Tenant
from tests.live.harness import Proxy, wait_for
from tests.live.test_management_api import TOKEN, client
from tests.live.upstream import Upstream
from tests.store.engines import server

CHAT = {"model": MODEL, "messages": HELLO, "user": "ada"}


class Machines:
    """Two proxies with nothing in common but their store."""

    def __init__(
        self, place: str, upstream: Upstream, authority: Path, folder: Path, stack: ExitStack
    ) -> None:
        self.tenant = Tenant(place)
        stack.callback(self.tenant.store.close)
        options = [
            f"llm_upstream={upstream.base_url}",
            f"ssl_verify_upstream_trusted_ca={authority}",
            "llm_management=127.0.0.1:0",
        ]
        environment = {"LLMPROXY_MANAGEMENT_TOKEN": TOKEN}
        self.here, self.there = (
            Proxy(folder / name, options, store_url=place, environment=environment) for name in ("a", "b")
        )
        for proxy in (self.here, self.there):
            proxy.folder.mkdir()
            proxy.launch()
            stack.callback(proxy.stop)
        for proxy in (self.here, self.there):
            proxy.wait_until_listening()

    def call(self, proxy: Proxy, token: str, **headers: str) -> str:
        """Make a call, and give the name that its caller has for it."""
        answer = httpx.post(
            f"{proxy.reverse_url}/v1/chat/completions",
            headers=authorised(token) | headers,
            json=CHAT,
            trust_env=False,
            timeout=60,
        )
        return answer.headers["x-llmproxy-request-id"]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def machines(
    request: pytest.FixtureRequest,
    upstream: Upstream,
    authority_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Machines]:
    with ExitStack() as stack:
        place = str(tmp_path / "store.db")
        if request.param != "sqlite":
            monkeypatch.setenv(master_key.VARIABLE, base64.b64encode(b"m" * 32).decode())
            place = stack.enter_context(server(request.param).database())
        yield Machines(place, upstream, authority_file, tmp_path, stack)


def listed(api: httpx.Client, **params: Any) -> list[dict[str, Any]]:
    answer = api.get("/calls", params=params)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["data"])


def test_either_machine_shows_the_calls_of_both(machines: Machines) -> None:
    store = machines.tenant.store
    other = store.create_project("other", "sk-live-1234567890")
    mine_id, mine = machines.tenant.token(metadata={"team": "search"})
    _, foreign = store.create_token(other.id)
    first, second = machines.call(machines.here, mine), machines.call(machines.there, mine)
    third = machines.call(machines.there, foreign.reveal())
    refused = machines.call(machines.there, "sk-llmp-unknown")
    for proxy in (machines.here, machines.there):
        with client(proxy) as api:
            wait_for(lambda api=api: len(listed(api)) == 4, "the calls of both")  # type: ignore[misc]
            found = {one["request_id"]: one for one in listed(api)}
            assert set(found) == {first, second, third, refused}
            assert (found[refused]["outcome"], found[refused]["status"]) == ("refused", 401)
            assert found[first]["token_metadata"] == {"team": "search"}
            assert found[first]["usage"]["total_tokens"] == 14
            assert len(listed(api, token_id=mine_id, user="ada")) == 2
            bill = api.get(f"/calls/{first}").json()["bill"]
            assert bill["usd"] == found[first]["cost"]["usd"]
    check_content(machines, first)
    check_projects(machines, other.id, third, first)
    check_holders(machines, mine, second, third)


def check_content(machines: Machines, call_id: str) -> None:
    """What was asked and answered is where it was, and nowhere else."""
    with client(machines.here) as here, client(machines.there) as there:
        said = here.get(f"/calls/{call_id}", params={"content": "true"}).json()
        assert said["request"]["body"]["messages"] == HELLO
        away = there.get(f"/calls/{call_id}", params={"content": "true"}).json()
        assert (away["request_id"], "request" in away) == (call_id, False)


def check_projects(machines: Machines, project_id: str, theirs: str, not_theirs: str) -> None:
    """Who is for one project sees its calls only, wherever they were made."""
    store = machines.tenant.store
    tokens = ManagementTokens(store.connection, store.audit)
    _, text = tokens.create("of other", PROJECT, projects=[project_id])
    for proxy in (machines.here, machines.there):
        with client(proxy, text.reveal()) as api:
            assert [one["request_id"] for one in listed(api)] == [theirs]
            assert api.get(f"/calls/{theirs}").status_code == 200
            assert api.get(f"/calls/{not_theirs}").status_code == 404


def check_holders(machines: Machines, token: str, own: str, foreign: str) -> None:
    """A token's holder asks any proxy, and is told of no other token's calls."""
    for proxy in (machines.here, machines.there):
        url = f"{proxy.reverse_url}/v1/llmproxy/calls"
        with httpx.Client(headers=authorised(token), trust_env=False, timeout=30) as holder:
            found = holder.get(f"{url}/{own}").json()
            assert (found["request_id"], found["usage"]["total_tokens"]) == (own, 14)
            assert "request" not in found
            assert holder.get(f"{url}/{foreign}").status_code == 404


def test_who_follows_along_sees_what_comes_in_anywhere(machines: Machines) -> None:
    _, token = machines.tenant.token()
    with client(machines.here) as api:
        newest = api.get("/calls").json()["newest"]
        made = {machines.call(proxy, token) for proxy in (machines.there, machines.here, machines.there)}

        def come() -> bool:
            return {one["request_id"] for one in listed(api, behind=newest)} == made

        assert wait_for(come, "all that came since")


def test_they_outlive_the_machine_that_served_them(machines: Machines) -> None:
    _, token = machines.tenant.token()
    made = [machines.call(machines.there, token) for _ in range(5)]
    machines.there.wait_calls(5)
    machines.there.stop()
    with client(machines.here) as api:
        assert {one["request_id"] for one in listed(api)} == set(made)
