"""The judged cases that only a running proxy can show: long answers, and clients that leave early."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from tests.cases import Case, cases, differences
from tests.live.clients import authorised
from tests.live.conftest import Running
from tests.live.upstream import Answer, Seen

CASES = cases(live=True)


@pytest.fixture(scope="module")
def running(start_shared: Callable[..., Running]) -> Running:
    return start_shared("llm_endpoints=inference,other")


@pytest.mark.parametrize("case", CASES)
def test_case(case: Case, running: Running) -> None:
    def answer(_: Seen) -> Answer:
        pause = [case.hang_before_end] * bool(case.hang_before_end)
        return Answer(
            [case.response_body, *pause], case.response["status"], [*case.response["headers"].items()]
        )

    running.upstream.handler = answer
    headers = {**case.request["headers"], **authorised(running.token)}
    url = running.proxy.reverse_url + case.request["path"]
    with httpx.Client(trust_env=False, timeout=60) as client:
        method = case.request["method"]
        with client.stream(method, url, headers=headers, content=case.request_body) as answered:
            came = bytearray()
            for piece in answered.iter_bytes():
                came += piece
                if case.closes_after and case.closes_after in came:
                    break
    (event,) = running.events(1)
    assert differences(case, event) == []
