from __future__ import annotations

import pytest
from mitmproxy import http

from addons.flow import credential


def request(path: str = "/v1/models", **headers: str) -> http.Request:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return http.Request.make("GET", f"https://api.openai.com{path}", headers=fields)


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer tok"},
        {"authorization": "bearer  tok "},
        {"api_key": "tok"},
        {"authorization": "Basic dXNlcg==", "api_key": "tok"},
        {"sec_websocket_protocol": "realtime, openai-insecure-api-key.tok, openai-beta.realtime-v1"},
    ],
)
def test_places_of_the_token(headers: dict[str, str]) -> None:
    found = credential.presented(request(**headers))
    assert found is not None
    assert found.reveal() == "tok"


@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": "Bearer"}, {"authorization": "tok"}, {"api_key": " "}, {"cookie": "tok"}],
)
def test_no_token(headers: dict[str, str]) -> None:
    assert credential.presented(request(**headers)) is None


def test_bearer_goes_before_the_others() -> None:
    found = credential.presented(request(authorization="Bearer first", api_key="second"))
    assert found is not None
    assert found.reveal() == "first"


def test_nothing_of_the_client_is_left() -> None:
    sent = request(
        "/v1/models?api-key=tok&limit=2",
        authorization="Bearer tok",
        api_key="tok",
        x_api_key="tok",
        cookie="tok",
        openai_organization="org-other",
        sec_websocket_protocol="realtime, openai-insecure-api-key.tok, openai-organization.org-other",
    )
    credential.remove(sent, "token-id")
    assert "tok\n" not in repr(sent.headers)
    assert sent.headers["authorization"] == "Bearer token-id"
    assert sent.headers["sec-websocket-protocol"] == "realtime"
    assert set(sent.headers) - {"content-length"} == {"authorization", "sec-websocket-protocol"}
    assert dict(sent.query) == {"limit": "2"}


def test_a_query_without_credentials_is_left_as_it_came() -> None:
    sent = request("/v1/files?purpose=a%20b&after=")
    credential.remove(sent, "token-id")
    assert sent.path == "/v1/files?purpose=a%20b&after="


@pytest.mark.parametrize(
    "name",
    [
        "Api_Key",
        "API-KEY",
        "x_api_key",
        "openai_organization",
        "OpenAI_Project",
        "Ocp-Apim-Subscription-Key",
        "proxy_authorization",
        "X-HTTP-Method-Override",
        "x_http_method_override",
        "X-Method-Override",
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-Original-Host",
        "X-Forwarded-For",
        "X_Forwarded_Host",
        "X-Forwarded-Prefix",
        "X-Real-IP",
        "Forwarded",
        "True-Client-IP",
        "CF-Connecting-IP",
        "X-Originating-IP",
        "WL-Proxy-Client-IP",
        "sec_websocket_protocol",
    ],
)
def test_headers_that_are_credentials_or_make_a_request_another(name: str) -> None:
    sent = request()
    sent.headers[name] = "value"
    sent.headers["X-Stainless-Lang"] = "python"
    credential.remove(sent, "token-id")
    assert name not in sent.headers
    assert sent.headers["X-Stainless-Lang"] == "python"


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ("API-Key=tok&limit=2", "?limit=2"),
        ("limit=2&api_key=tok", "?limit=2"),
        ("a=1&Access_Token=tok&b=%2F+", "?a=1&b=%2F+"),
        ("%61pi-key=tok", ""),
        ("subscription-key=tok;limit=2", "?limit=2"),
        ("_method=DELETE", ""),
        ("KEY=tok&key=tok", ""),
        ("api-key", ""),
        ("api-version=2024-10-21&include[]=a&x=api-key", "?api-version=2024-10-21&include[]=a&x=api-key"),
    ],
)
def test_credentials_in_the_query_in_any_spelling(query: str, left: str) -> None:
    sent = request(f"/v1/models?{query}")
    credential.remove(sent, "token-id")
    assert sent.path == f"/v1/models{left}"
