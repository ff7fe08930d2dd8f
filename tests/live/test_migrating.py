"""docs/migrating.md, walked before a real proxy by what was there before: LiteLLM's client, a plain key.

The reference's requests are in tests/addons/management_api/test_reference.py. LiteLLM itself is too heavy for
this environment: ``scripts/clients --only litellm`` installs it into one of its own, where this looks for it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from scripts.benchmarks.clients import FOLDER, PROGRAMS
from tests.live.conftest import REAL_KEY, Running
from tests.live.test_clients import PROGRAM
from tests.live.test_management import address

TOKEN = "management-" + "5b2e" * 8
KEY = {
    "models": ["gpt-4o-mini*", "text-embedding-3-small"],
    "max_budget": 10,
    "rpm_limit": 60,
    "duration": "30d",
    "metadata": {"team": "ranking"},
}
"""What a key of LiteLLM was made with (``/key/generate``)."""
QUOTA = 4
BY_OPENAI = {"user-agent": "OpenAI/Python 3.57.0", "x-stainless-lang": "python", "x-stainless-async": "false"}
BY_LITELLM = {"user-agent": "litellm/1.110.2", "accept": "*/*"}
HELLO = [{"role": "user", "content": "hello"}]
SENT: tuple[tuple[str, str, dict[str, str], dict[str, Any]], ...] = (
    (
        "completion",
        "/chat/completions",
        BY_OPENAI,
        {"model": "gpt-4o-mini", "messages": HELLO, "user": "ada"},
    ),
    ("stream", "/chat/completions", BY_OPENAI, {"model": "gpt-4o-mini", "messages": HELLO, "stream": True}),
    ("responses", "/responses", BY_LITELLM, {"model": "gpt-4o-mini", "input": "hello"}),
    ("embedding", "/embeddings", BY_OPENAI, {"model": "text-embedding-3-small", "input": ["hello"]}),
)
"""What litellm 1.110.2 sends for ``litellm_proxy/...`` (read off the wire), path and body."""


@pytest.fixture(scope="module")
def running(start_shared: Callable[..., Running]) -> Running:
    return start_shared("llm_management=127.0.0.1:0", environment={"LLMPROXY_MANAGEMENT_TOKEN": TOKEN})


@pytest.fixture
def key(running: Running) -> str:
    """The key of LiteLLM's, made anew as docs/migrating.md says; the text of the token."""
    order = {
        "project_id": "acme",
        "expires_at": KEY["duration"],
        "metadata": KEY["metadata"],
        "max_requests": QUOTA,
        "limits": {
            "models": KEY["models"],
            "requests_per_minute": KEY["rpm_limit"],
            "budgets": {"usd": {"month": str(KEY["max_budget"])}},
        },
    }
    made = httpx.post(
        f"{address(running.proxy)}/manage/tokens",
        json=order,
        headers={"authorization": f"Bearer {TOKEN}"},
        trust_env=False,
        timeout=20,
    )
    assert made.status_code == 201, made.text
    return str(made.json()["token"])


def look_at_events(running: Running) -> None:
    """Each call has its event, with who, what and how much; and none was made by another key."""
    events = running.events(QUOTA + 3)
    served = [event for event in events if event["outcome"] == "ok"]
    assert len(served) == QUOTA
    assert {event["token_metadata"]["team"] for event in served} == {"ranking"}
    assert all(event["usage"]["total_tokens"] for event in served)
    assert served[0]["user_claims"] == {"user": "ada"}
    refused = [event for event in events if event["outcome"] == "refused"]
    codes = [event["error"]["code"] for event in refused]
    assert codes == ["model_not_found", "invalid_api_key", "insufficient_quota"]


def test_from_litellm_by_the_requests_that_it_sends(running: Running, key: str) -> None:
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    with httpx.Client(base_url=f"{running.proxy.reverse_url}/v1", trust_env=False, timeout=20) as client:

        def send(path: str, by: dict[str, str], body: dict[str, Any], **more: str) -> httpx.Response:
            content = json.dumps(body, separators=(",", ":")).encode()
            return client.post(path, content=content, headers={**headers, **by, **more})

        for _, path, by, body in SENT:
            assert send(path, by, body).status_code == 200
        other = send("/chat/completions", BY_OPENAI, {"model": "o3", "messages": HELLO})
        assert other.status_code == 404
        unknown = send(*SENT[0][1:], authorization="Bearer sk-llmp-another")
        assert unknown.status_code == 401
        assert send(*SENT[0][1:]).status_code == 429
        look_at_events(running)


@pytest.mark.slow
def test_from_litellm_by_its_own_client(running: Running, key: str) -> None:
    python = FOLDER / "litellm" / "bin" / "python"
    if not python.exists():
        pytest.skip(f"no {python}: ./scripts/clients --only litellm installs it")
    plain = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    done = subprocess.run(
        [str(python), str(PROGRAMS / "litellm_proxy.py")],
        env={
            **plain,
            "LITELLM_PROXY_API_BASE": f"{running.proxy.reverse_url}/v1",
            "LITELLM_PROXY_API_KEY": key,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        },
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert found == {
        "completion": "one two three",
        "stream": "one two three",
        "responses": "one two three",
        "embedding": 2,
        "another model": "NotFoundError",
        "another key": "AuthenticationError",
        "beyond the quota": "RateLimitError",
    }
    look_at_events(running)


def test_from_a_plain_key(running: Running, authority_file: Path, tmp_path: Path) -> None:
    """The same program, with the key at the vendor's and then with a token at the proxy, does the same."""
    kept = tmp_path / "key"
    kept.write_text(REAL_KEY)
    places = ["--store", str(running.proxy.store), "--spool", str(running.proxy.spool), "--json"]

    def run(*command: str, **environment: str) -> Any:
        plain = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        done = subprocess.run(
            [sys.executable, *command],
            env={**plain, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    at_vendor = {"OPENAI_BASE_URL": f"{running.upstream.base_url}/v1", "SSL_CERT_FILE": str(authority_file)}
    before = run("-c", PROGRAM, OPENAI_API_KEY=REAL_KEY, **at_vendor)
    cli = ("-P", "-m", "llmproxy")
    run(*cli, "project", "create", "search", "--api-key", f"file:{kept}", *places)
    of_ada = ("--expires", "90d", "--metadata", "user_id=ada")
    made = run(*cli, "token", "create", "--project", "search", *of_ada, *places)
    base = f"{running.proxy.reverse_url}/v1"
    assert run("-c", PROGRAM, OPENAI_API_KEY=made["token"], OPENAI_BASE_URL=base) == before
    calls = running.events(5)
    assert {(call["project_name"], call["user"]["id"], call["outcome"]) for call in calls} == {
        ("search", "ada", "ok")
    }
