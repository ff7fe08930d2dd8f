from __future__ import annotations

import pytest

from addons.flow.network.destination import Destinations, Upstream, parse_upstream
from store.core.secret import Secret


@pytest.mark.parametrize(
    ("base_url", "path", "url"),
    [
        ("https://api.openai.com", "/v1/models", "https://api.openai.com/v1/models"),
        ("https://api.openai.com/v1", "/v1/models", "https://api.openai.com/v1/models"),
        ("https://api.openai.com/v1/", "/v1/models?limit=1", "https://api.openai.com/v1/models?limit=1"),
        ("https://host.example:8443/llm", "/v1/models", "https://host.example:8443/llm/v1/models"),
        ("https://host.example/llm/v1", "/v1", "https://host.example/llm/v1"),
        ("https://host.example/llm/v1", "/v10/x", "https://host.example/llm/v1/v10/x"),
        ("http://127.0.0.1:9000", "/v1/models", "http://127.0.0.1:9000/v1/models"),
    ],
)
def test_target_of_a_path(base_url: str, path: str, url: str) -> None:
    upstream = parse_upstream(base_url)
    assert f"{upstream.scheme}://{upstream.authority}{upstream.target(path)}" == url


@pytest.mark.parametrize(
    ("base_url", "remedy"),
    [
        ("http://api.example.com", "use https"),
        ("api.openai.com", "write it like"),
        ("ftp://api.openai.com", "write it like"),
        ("https://user:secret@api.openai.com", "must not hold"),
        ("https://api.openai.com?x=1", "must not hold"),
        ("http://127.0.0.1.example.com", "use https"),
    ],
)
def test_base_urls_that_are_refused(base_url: str, remedy: str) -> None:
    with pytest.raises(ValueError, match=remedy):
        parse_upstream(base_url)


def test_azure_gets_the_key_in_its_own_header() -> None:
    key = Secret("sk-real")
    assert Upstream("acme.openai.azure.com", 443, True).credential(key) == ("api-key", "sk-real")
    assert Upstream("api.openai.com", 443, True).credential(key) == ("authorization", "Bearer sk-real")
    assert Upstream("openai.azure.com.evil.example", 443, True).credential(key)[0] == "authorization"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("api.openai.com", True),
        ("API.OpenAI.com.", True),
        ("eu.api.example.com", True),
        ("api.example.com", False),
        ("api.openai.com.evil.example", False),
        ("notapi.openai.com", False),
        (None, False),
    ],
)
def test_hosts(host: str | None, expected: bool) -> None:
    assert Destinations(["api.openai.com", "*.api.example.com"]).is_openai(host) is expected


@pytest.mark.parametrize(
    "host",
    [
        "eu.api.openai.com",
        "acme.openai.azure.com",
        "acme.openai.azure.us",
        "acme.cognitiveservices.azure.com",
        "ACME.services.ai.azure.com.",
        "eastus.api.cognitive.microsoft.com",
    ],
)
def test_other_names_of_the_api_are_refused_unless_served(host: str) -> None:
    rule = Destinations(["api.openai.com"])
    assert rule.is_openai(host)
    assert "llm_hosts" in str(rule.why_not(host, 443))
    assert Destinations([host.lower().rstrip(".")]).why_not(host, 443) is None
    assert Destinations([host.lower().rstrip(".")]).why_not(host, 8443) is not None
