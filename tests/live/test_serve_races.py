"""The races of test_races.py through ``llmproxy serve --workers 2``: one address, two proxies."""

from __future__ import annotations

from contextlib import ExitStack

import httpx
import pytest

from tests.live.clients import HELLO, MODEL, authorised
from tests.live.served import Served
from tests.live.test_races import (
    Fleet,
    answer,
    test_a_strict_budget_is_never_exceeded,  # noqa: F401 - run here with this module's fleet, as the next ones
    test_an_expected_budget_is_exceeded_by_no_more_than_stated,  # noqa: F401
    test_requests_per_minute_over_all_proxies,  # noqa: F401
    test_tokens_per_minute_over_all_proxies,  # noqa: F401
)

pytestmark = [pytest.mark.slow, pytest.mark.once]

CONNECTIONS = 16
"""Kept ones, among which are some to each proxy."""


@pytest.fixture(scope="module")
def fleet(served: Served) -> Fleet:
    served.upstream.handler = answer
    return Fleet(served.tenant, served.upstream, [served.url("")])


def test_a_token_that_is_revoked_makes_no_call_more_by_any_proxy(served: Served) -> None:
    token_id, token = served.tenant.token()
    body = {"model": MODEL, "messages": HELLO, "stream": True, "seed": 1}
    with ExitStack() as stack:
        clients = [stack.enter_context(httpx.Client(trust_env=False, timeout=60)) for _ in range(CONNECTIONS)]

        def statuses() -> set[int]:
            made = (each.post(served.url(), headers=authorised(token), json=body) for each in clients)
            return {response.status_code for response in made}

        assert statuses() == {200}
        served.tenant.store.revoke_token(token_id)
        reached = len(served.upstream.requests)
        assert statuses() == {401}
    assert len(served.upstream.requests) == reached
    mine = [event for event in served.events() if event["token_id"] == token_id and event["outcome"] == "ok"]
    assert len({event["writer"] for event in mine}) == 2, "both proxies had made calls with it"
