"""Calls to an upstream that fails are refused for a while (option ``llm_circuit_breaker``)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mitmproxy import exceptions, flow, http

from addons.flow.call import open_calls
from addons.hooks.circuits import Circuits
from addons.settings.values import circuit_breaker
from tests.addons.hooks.gated import Gated, gated


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Gated]:
    with gated(tmp_path, llm_circuit_breaker="2/30s") as made:
        yield made


def call(world: Gated, token: str, answer: int | str) -> tuple[int, http.Response | None]:
    """Make a call that is answered with a status, or fails with a message; the status of its refusal."""
    asked = world.flow(token)

    async def pass_through() -> None:
        await world.gate.requestheaders(asked)
        await world.gate.request(asked)
        if asked.response is not None:
            return
        open_calls[asked.id].opened = True
        if isinstance(answer, int):
            asked.response = http.Response.make(answer)
            Circuits(world.runtime).responseheaders(asked)
            asked.response = None
        else:
            asked.error = flow.Error(answer)
            Circuits(world.runtime).error(asked)

    asyncio.run(pass_through())
    open_calls.pop(asked.id, None)
    return asked.response.status_code if asked.response else 0, asked.response


@pytest.mark.parametrize("failures", [(500, 503), ("connection refused", "server closed connection")])
def test_it_opens(world: Gated, failures: tuple[int | str, ...]) -> None:
    token = world.token({"requests_per_minute": 3})
    for failure in failures:
        assert call(world, token, failure)[0] == 0
    status, response = call(world, token, 200)
    assert response is not None
    error = response.json()["error"]
    assert (status, error["code"], error["type"]) == (503, "upstream_circuit_open", "server_error")
    assert 1 <= int(response.headers["retry-after"]) <= 30
    assert response.headers["x-should-retry"] == "true"
    figures = world.runtime.figures()
    assert (figures["circuits_open"], figures["circuit_openings"]) == (1, {"api.openai.com": 1})
    assert call(world, token, 200)[0] == 503, "what is refused uses nothing of a rate"


def test_a_refused_call_tries_nothing(world: Gated) -> None:
    token, empty = world.token(), world.token(max_requests=0)
    for _ in range(2):
        call(world, token, 503)
    world.runtime.breaker._clock = lambda: time.monotonic() + 31  # type: ignore[method-assign]
    assert call(world, empty, 200)[0] == 429
    assert call(world, token, 200)[0] == 0, "it is the one that tries"
    assert world.runtime.figures()["circuits"] == {}


@pytest.mark.parametrize("answer", [200, 400, 429, "Client disconnected. by client"])
def test_what_is_no_failure_of_upstream(world: Gated, answer: int | str) -> None:
    token = world.token()
    for _ in range(4):
        assert call(world, token, answer)[0] == 0


def test_it_is_off_by_default(tmp_path: Path) -> None:
    with gated(tmp_path) as plain:
        token = plain.token()
        for _ in range(9):
            assert call(plain, token, 503)[0] == 0


@pytest.mark.parametrize("text", ["5", "0/30s", "5/0s", "5/30", "x/30s", "5/30h"])
def test_values_that_cannot_be(text: str) -> None:
    with pytest.raises(exceptions.OptionsError, match="write failures and a time, such as 5/30s"):
        circuit_breaker("llm_circuit_breaker", text)


def test_values() -> None:
    assert circuit_breaker("", "") is None
    assert str(circuit_breaker("", "10/2m")) == "BreakerRule(failures=10, seconds=120)"
