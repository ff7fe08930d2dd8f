"""What a token's owner sets, as a client meets it at a real proxy, on a file and on a server.

Lifetimes, pages of browsers, rules for parameters, budgets' periods, limits of users, labels and sessions.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
import trustme
from click.testing import CliRunner

from scripts.cli import main
from store.keys import master_key
from store.tokens.server_lookup import FRESH_SECONDS
from tests.live.clients import HELLO, MODEL, authorised
from tests.live.conftest import REAL_KEY, Tenant, answer
from tests.live.harness import Proxy, wait_for
from tests.live.upstream import Upstream
from tests.store.engines import server

PAGE = "https://app.example.com"
BODY = {"model": MODEL, "messages": HELLO}


class Installation:
    """A proxy on a store of some engine; the store is changed by the command line alone."""

    def __init__(self, proxy: Proxy, place: str) -> None:
        self.proxy, self.place = proxy, place
        self.client = httpx.Client(trust_env=False, timeout=60)
        self.waits = FRESH_SECONDS if "://" in place else 0

    def run(self, *arguments: str, code: int = 0) -> str:
        places = ["--store", self.place, "--spool", str(self.proxy.spool)]
        result = CliRunner().invoke(main, [*places, *arguments])
        assert result.exit_code == code, result.output
        time.sleep(self.waits if arguments[1] in ("update", "revoke") else 0)  # it is what is promised
        return result.output if code else result.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json"))

    def token(self, *arguments: str) -> tuple[str, str]:
        """Id and text of a new token."""
        made = self.json("token", "create", "--project", "acme", *arguments)
        return made["id"], made["token"]

    def call(
        self, token: str, body: dict[str, Any] | None = None, method: str = "POST", **headers: str
    ) -> httpx.Response:
        sent = {name.replace("_", "-"): text for name, text in headers.items()}
        return self.client.request(
            method,
            f"{self.proxy.reverse_url}/v1/chat/completions",
            headers={**(authorised(token) if token else {}), **sent},
            json=None if method == "OPTIONS" else {**BODY, **(body or {})},
        )

    def me(self, token: str, **headers: str) -> dict[str, Any]:
        sent = {name.replace("_", "-"): text for name, text in headers.items()}
        answer = self.client.get(
            f"{self.proxy.reverse_url}/v1/llmproxy/me", headers={**authorised(token), **sent}
        )
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def settled(self, token: str, name: str | None, used: str, **headers: str) -> dict[str, Any]:
        """What is left of a budget, once so much of it is used."""

        def find() -> dict[str, Any] | None:
            use = self.me(token, **headers)["use"]
            rows = [row for row in use if row.get("name") == name and "/" in row["limit"]]
            return rows[0] if rows and str(rows[0]["used"]) == used and not int(rows[0]["held"]) else None

        return wait_for(find, f"{used} of {name} used") or {}


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def here(
    request: pytest.FixtureRequest,
    authority: trustme.CA,
    authority_file: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("engines")
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        upstream = stack.enter_context(Upstream(answer, authority.issue_cert("localhost")).running())
        options = [
            f"llm_upstream={upstream.base_url}",
            f"ssl_verify_upstream_trusted_ca={authority_file}",
            "llm_cors_origins=https://*.example.com",
        ]
        url = None
        if request.param != "sqlite":
            patch.setenv(master_key.VARIABLE, base64.b64encode(b"m" * 32).decode())
            url = stack.enter_context(server(request.param).database())
        tenant = Tenant(url or folder / "store.db")
        tenant.store.close()
        proxy = stack.enter_context(Proxy(folder, options, store_url=url))
        yield Installation(proxy, url or str(folder / "store.db"))


# Withering tokens


def test_tokens_end_by_the_lifetimes_of_their_project(
    here: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.run("project", "update", "acme", "--token-max-lifetime", "7d")
    for expires in ((), ("--expires", "never"), ("--expires", "8d")):
        said = here.run("token", "create", "--project", "acme", *expires, code=2)
        assert "must end within 7d" in " ".join(said.split())
    here.run("project", "update", "acme", "--token-lifetime", "30d")
    made = here.json("token", "create", "--project", "acme")
    ends = datetime.fromisoformat(made["expires_at"]) - datetime.fromisoformat(made["created_at"])
    assert ends == timedelta(days=7), "the default is 30 days, and the maximum 7"
    here.run("token", "update", made["id"], "--expires", "never", code=2)
    here.run("project", "update", "acme", "--no-token-lifetime", "--no-token-max-lifetime")
    monkeypatch.setenv("LLMPROXY_TOKEN_MAX_LIFETIME", "1h")
    here.run("token", "create", "--project", "acme", code=2)
    monkeypatch.setenv("LLMPROXY_TOKEN_LIFETIME", "4s")
    made = here.json("token", "create", "--project", "acme")
    assert here.call(made["token"]).status_code == 200
    wait_for(lambda: here.call(made["token"]).status_code == 401, "its end")
    assert "expired" in here.call(made["token"]).json()["error"]["message"]


def test_objects_say_when_they_were_ended(here: Installation) -> None:
    id_, text = here.token()
    assert here.json("token", "show", id_)["revoked_at"] is None
    revoked = here.json("token", "revoke", id_)
    assert datetime.now(UTC) - datetime.fromisoformat(revoked["revoked_at"]) < timedelta(minutes=5)
    assert here.call(text).status_code == 401
    project = here.json("project", "create", "other", "--api-key", "sk-real-0123456789")
    assert project["deactivated_at"] is None
    ended = here.json("project", "deactivate", "other")["deactivated_at"]
    assert datetime.now(UTC) - datetime.fromisoformat(ended) < timedelta(minutes=5)
    assert here.json("project", "activate", "other")["deactivated_at"] is None


# Browsers


def test_pages_of_allowed_origins_are_served(here: Installation) -> None:
    asks = {"access_control_request_method": "POST", "access_control_request_headers": "authorization"}
    allowed = here.call("", method="OPTIONS", origin=PAGE, **asks)
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (204, PAGE)
    foreign = here.call("", method="OPTIONS", origin="https://evil.test", **asks)
    assert (foreign.status_code, "access-control-allow-origin" in foreign.headers) == (403, False)
    _, text = here.token("--origin", "https://app.example.com")
    answered = here.call(text, origin=PAGE)
    assert (answered.status_code, answered.headers["access-control-allow-origin"]) == (200, PAGE)
    assert "x-llmproxy-request-id" in answered.headers["access-control-expose-headers"]
    other = "https://other.example.com"
    for response, status, code, origin in (
        (here.call(text, origin=other), 403, "origin_not_allowed", other),
        (here.call("sk-llmp-unknown", origin=PAGE), 401, "invalid_api_key", PAGE),
    ):
        assert (response.status_code, response.json()["error"]["code"]) == (status, code)
        assert response.headers["access-control-allow-origin"] == origin, "the page can read the refusal"
    assert here.call(text).status_code == 200, "no page"


# Rules for parameters


def test_parameters_keep_the_rules_of_token_and_project(here: Installation) -> None:
    rules = ("temperature=0..1", "service_tier=auto|flex", "tools[].type=function")
    id_, text = here.token(*(part for rule in rules for part in ("--parameter", rule)))
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    fits = {"temperature": 0.5, "service_tier": "flex", "tools": [tool]}
    assert here.call(text, fits).status_code == 200
    for wrong, field in (
        ({"temperature": 1.5}, "temperature"),
        ({"service_tier": "priority"}, "service_tier"),
        ({"tools": [tool, {"type": "web_search"}]}, "tools[].type"),
    ):
        refused = here.call(text, {**fits, **wrong})
        error = refused.json()["error"]
        assert (refused.status_code, error["code"], error["param"]) == (400, "parameter_not_allowed", field)
    here.run("project", "update", "acme", "--parameter", "n=1")
    assert here.call(text, {"n": 2}).json()["error"]["param"] == "n"
    assert here.call(text, {"n": 1}).status_code == 200
    here.run("project", "update", "acme", "--remove-parameter", "n")
    body = here.proxy.folder / "body.json"
    body.write_text(json.dumps({**BODY, "temperature": 2}))
    said = here.json("token", "explain", id_, "--body", str(body))
    assert said["refusal"]["code"] == "parameter_not_allowed"


# Budgets' periods


def test_a_budgets_periods_are_those_of_its_zone(here: Installation) -> None:
    id_, text = here.token(
        *("--budget", "100000tokens/day", "--budget", "200000tokens/week", "--budget", "300000tokens/month"),
        *("--budget-zone", "Pacific/Auckland", "--week-start", "sunday"),
    )
    assert here.call(text).status_code == 200
    here.settled(text, None, "14")
    zone = ZoneInfo("Pacific/Auckland")
    use = {row["limit"]: row for row in here.me(text)["use"]}
    assert [row["used"] for row in use.values()] == [14, 14, 14]
    ends = {name: datetime.fromisoformat(row["resets_at"]).astimezone(zone) for name, row in use.items()}
    assert {(end.hour, end.minute) for end in ends.values()} == {(0, 0)}
    assert ends["tokens/day"].date() == datetime.now(zone).date() + timedelta(days=1)
    assert ends["tokens/week"].strftime("%A") == "Sunday"
    assert ends["tokens/month"].day == 1
    reported = [row for row in here.json("report", "budgets") if row["token"] == id_]
    assert {row["limit"]: row["resets_at"] for row in reported} == {
        name: row["resets_at"] for name, row in use.items()
    }


# Limits of users, sessions, addresses and labels

FEW = {"max_tokens": 5}
"""It holds some 27 tokens and uses 14, so a budget of 40 has too little left for a second one."""


@pytest.mark.parametrize("side", ["user", "session", "label", "address"])
def test_each_who_calls_has_a_budget_and_can_be_topped_up(here: Installation, side: str) -> None:
    project = here.json("project", "create", f"by-{side}", "--api-key", REAL_KEY)["id"]
    flag, period = {"label": ("team=40tokens/day", "day"), "session": ("40tokens", "total")}.get(
        side, ("40tokens/day", "day")
    )
    here.run("project", "update", project, f"--{side}-budget", flag, "--header-metadata", "team")
    made = here.json("token", "create", "--project", project)
    text, name = made["token"], {"label": "team=a", "address": "127.0.0.1", "session": "s-1"}.get(side, "ada")
    mine, other = (
        {
            "user": ({**FEW, "user": who}, {}),
            "session": (FEW, {"session_id": f"s-{number}"}),
            "label": (FEW, {"x_llmproxy_metadata_team": team}),
            "address": (FEW, {}),
        }[side]
        for number, who, team in ((1, "ada", "a"), (2, "bob", "b"))
    )
    assert here.call(text, mine[0], **mine[1]).status_code == 200
    if side == "session":
        wait_for(lambda: here.json("sessions", "list", "--project", project), "the session")
    else:
        wait_for(lambda: _used(here, project, name) == 14, "its use")
    refused = here.call(text, mine[0], **mine[1])
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "insufficient_quota")
    assert (name if side == "label" else side) in refused.json()["error"]["message"]
    assert refused.headers["x-should-retry"] == "false"
    if side != "address":
        assert here.call(text, other[0], **other[1]).status_code == 200
    if side == "session":
        here.run("session", "topup", f"{made['id']}/{name}", "100tokens")
    else:
        here.run("project", "topup", project, f"100tokens/{period}", f"--{side}", name)
    assert here.call(text, mine[0], **mine[1]).status_code == 200
    marks = wait_for(lambda: _marks(here, project), "the alerts")
    assert {(mark["side"], mark["name"]) for mark in marks} == {(side, name)}
    assert [mark["reached"] for mark in marks] == [50, 80, 100]


def _used(here: Installation, project: str, name: str) -> int | None:
    rows = here.json("report", "budgets", "--project", project)
    return next((row["used"] for row in rows if row["name"] == name and not row["held"]), None)


def _marks(here: Installation, project: str) -> list[dict[str, Any]]:
    lines = [line for path in here.proxy.spool.glob("*.jsonl") for line in path.read_text().splitlines()]
    records = [json.loads(line) for line in lines if "llm_proxy_budget" in line]
    return [one for one in records if one["type"] == "llm_proxy_budget" and one["project_id"] == project]


def test_a_labels_budget_never_lets_a_token_beyond_its_own(here: Installation) -> None:
    id_, text = here.token(
        *("--budget", "60tokens/total", "--header-metadata", "customer"),
        *("--label-budget", "customer=40tokens/day"),
    )
    codes = []
    for number in range(6):
        answered = here.call(text, FEW, x_llmproxy_metadata_customer=f"c{number}")
        codes.append(answered.status_code)
        if answered.status_code == 200:
            here.settled(text, None, str(14 * codes.count(200)))
    assert codes == [200, 200, 200, 429, 429, 429]
    assert "The proxy token's budget" in answered.json()["error"]["message"]
    shown = here.me(text, x_llmproxy_metadata_customer="c1")["use"]
    assert {(row["side"], row["name"], row["used"]) for row in shown} == {
        ("token", None, 42),
        ("label", "customer=c1", 14),
    }

    def reported() -> dict[str | None, tuple[int, int]]:
        rows = here.json("report", "usage", "--by", "label:customer", "--token", id_)
        return {row["label:customer"]: (row["calls"], row["refused"]) for row in rows}

    wanted = {f"c{number}": (1, int(number > 2)) for number in range(6)}
    wait_for(lambda: reported() == wanted, "the sums of all calls")
