"""Pages in browsers: preflights are answered here, and only pages of allowed origins may read answers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from mitmproxy import http

from addons.hooks.browsers import BrowserHeaders, Preflights
from addons.hooks.upstream_failures import UpstreamFailures
from store.core.errors import Invalid
from store.tokens import validation
from tests.addons.hooks.gated import Gated, gated

PAGE = "https://app.example.com"
ASKS = {
    "origin": PAGE,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization, x-stainless-os",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gated]:
    with gated(tmp_path_factory.mktemp("browsers"), llm_cors_origins=["https://*.example.com"]) as made:
        yield made


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gated]:
    with gated(tmp_path_factory.mktemp("closed")) as made:
        yield made


def preflight(world: Gated, **headers: str) -> http.Response | None:
    flow = world.flow(None, body=b"", method="OPTIONS", headers={**ASKS, **headers})
    asyncio.run(Preflights(world.runtime).requestheaders(flow))
    if flow.response is not None:
        BrowserHeaders(world.runtime).responseheaders(flow)
    return flow.response


def test_a_preflight_is_answered_without_a_token(world: Gated) -> None:
    answer = preflight(world)
    assert answer is not None
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["access-control-allow-headers"] == "authorization, x-stainless-os"
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "Origin" in ", ".join(answer.headers.get_all("vary"))
    assert "access-control-allow-credentials" not in answer.headers


def test_what_it_asks_for_is_no_way_in_for_headers(world: Gated) -> None:
    answer = preflight(world, **{"access-control-request-headers": "a; b"})
    assert answer is not None
    assert answer.headers["access-control-allow-headers"] == "authorization, content-type"


@pytest.mark.parametrize(
    "origin", ["https://evil.com", "https://evil.com/.example.com", "http://app.example.com", "null"]
)
def test_pages_from_elsewhere_get_nothing(world: Gated, origin: str) -> None:
    answer = preflight(world, origin=origin)
    assert answer is not None
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "origin_not_allowed")
    assert not [name for name in answer.headers if name.lower().startswith("access-control-")]


def test_none_are_allowed_by_default(closed: Gated) -> None:
    assert preflight(closed) is None, "the gate refuses it, as any call without a token"
    response = http.Response.make(200, b"", {"access-control-allow-origin": "*"})
    flow = closed.flow(headers={"origin": PAGE})
    flow.response = response
    BrowserHeaders(closed.runtime).responseheaders(flow)
    assert response.headers["access-control-allow-origin"] == "*", "it is left as it is"


def test_the_gate_and_not_this_answers_what_is_no_preflight(world: Gated) -> None:
    flow = world.flow(None, body=b"", method="OPTIONS", headers={"origin": PAGE})
    asyncio.run(Preflights(world.runtime).requestheaders(flow))
    assert flow.response is None


def test_answers_and_refusals_can_be_read(world: Gated) -> None:
    for origin, seen in ((PAGE, PAGE), ("https://evil.com", None), ("", None)):
        flow = world.flow(None, headers={"origin": origin})
        asyncio.run(world.pass_through(flow))
        refused = flow.response
        assert refused is not None
        passed = http.Response.make(200, b"", {"Access-Control-Allow-Origin": "*", "vary": "Accept"})
        for response in (refused, passed):
            flow.response = response
            BrowserHeaders(world.runtime).responseheaders(flow)
            assert response.headers.get("access-control-allow-origin") == seen
            assert "Origin" in response.headers.get_all("vary")
        exposed = passed.headers.get("access-control-expose-headers", "").split(", ")
        wanted = {"x-request-id", "x-llmproxy-request-id", "cache-status", "x-ratelimit-remaining-tokens"}
        assert wanted <= set(exposed) if seen else exposed == [""]
        assert "Accept" in passed.headers.get_all("vary")


def test_failures_of_upstream_can_be_read(world: Gated) -> None:
    flow = world.flow(world.token(), headers={"origin": PAGE})
    asyncio.run(world.pass_through(flow))
    answer = UpstreamFailures(world.runtime).answer(flow, "connection refused")
    assert answer is not None
    assert answer.headers["access-control-allow-origin"] == PAGE


def test_a_token_may_be_bound_to_its_page(closed: Gated) -> None:
    token = closed.token(origins=["https://app.example.com", "https://*.test:8443"])
    for origin in (PAGE, "HTTPS://APP.example.com", "https://a.test:8443", ""):
        assert closed.ask(token, headers={"origin": origin}).code is None
    reply = closed.ask(token, headers={"origin": "https://evil.com"})
    assert (reply.status, reply.code) == (403, "origin_not_allowed")
    assert "'https://evil.com'" in reply.error["message"]
    assert (
        "the proxy token allows only https://*.test:8443, https://app.example.com" in reply.error["message"]
    )


def test_a_project_binds_all_its_tokens(closed: Gated) -> None:
    token = closed.token(origins=["*"])
    closed.store.update_project(closed.project.id, origins=[PAGE])
    try:
        assert closed.ask(token, headers={"origin": PAGE}).code is None
        assert closed.ask(token, headers={"origin": "https://a.test"}).code == "origin_not_allowed"
    finally:
        closed.store.update_project(closed.project.id, origins=[])


@pytest.mark.parametrize("pattern", ["", "app.example.com", "https://a.b/path", "https://a b", "https://u@h"])
def test_patterns_that_cannot_be(pattern: str) -> None:
    with pytest.raises(Invalid, match="write a scheme, a host"):
        validation.origins([pattern])
