"""Known secrets, whole and masked; and those of remote tools."""

from __future__ import annotations

import time
from typing import Any

import pytest

from store.core.redaction import REDACTED, KnownSecrets, hide_tool_secrets

KEY = "sk-proj-0123456789abcdefghijklmnopqrstuvwxyz"


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        (f"Incorrect API key provided: {KEY}.", f"Incorrect API key provided: {REDACTED}."),
        ("key: sk-proj-********************wxyz. See", f"key: {REDACTED}. See"),
        ("sk-proj-0123***wxyz", REDACTED),
        ("****wxyz", REDACTED),
        ("sk-p...yz", REDACTED),
        ("sk-proj-0123...", REDACTED),
        ("sk-proj-…xyz and ••••wxyz", f"{REDACTED} and {REDACTED}"),
        ("two: sk-**yz, sk-**yz", f"two: {REDACTED}, {REDACTED}"),
        (r'"said:\nsk-proj-0123***wxyz"', rf'"said:\n{REDACTED}"'),
        (r'"\t****wxyz"', rf'"\t{REDACTED}"'),
        (r'"\u000bsk-proj-…xyz"', rf'"\u000b{REDACTED}"'),
        (r"C:\sk-proj-0123***wxyz", rf"C:\{REDACTED}"),
    ],
)
def test_a_secret_is_hidden(text: str, hidden: str) -> None:
    assert KnownSecrets([KEY, "short"]).hide(text) == hidden


@pytest.mark.parametrize(
    "text",
    [
        "Set OPENAI_API_KEY=sk-... or sk-proj-...",
        "**bold** and ***more***",
        "And so on... short ... wxyz",
        "sk-proj-****abcd is another's",
        "the password is ********",
        "",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    known = KnownSecrets([KEY, "short"])
    assert known.hide(text) is text


def test_a_long_text_takes_time_in_proportion() -> None:
    text = "a-b" * 200_000 + "..." * 50_000 + "**" * 50_000
    assert KnownSecrets([KEY]).hide(text) == text


def test_a_text_with_many_masks_takes_time_in_proportion() -> None:
    """Prose and code are full of stars and dots: each was looked at from the beginning of the text on."""
    begun = time.process_time()
    text = "**bold** and so on... f(*args, **kwargs) " * 3_000
    assert KnownSecrets([KEY]).hide(text) is text
    assert KnownSecrets([KEY]).hide(f"{text}sk-proj-...wxyz") == f"{text}{REDACTED}"
    assert time.process_time() - begun < 2, "it took a minute, and takes 0.1 s"


def test_credentials_of_mcp_tools_are_hidden_and_the_rest_stays() -> None:
    body = {
        "model": "gpt-4o",
        "input": "hi",
        "tools": [
            {
                "type": "mcp",
                "server_label": "crm",
                "server_url": "https://user:pw@mcp.example.com/v1/0a1b2c3d4e5f6a7b8c/sse?token=xyz#frag",
                "authorization": "ya29.secret",
                "headers": {"X-Api-Key": "hunter2", "Accept": "text/plain"},
                "allowed_tools": ["search"],
            },
            {"type": "mcp", "connector_id": "connector_dropbox", "authorization": None, "headers": None},
            {"type": "function", "name": "f", "parameters": {"properties": {"headers": {"type": "object"}}}},
        ],
    }
    hidden: dict[str, Any] = hide_tool_secrets(body)
    first, *rest = hidden["tools"]
    assert first == {
        "type": "mcp",
        "server_label": "crm",
        "server_url": f"https://{REDACTED}@mcp.example.com/v1/{REDACTED}/sse?{REDACTED}#{REDACTED}",
        "authorization": REDACTED,
        "headers": {"X-Api-Key": REDACTED, "Accept": REDACTED},
        "allowed_tools": ["search"],
    }
    assert rest == body["tools"][1:]  # type: ignore[index]
    assert "hunter2" in str(body), "what was given is not changed"
    assert hide_tool_secrets(rest) is rest


@pytest.mark.parametrize(
    "url", ["https://mcp.example.com/sse", "https://api.githubcopilot.com/mcp/", "no url", ""]
)
def test_a_plain_address_of_a_server_stays(url: str) -> None:
    tool = {"type": "mcp", "server_url": url}
    assert hide_tool_secrets(tool) is tool
