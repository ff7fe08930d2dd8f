"""What a live proxy makes of traffic and what `llmproxy import` makes of its recording are the same."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import httpx

from tests.codings import CODINGS
from tests.live.clients import authorised
from tests.live.conftest import StartProxy, Tenant
from tests.live.upstream import Answer, Seen, Upstream
from tests.scenarios import SCENARIOS

# What depends on the call alone, and not on when and by whom it was made.
SAME = (
    *("outcome", "status", "error", "truncated", "endpoint", "stream", "api_version", "user"),
    *("model", "model_requested", "service_tier", "usage", "usage_missing", "cost", "finish_reasons"),
    *("response_id", "previous_response_id", "conversation_id"),
)


def test_a_recording_gives_the_events_that_the_call_gave(
    start_proxy: StartProxy, tenant: Tenant, upstream: Upstream, tmp_path: Path
) -> None:
    cases = [
        (f"{name}/{coding}", dataclasses.replace(scenario.response), scenario.request, coding)
        for name, scenario in SCENARIOS.items()
        if scenario.response.complete and scenario.request.url.startswith("/v1/")
        for coding in CODINGS
    ]
    answers = {case: (response, coding) for case, response, _, coding in cases}

    def answer(seen: Seen) -> Answer:
        response, coding = answers[seen.header("x-client-request-id")]
        header, encode = CODINGS[coding]
        headers = [*response.headers, *([("content-encoding", header)] if header else [])]
        return Answer([encode(response.body)], response.status, headers)

    upstream.handler = answer
    flows = tmp_path / "flows"
    proxy = start_proxy(f"save_stream_file={flows}")
    _, token = tenant.token()
    with httpx.Client(trust_env=False, timeout=30) as client:
        for case, _, request, _ in cases:
            headers = {**dict(request.headers), **authorised(token), "x-client-request-id": case}
            arrived = client.request(
                request.method, proxy.reverse_url + request.url, headers=headers, content=request.body
            )
            assert arrived.status_code == answers[case][0].status, case
    proxy.wait_calls(len(cases))
    proxy.stop()
    live = {call["request"]["headers"]["x-client-request-id"]: call for call in proxy.calls()}
    command = [sys.executable, "-P", "-m", "scripts.cli", "import", str(flows), "--json"]
    done = subprocess.run(command, capture_output=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    imported = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(imported) == len(live) == len(cases)
    for event in imported:
        case = event["request"]["headers"]["x-client-request-id"]
        assert {name: event[name] for name in SAME} == {name: live[case][name] for name in SAME}, case
