from __future__ import annotations

import pytest
from mitmproxy import http

from addons import credential


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
