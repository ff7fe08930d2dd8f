"""The environment of clients: what it sets, what it takes away, and that docs and screens say the same."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.client.client_environment import WayIn, apply, paste, render, secrets_in, variables

ROOT = Path(__file__).parents[3]
TOKEN = "sk-llmp-" + "t" * 43
WAY = WayIn("http://127.0.0.1:8080", Path("/data/ca/bundle.pem"), "http://127.0.0.1:8081")
REAL = "sk-proj-" + "r" * 40


def test_every_variable_is_documented_and_no_other() -> None:
    page = (ROOT / "docs" / "clients.md").read_text()
    table = page.split("\n## The environment\n")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    documented = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert documented == {*variables(WAY, TOKEN, {}), "AZURE_OPENAI_API_KEY"}


def test_the_readme_shows_the_lines_that_up_prints() -> None:
    readme = (ROOT / "README.md").read_text()
    shown = re.findall(r"^  (export .*)$", readme, re.MULTILINE)
    names = [re.findall(r"(\w+)=", line) for line in shown]
    assert names == [re.findall(r"(\w+)=", line) for line in paste(variables(WAY, TOKEN, {}))]


def test_a_client_finds_the_proxy_by_either_way() -> None:
    found = variables(WAY, TOKEN, {"OPENAI_ORG_ID": "org-1", "OPENAI_BASE_URL": "https://elsewhere"})
    assert found["OPENAI_BASE_URL"] == found["OPENAI_API_BASE"] == "http://127.0.0.1:8081/v1"
    assert found["OPENAI_API_KEY"] == found["CODEX_API_KEY"] == TOKEN
    assert found["NODE_USE_ENV_PROXY"] == "1"
    assert found["OPENAI_ORG_ID"] is None


def test_without_a_reverse_listener_no_base_url_is_left() -> None:
    way = WayIn(WAY.url, WAY.bundle)
    found = variables(way, TOKEN, {"OPENAI_API_BASE": "https://elsewhere"})
    assert found["OPENAI_API_BASE"] is None
    assert "OPENAI_BASE_URL" not in found


@pytest.mark.parametrize(("before", "after"), [({}, "1"), ({"OPENAI_AGENTS_DISABLE_TRACING": "0"}, "0")])
def test_traces_are_off_unless_the_user_has_decided(before: dict[str, str], after: str) -> None:
    assert variables(WAY, TOKEN, before)["OPENAI_AGENTS_DISABLE_TRACING"] == after


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LLMPROXY_BUS", "redis://:secret@host/0"),
        ("LLMPROXY_STORE", "postgresql://user:secret@host/db"),
        ("LLMPROXY_STORE_TO", "postgresql://user:secret@host/db"),
        ("LLMPROXY_MASTER_KEY", "bWFzdGVy"),
        ("LLMPROXY_MANAGEMENT_TOKEN", "m" * 40),
        ("DISPATCHER_HELICONE_API_KEY", "sk-helicone"),
        ("OPENAI_ADMIN_KEY", "anything"),
        ("OPENAI_KEY", "anything"),
        ("AZURE_OPENAI_API_KEY_2", "anything"),
        ("AZURE_OPENAI_AD_TOKEN", "anything"),
        ("SEARCH_KEY", "named by a project"),
        ("COPY_OF_IT", "named by a project"),
        ("MY_LLM_CREDENTIAL", REAL),
        ("CONFIG", f'{{"key": "{REAL}"}}'),
        ("LEGACY", "sk-" + "a" * 20 + "T3BlbkFJ" + "b" * 20),
    ],
)
def test_a_client_gets_no_secret(name: str, value: str) -> None:
    before = {"PATH": "/bin", "SEARCH_KEY": "named by a project", name: value}
    after = apply(variables(WAY, TOKEN, before), before, {"SEARCH_KEY"})
    assert name not in after
    assert after["PATH"] == "/bin"
    assert value not in after.values()


def test_a_real_key_of_azure_gives_way_to_the_token() -> None:
    before = {"AZURE_OPENAI_API_KEY": "real-azure-key", "AZURE_OPENAI_ENDPOINT": "https://x.openai.azure.com"}
    after = apply(variables(WAY, TOKEN, before), before)
    assert after["AZURE_OPENAI_API_KEY"] == TOKEN
    assert after["AZURE_OPENAI_ENDPOINT"] == before["AZURE_OPENAI_ENDPOINT"]


def test_what_is_no_secret_stays() -> None:
    harmless = {
        "LLMPROXY_SPOOL": "/spool",
        "LLMPROXY_PROJECT": "search",
        "ANTHROPIC_API_KEY": "sk-ant-api03-" + "x" * 40,
        "OPENAI_LOG": "debug",
        "HOME": "/home/ada",
    }
    assert secrets_in(harmless) == set()


@pytest.mark.parametrize(
    "write", [lambda c: "\n".join(paste(c)), lambda c: render(c, "sh")], ids=["up", "env"]
)
def test_a_shell_reads_what_is_written(write: Callable[[dict[str, str | None]], str]) -> None:
    way = WayIn(WAY.url, Path("/with space/it's/bundle.pem"), WAY.reverse_url)
    changes = variables(way, TOKEN, {"OPENAI_ORG_ID": "org-1"})
    script = f'{write(changes)}\nprintf "%s\\n" "$SSL_CERT_FILE" "$OPENAI_API_KEY" "${{OPENAI_ORG_ID-none}}"'
    done = subprocess.run(
        ["sh", "-c", script], env={"OPENAI_ORG_ID": "org-1"}, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [str(way.bundle), TOKEN, "none"]
