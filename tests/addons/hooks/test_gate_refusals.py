"""Every refusal of the gate, once each, in milliseconds; clients see them in tests/live/test_refusals.py."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import pytest
from mitmproxy.proxy.mode_specs import ProxyMode

from addons.checks.limits import limit_errors
from addons.flow import errors
from tests.addons.hooks.gated import CHAT, HELLO, Gated, Reply, gated

Ask = Callable[[Gated], Reply]
STRICT = {"budget_mode": "strict"}
BUDGET = {"budgets": {"usd": {"total": "1"}}}
FORM = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--b--\r\n'
FORM_HEADERS = {"content-type": "multipart/form-data; boundary=b"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gated]:
    with gated(tmp_path_factory.mktemp("refusals")) as made:
        yield made


def limited(path: str = CHAT, body: Any = HELLO, *, times: int = 1, **limits: Any) -> Ask:
    """Ask with a token that has these limits."""

    def ask(world: Gated) -> Reply:
        token = world.token(limits)
        replies = [world.ask(token, path, body) for _ in range(times)]
        return replies[-1]

    return ask


def revoked(world: Gated) -> Reply:
    token, text = world.store.create_token(world.project.id)
    world.store.revoke_token(token.id)
    return world.ask(text.reveal())


def expired(world: Gated) -> Reply:
    _, text = world.store.create_token(world.project.id, expires_at=datetime.now(UTC) + timedelta(days=1))
    with mock.patch("addons.checks.authentication.datetime") as clock:
        clock.now.return_value = datetime.now(UTC) + timedelta(days=2)
        return world.ask(text.reveal())


def inactive(world: Gated) -> Reply:
    project = world.store.create_project("idle", "sk-real-9876543210zyxwvutsrq")
    text = world.store.create_token(project.id)[1].reveal()
    world.store.update_project(project.id, active=False)
    return world.ask(text)


def elsewhere(world: Gated) -> Reply:
    flow = world.flow(world.token())
    flow.client_conn.proxy_mode = ProxyMode.parse("regular")
    flow.request.port = 8443
    return asyncio.run(world.pass_through(flow))


def spool_state(**state: Any) -> Ask:
    def ask(world: Gated) -> Reply:
        services = world.runtime.services
        assert services is not None
        worker = services.worker
        before = {name: getattr(worker.pressure if name == "full" else worker, name) for name in state}
        for name, value in state.items():
            setattr(worker.pressure if name == "full" else worker, name, value)
        try:
            return world.ask(world.token())
        finally:
            for name, value in before.items():
                setattr(worker.pressure if name == "full" else worker, name, value)

    return ask


def closed(world: Gated) -> Reply:
    services, world.runtime.services = world.runtime.services, None
    try:
        return world.ask("sk-llmp-any")
    finally:
        world.runtime.services = services


REFUSALS: dict[str, tuple[int, str, Ask]] = {
    "no token": (401, "invalid_api_key", lambda world: world.ask()),
    "unknown token": (401, "invalid_api_key", lambda world: world.ask("sk-llmp-nobody")),
    "revoked": (401, "invalid_api_key", revoked),
    "expired": (401, "invalid_api_key", expired),
    "inactive project": (403, "project_inactive", inactive),
    "closed": (503, "proxy_not_ready", closed),
    "spool away": (503, "spool_unavailable", spool_state(healthy=False)),
    "spool full": (
        503,
        "spool_full",
        spool_state(
            full=True,
        ),
    ),
    "malformed": (
        400,
        "malformed_request",
        lambda world: world.ask(world.token(), headers={"x-a": b"b\x01c"}),
    ),
    "endpoint of the option": (
        403,
        "endpoint_not_allowed",
        lambda world: world.ask(world.token(), "/v1/batches", {"input_file_id": "file-1"}),
    ),
    "endpoint of the token": (403, "endpoint_not_allowed", limited(endpoints=["embeddings"])),
    "network": (403, "network_not_allowed", limited(networks=["10.0.0.0/8"])),
    "destination": (403, "destination_not_allowed", elsewhere),
    "model": (404, "model_not_found", limited(models=["gpt-5*"])),
    "length": (
        400,
        "max_output_tokens_exceeded",
        limited(CHAT, {**HELLO, "max_tokens": 100}, max_output_tokens=10),
    ),
    "object in the path": (
        404,
        "not_found",
        lambda world: world.ask(world.token(), "/v1/files/file-0123456789", b"", method="GET"),
    ),
    "object in the body": (
        404,
        "previous_response_not_found",
        limited(
            "/v1/responses", {"model": "gpt-4o", "input": "x", "previous_response_id": "resp_0123456789"}
        ),
    ),
    "rate": (429, "rate_limit_exceeded", limited(times=2, requests_per_minute=1)),
    "budget": (429, "insufficient_quota", limited(budgets={"usd": {"total": "0.000000001"}})),
    "price": (403, "price_unknown", limited(CHAT, {**HELLO, "model": "ours"}, **BUDGET, **STRICT)),
    "unbounded": (
        400,
        "use_unbounded",
        limited(
            "/v1/responses",
            {"model": "gpt-5", "input": "x", "tools": [{"type": "web_search"}]},
            **BUDGET,
            **STRICT,
        ),
    ),
    "form": (
        413,
        "form_too_large",
        lambda world: world.ask(
            world.token({"models": ["whisper-1"]}),
            "/v1/audio/transcriptions",
            FORM,
            headers={**FORM_HEADERS, "content-length": str(2**40)},
        ),
    ),
    "body size": (
        413,
        "body_too_large",
        lambda world: world.ask(world.token(), headers={"content-length": str(2**40)}),
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals(world: Gated, case: str) -> None:
    status, code, ask = REFUSALS[case]
    reply = ask(world)
    said = reply.flow.response and reply.flow.response.text
    assert (reply.status, reply.code) == (status, code), said
    assert reply.error["message"]
    assert reply.error["code"] in (code, None)


ELSEWHERE = {
    # Answers, WebSockets' events and other hooks.
    *("secret_withheld", "list_unreadable", "too_many_waiting", "event_not_allowed"),
    # test_gate.py and test_gate_bodies.py
    *("websocket_only", "unsupported_content_type", "body_unreadable", "proxy_busy"),
    # test_response_cache.py
    "not_cached",
    # test_pipeline.py
    *("proxy_error", "store_unavailable", "key_unavailable"),
    *("unsafe_options", "proxy_stopping", "head_too_large"),
}


def test_every_refusal_of_the_module_is_covered() -> None:
    fixed = {value.code for value in vars(errors).values() if isinstance(value, errors.Refusal)}
    fixed |= {reason.code for reason in errors.BY_REASON.values()}
    made = {errors.destination_refused("").code, errors.model_refused("").code, errors.malformed("").code}
    made |= {limit_errors.unpriced("").code, limit_errors.unbounded("").code, errors.body_too_large("").code}
    covered = {code for _, code, _ in REFUSALS.values()} | ELSEWHERE
    assert fixed | made <= covered
