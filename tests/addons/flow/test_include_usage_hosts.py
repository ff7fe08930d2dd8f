from __future__ import annotations

import pytest

from addons.flow.include_usage_hosts import Policy

CHAT = "/v1/chat/completions"
AUTO = Policy(known=True)


@pytest.mark.parametrize("host", ["api.openai.com", "API.OpenAI.com.", "eu.api.openai.com"])
def test_openai_is_asked(host: str) -> None:
    assert AUTO.asks(host, CHAT)
    assert not Policy(known=False).asks(host, CHAT)


@pytest.mark.parametrize(
    "host", ["openrouter.ai", "api.openai.com.evil.example", "evilapi.openai.com", "localhost"]
)
def test_others_are_not_asked_unless_they_are_named(host: str) -> None:
    assert not AUTO.asks(host, CHAT)
    assert Policy(known=True, hosts=[host]).asks(host, CHAT)
    assert Policy(known=False, hosts=[host]).asks(host, CHAT)


def test_names_below_a_name() -> None:
    policy = Policy(known=False, hosts=["*.llm.example"])
    assert policy.asks("a.llm.example", CHAT)
    assert not policy.asks("llm.example", CHAT)
    assert not policy.asks("api.openai.com", CHAT)


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("/openai/deployments/d/chat/completions?api-version=2024-06-01", False),
        ("/openai/deployments/d/chat/completions?api-version=2024-09-01-preview", True),
        ("/openai/deployments/d/chat/completions?api-version=2024-10-21", True),
        ("/openai/deployments/d/chat/completions", False),
        ("/openai/v1/chat/completions", True),
        ("/openai/v1/chat/completions?api-version=preview", True),
        ("/models/chat/completions?api-version=2024-05-01-preview", False),
    ],
)
def test_azure_is_asked_from_the_version_on_that_knows_it(url: str, asked: bool) -> None:
    assert AUTO.asks("r.openai.azure.com", url) is asked
    assert not AUTO.asks("r.openai.azure.com", url, {"data_sources", "stream"})
