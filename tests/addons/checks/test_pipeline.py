"""The list of checks: its order, and what becomes of a check that fails."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from addons.checks.check import Check, Phase
from addons.checks.pipeline import pipeline
from addons.flow.call import Call
from addons.flow.errors import Refusal
from store.core.errors import KeyUnavailable, StoreUnavailable
from tests.addons.hooks.gated import Gated, gated

HEADERS = [
    *("Serving", "WellFormed", "Recorded", "Authentication", "TokenStanding", "Upgrade", "Network", "Origin"),
    *(
        "TokenEndpoints",
        "EphemeralKeyUse",
        "Destination",
        "ServedEndpoint",
        "EphemeralKeyMaking",
        "OwnedTarget",
    ),
    *(
        "ProjectKey",
        "ContentType",
        "FormModels",
        "OwnedForm",
        "StatedBodySize",
        "ClaimedByHeaders",
        "UploadCircuit",
        "UploadReservation",
    ),
]
BODY = [
    "KeptBodySize",
    "ReadBody",
    "ClaimedByBody",
    "Models",
    "Parameters",
    "OutputLimit",
    "OwnedObjects",
    "CachedAnswer",
    *("Circuit", "Reservation"),
]
LIVE = {
    "Serving",
    "Recorded",
    "Authentication",
    "EphemeralKeyMaking",
    "ProjectKey",
    "CachedAnswer",
    "Circuit",
    "UploadCircuit",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gated]:
    with gated(tmp_path_factory.mktemp("pipeline")) as made:
        yield made


def names(checks: list[Check]) -> list[str]:
    return [type(check).__name__ for check in checks]


def test_the_order(world: Gated) -> None:
    """Who the client is comes first, so that strangers learn nothing; the reservation last, as it takes."""
    checks = world.gate.checks
    assert names(checks) == HEADERS + BODY
    assert [check.phase for check in checks] == [Phase.HEADERS] * len(HEADERS) + [Phase.BODY] * len(BODY)


def test_a_dry_run_leaves_out_only_what_takes_a_running_proxy(world: Gated) -> None:
    assert names(pipeline(world.runtime, None)) == [name for name in HEADERS + BODY if name not in LIVE]


class Failing(Check):
    phase = Phase.HEADERS

    def __init__(self, error: Exception, phase: Phase) -> None:
        self.error = error
        self.phase = phase  # type: ignore[misc]

    async def check(self, _call: Call) -> Refusal | None:
        raise self.error


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RuntimeError("a fault of ours"), "proxy_error"),
        (StoreUnavailable("away"), "store_unavailable"),
        (KeyUnavailable("away"), "key_unavailable"),
    ],
    ids=str,
)
def test_a_check_that_fails_refuses(
    world: Gated, monkeypatch: pytest.MonkeyPatch, phase: Phase, error: Exception, code: str
) -> None:
    logging.disable()
    monkeypatch.setattr(world.gate, "checks", [*world.gate.checks, Failing(error, phase)])
    try:
        reply = world.ask(world.token())
    finally:
        logging.disable(logging.NOTSET)
    assert (reply.status, reply.code) == (503, code)
    assert reply.error["type"] == "server_error"
    assert "authorization" not in reply.flow.request.headers or "sk-llmp" not in str(
        reply.flow.request.headers
    )
