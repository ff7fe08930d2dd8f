"""What a live proxy makes of traffic and what `llmproxy import` makes of its recording are the same."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import httpx

from addons.openai.endpoints import RISK_CLASSES
from store.tokens.limits import Limits
from tests import nursery
from tests.codings import CODINGS
from tests.live.clients import authorised
from tests.live.conftest import RESPONSE, StartProxy, Tenant
from tests.live.harness import SCRIPT
from tests.live.upstream import Answer, Seen, Upstream, json_answer
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
        if scenario.is_text  # files, which tell how long a sound is, are not in a flow
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
    classes = tuple(RISK_CLASSES)
    every = f"llm_endpoints={','.join(classes)}"
    proxy = start_proxy(f"save_stream_file={flows}", every, "llm_ownership=off")
    _, token = tenant.token(limits=Limits(endpoints=classes))
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
    done = nursery.run(command)
    assert (done.returncode, done.stderr) == (0, b"")
    imported = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(imported) == len(live) == len(cases)
    for event in imported:
        case = event["request"]["headers"]["x-client-request-id"]
        names = set(SAME)
        if "counted" in (event["usage_missing_code"], live[case]["usage_missing_code"]):
            names -= {"usage", "usage_missing", "cost"}  # scenarios use the same ids, and each counts once
        assert {name: event[name] for name in names} == {name: live[case][name] for name in names}, case


def test_reading_flows_into_a_proxy_neither_gates_nor_counts(
    start_proxy: StartProxy, tenant: Tenant, tmp_path: Path
) -> None:
    """``mitmdump -nr FILE -s addons/llmproxy.py`` looks at a recording; the calls are on record already."""
    flows = tmp_path / "flows"
    proxy = start_proxy(f"save_stream_file={flows}")
    with httpx.Client(trust_env=False, timeout=30) as client:
        body = {"model": "gpt-4o-mini", "messages": [], "stream": True}
        url = f"{proxy.reverse_url}/v1/chat/completions"
        assert client.post(url, headers=authorised(tenant.token()[1]), json=body).status_code == 200
        assert client.post(url, headers=authorised("sk-proxy-unknown"), json=body).status_code == 401
    proxy.wait_calls(2)
    proxy.stop()
    before = proxy.records()
    program = Path(sys.executable).parent / "mitmdump"
    settings = [f"confdir={tmp_path / 'ca'}", f"llm_store={proxy.store}", f"llm_spool={proxy.spool}"]
    command = [str(program), "-nr", str(flows), "-s", str(SCRIPT)]
    done = nursery.run_text(
        [*command, *(argument for setting in settings for argument in ("--set", setting))]
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("POST ") == 2
    assert "200" in done.stdout
    assert "401" in done.stdout
    assert proxy.records() == before


def test_forms_and_deployments_give_the_same_live_and_imported(
    start_proxy: StartProxy, tenant: Tenant, upstream: Upstream, tmp_path: Path
) -> None:
    """Files are in neither the event nor the flow file; the model is in both, and so is its price."""
    audio = bytes(range(256)) * 400
    mapped = "prod=gpt-4o"
    flows = tmp_path / "flows"
    upstream.handler = lambda seen: (
        json_answer({"text": "hello", "usage": {"type": "duration", "seconds": 12}})
        if "transcriptions" in seen.path
        else json_answer(RESPONSE | {"model": "prod"})
    )
    proxy = start_proxy(
        f"save_stream_file={flows}", f"llm_deployments={mapped}", "llm_endpoints=inference,other"
    )
    headers = authorised(tenant.token()[1])
    with httpx.Client(trust_env=False, timeout=30, base_url=proxy.reverse_url) as client:
        files = {"file": ("a.wav", audio, "audio/wav"), "model": (None, "whisper-1")}
        assert client.post("/v1/audio/transcriptions", headers=headers, files=files).status_code == 200
        asked = {"model": "prod", "input": "x"}
        assert client.post("/openai/v1/responses", headers=headers, json=asked).status_code == 200
        assert client.post("/v1/something/new", headers=headers, json=asked).status_code == 200
    assert audio in upstream.requests[0].body
    proxy.wait_calls(3)
    proxy.stop()
    assert audio[:300] not in flows.read_bytes()
    command = [
        sys.executable,
        "-P",
        "-m",
        "scripts.cli",
        "import",
        str(flows),
        "--json",
        "--deployment",
        mapped,
    ]
    done = nursery.run(command)
    assert (done.returncode, done.stderr) == (0, b"")
    imported = [json.loads(line) for line in done.stdout.splitlines()]
    live = proxy.calls()
    assert [{name: one[name] for name in SAME} for one in imported] == [
        {name: one[name] for name in SAME} for one in live
    ]
    form, response, other = live
    assert form["request"]["body"]["file"] == {"filename": "a.wav", "bytes": len(audio)}
    assert (form["model"], form["usage"]["seconds"]) == ("whisper-1", 12)
    assert (response["model"], response["model_requested"]) == ("gpt-4o", "prod")
    assert response["cost"]["usd"]
    # An unknown path: what can be told is told.
    assert (other["endpoint"], other["outcome"], other["status"]) == ("other", "ok", 200)
    assert other["usage"]["total_tokens"] == 17
