"""mitmweb with the inspector: over its HTTP API, and as a person sees it in a browser."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from mitmproxy import version

from tests.live.browser import ENTER, browser, missing
from tests.live.clients import chat, reverse_sdk
from tests.live.conftest import REAL_KEY, Tenant, answer
from tests.live.harness import ROOT, Proxy, wait_for
from tests.live.upstream import ABORT, Answer, Seen, Upstream, json_answer, stream_answer

pytestmark = pytest.mark.skipif(
    version.VERSION.startswith("11."), reason="mitmweb 11 is refused (CVE-2025-23217); see test_modes.py"
)

KEEP = 12
PASSWORD = "open sesame"
COMMENT = "gpt-4o-mini-2024-07-18 · 11→3 tok · $0.0000034 · "


class Web:
    """A mitmweb in front of an upstream, and its API."""

    def __init__(
        self, proxy: Proxy, upstream: Upstream, token: tuple[str, str], client: httpx.Client
    ) -> None:
        self.proxy, self.upstream, self.client = proxy, upstream, client
        self.token_id, self.token = token

    def flows(self) -> list[dict[str, Any]]:
        found = self.client.get("/flows")
        assert found.status_code == 200
        listed: list[dict[str, Any]] = found.json()
        return listed

    def newest(self) -> dict[str, Any]:
        """The flow that came last, once its event has come back to it."""
        return wait_for(lambda: (flows := self.flows()) and flows[-1]["comment"] and flows[-1], "a comment")

    def view(self, flow: dict[str, Any], side: str, name: str = "auto") -> dict[str, Any]:
        found = self.client.get(f"/flows/{flow['id']}/{side}/content/{name}.json")
        shown: dict[str, Any] = found.json()
        return shown

    def command(self, name: str, *arguments: str) -> Any:
        done = self.client.post(f"/commands/{name}", json={"arguments": arguments}).json()
        assert "error" not in done, done
        return done["value"]

    def clear(self) -> None:
        self.client.post("/clear")

    def post(
        self, body: dict[str, Any], token: str | None = None, path: str = "/v1/chat/completions"
    ) -> httpx.Response:
        with httpx.Client(trust_env=False) as client:
            return client.post(
                f"{self.proxy.reverse_url}{path}",
                json=body,
                headers={"authorization": f"Bearer {token or self.token}"},
            )


@pytest.fixture(scope="module")
def web(
    authority: trustme.CA, authority_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Web]:
    folder = tmp_path_factory.mktemp("mitmweb")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    tenant = Tenant(folder / "store.db")
    with ExitStack() as stack:
        stack.callback(tenant.store.close)
        upstream = stack.enter_context(Upstream(answer, authority.issue_cert("localhost")).running())
        proxy = Proxy(
            folder,
            [
                f"llm_upstream={upstream.base_url}",
                f"ssl_verify_upstream_trusted_ca={authority_file}",
                f"llm_keep_flows={KEEP}",
                "web_open_browser=false",
                f"web_port={port}",
                f"web_password={PASSWORD}",
            ],
            program="mitmweb",
        )
        stack.enter_context(proxy)
        headers = {"authorization": f"Bearer {PASSWORD}"}
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, trust_env=False)
        stack.enter_context(client)
        # Tornado wants the same word in a cookie and in a header, which no other site can bring about.
        client.cookies.set("_mitmproxy_xsrf", "word")
        client.headers["x-xsrftoken"] = "word"
        yield Web(proxy, upstream, tenant.token(), client)


@pytest.fixture(autouse=True)
def _as_usual(web: Web) -> Iterator[None]:
    web.clear()
    yield
    web.upstream.handler = answer


def picture(name: str, folder: Path) -> Path:
    """Where a picture goes: ``LLMPROXY_PICTURES=docs`` makes those of the docs anew."""
    return Path(os.environ.get("LLMPROXY_PICTURES", folder)) / name


def test_a_streamed_call_reads_as_a_conversation(web: Web) -> None:
    list(chat(reverse_sdk(web.proxy, web.token), stream=True))
    flow = web.newest()
    assert flow["comment"].startswith(COMMENT)
    assert flow["comment"].endswith("s · acme")
    assert flow["marked"] == ""
    asked, said = web.view(flow, "request"), web.view(flow, "response")
    assert asked["view_name"] == said["view_name"] == "OpenAI"
    assert "── user ──" in asked["text"]
    assert "── assistant ──\none two three" in said["text"]
    assert web.token_id in said["text"]
    assert "$0.00000345" in said["text"]


def test_no_credential_is_in_the_flow(web: Web) -> None:
    list(chat(reverse_sdk(web.proxy, web.token), stream=True))
    flow = web.newest()
    headers = dict(flow["request"]["headers"])
    assert headers["authorization"] == f"Bearer {web.token_id}"
    saved = web.client.get("/flows/dump").content
    assert web.token_id.encode() in saved
    for secret in (REAL_KEY, web.token):
        assert secret not in str(flow)
        assert secret not in web.view(flow, "request")["text"]
        assert secret.encode() not in saved


def test_calls_that_went_wrong_are_marked(web: Web) -> None:
    assert web.post({"model": "gpt-4o-mini"}, token="sk-proxy-unknown").status_code == 401
    refused = web.newest()
    assert refused["comment"].startswith("refused invalid_api_key")
    assert refused["marked"] == "⛔"

    def busy(_: Seen) -> Answer:
        return json_answer({"error": {"message": "slow down", "code": "rate_limit_exceeded"}}, 429)

    web.upstream.handler = busy
    web.post({"model": "gpt-4o-mini", "messages": []})
    failed = web.newest()
    assert failed["comment"].startswith("429 rate_limit_exceeded")
    assert failed["marked"] == "❌"
    assert "slow down" in web.view(failed, "response")["text"]

    web.upstream.handler = lambda _: stream_answer([b"data: {}\n\n", ABORT])
    with pytest.raises(httpx.RemoteProtocolError):
        web.post({"model": "gpt-4o-mini", "messages": [], "stream": True})
    assert web.newest()["comment"].startswith("upstream_aborted")


def test_commands_over_the_selected_flows(web: Web, tmp_path: Path) -> None:
    for _ in range(2):
        web.post({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]})
    wait_for(lambda: all(flow["comment"] for flow in web.flows()), "comments")
    lines = web.command("llmproxy.usage", "@all")
    assert len(lines) == 3
    assert lines[0].startswith(COMMENT)
    assert lines[-1] == "all: 2 calls · 22→6 tok · $0.0000069"
    assert web.command("llmproxy.spend", "@all", "project") == [
        "acme: 2 calls · 22→6 tok · $0.0000069",
        lines[-1],
    ]
    assert web.command("llmproxy.spend", "@all", "token")[0].startswith(f"{web.token_id}: 2 calls")
    file = tmp_path / "events.jsonl"
    web.command("llmproxy.export", "@all", str(file))
    ids = {event["event_id"] for event in web.proxy.calls()[-2:]}
    assert {json.loads(line)["event_id"] for line in file.read_text().splitlines()} == ids


def test_finished_flows_beyond_the_limit_go_and_marked_ones_stay(web: Web) -> None:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}
    web.post(body)
    first = web.newest()
    web.client.put(f"/flows/{first['id']}", json={"marked": ":star:"})
    web.post(body, token="sk-proxy-unknown")
    refused = wait_for(lambda: [flow for flow in web.flows() if flow["marked"] == "⛔"], "our own mark")[0]
    for _ in range(KEEP + 1):
        web.post(body)
    left = [flow["id"] for flow in web.flows()]
    assert len(left) == KEEP + 1
    assert first["id"] in left
    assert refused["id"] not in left


WEATHER_ASKED = {
    "model": "gpt-5-mini",
    "stream": True,
    "instructions": "You plan days out.",
    "input": "What shall I take to Cologne tomorrow?",
    "tools": [{"type": "function", "name": "weather", "parameters": {"properties": {"city": {}, "day": {}}}}],
}


def _weather(_: Seen) -> Answer:
    """A stream of the Responses API with reasoning, a tool call and a text."""
    output = [
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "**Checking the forecast**"}],
        },
        {
            "type": "function_call",
            "id": "fc_1",
            "call_id": "call_1",
            "name": "weather",
            "arguments": '{"city":"Köln","day":"2026-11-26"}',
        },
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "content": [
                {"type": "output_text", "text": "Take an umbrella, and a warm coat.", "annotations": []}
            ],
        },
    ]
    usage = {
        "input_tokens": 1204,
        "input_tokens_details": {"cached_tokens": 1024},
        "output_tokens": 356,
        "output_tokens_details": {"reasoning_tokens": 320},
        "total_tokens": 1560,
    }
    response = {"id": "resp_1", "object": "response", "model": "gpt-5-mini-2025-08-07", "status": "completed"}
    text = {"item_id": "msg_1", "output_index": 2, "content_index": 0}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": {**response, "status": "in_progress", "output": []}},
        {"type": "response.output_text.delta", **text, "delta": "Take an umbrella, "},
        {"type": "response.output_text.delta", **text, "delta": "and a warm coat."},
        {"type": "response.completed", "response": {**response, "output": output, "usage": usage}},
    ]
    return stream_answer(
        [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events]
    )


WIDE_ENOUGH = """return [...document.querySelectorAll(".flow-table tbody td.col-comment")].map(
one => ({text: one.innerText, whole: one.scrollWidth <= one.clientWidth,
inside: one.getBoundingClientRect().right <= document.documentElement.clientWidth,
path: one.parentElement.querySelector(".col-path").clientWidth}))"""


def busy(_: Seen) -> Answer:
    return json_answer({"error": {"message": "slow down", "code": "rate_limit_exceeded"}}, 429)


def hello(web: Web, **more: Any) -> None:
    web.post({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], **more})


def test_the_list_shows_cost_tokens_time_and_project_at_1280_pixels(web: Web, tmp_path: Path) -> None:
    if why := missing():
        pytest.skip(why)
    web.upstream.handler = _weather
    web.post(WEATHER_ASKED, path="/v1/responses")
    web.upstream.handler = answer
    list(chat(reverse_sdk(web.proxy, web.token), stream=True))
    hello(web)
    web.post({"model": "gpt-4o-mini"}, token="sk-proxy-unknown")
    web.upstream.handler = busy
    hello(web)
    wait_for(lambda: len([flow for flow in web.flows() if flow["comment"]]) == 5, "comments")
    with browser(tmp_path, 1280, 800) as page:
        page.open(str(web.client.base_url))
        page.type("input[type=password]", PASSWORD + ENTER)
        page.wait_text("refused invalid_api_key", ".flow-table")
        cells = page.run(WIDE_ENOUGH)
        assert len(cells) == 5
        assert all(cell["whole"] and cell["inside"] for cell in cells), cells
        assert all(cell["path"] > 200 for cell in cells), "paths have room, too"
        for cell in cells[:3]:
            assert re.search(r" · [\d,]+→[\d,]+ tok · \$[\d.]+ · .* m?s · acme$", cell["text"]), cell
        page.screenshot(picture("mitmweb-list.png", tmp_path))
        page.type("input[placeholder=Search]", "~comment refused" + ENTER)
        assert wait_for(lambda: len(shown := page.run(WIDE_ENOUGH)) == 1 and shown, "the filter")[0][
            "text"
        ].startswith("refused invalid_api_key")
        page.click(".flow-table tbody tr td.col-path")
        page.wait_text("Response", ".flow-detail .nav-tabs")
        assert all(cell["path"] > 40 for cell in page.run(WIDE_ENOUGH)), "beside the details of a call, too"


FILTERS = {
    "~marked": {"refused", "429", "client"},
    "~marker no_entry": {"refused"},
    "~marker :x:": {"429"},
    "~marker :scissors:": {"client"},
    "!~marked": {"answered", "cached token"},
    "~comment acme": {"answered", "429", "client", "cached token"},
    "~comment refused": {"refused"},
    "~comment 'refused invalid_api_key'": {"refused"},
    "~comment rate_limit_exceeded": {"429"},
    "~comment client_aborted": {"client"},
    "~comment gpt-4o-mini & !~marked": {"answered"},
    "~comment '[$]0[.]000[1-9]'": {"cached token"},
    "~c 429": {"429"},
    "~meta 'acme'": {"answered", "429", "client", "cached token"},
}
"""Those of docs/mitmweb.md, and the calls of the test that each shows."""


def test_filters_find_calls_by_comment_and_mark(web: Web) -> None:
    """Each filter of the page of docs."""
    named: dict[str, str] = {}

    def note(name: str) -> None:
        newest = web.newest()
        assert newest["comment"] not in named
        named[newest["comment"]] = name

    hello(web)
    note("answered")
    web.upstream.handler = _weather
    web.post(WEATHER_ASKED, path="/v1/responses")
    note("cached token")
    web.post({"model": "gpt-4o-mini"}, token="sk-proxy-unknown")
    note("refused")
    web.upstream.handler = busy
    hello(web)
    note("429")
    web.upstream.handler = lambda _: stream_answer([b'data: {"choices": []}\n\n', 10.0])
    with contextlib.suppress(httpx.TimeoutException), httpx.Client(trust_env=False, timeout=0.5) as client:
        client.post(
            f"{web.proxy.reverse_url}/v1/chat/completions",
            json={"model": "gpt-4o-mini", "messages": [], "stream": True},
            headers={"authorization": f"Bearer {web.token}"},
        )
    note("client")
    text = (ROOT / "docs" / "mitmweb.md").read_text()
    for filter_, expected in FILTERS.items():
        assert f"`{filter_}`" in text, f"{filter_} is not in docs/mitmweb.md"
        *shown, _sum = web.command("llmproxy.usage", filter_)
        assert {named[comment] for comment in shown} == expected, filter_


def test_a_person_sees_it_in_a_browser(web: Web, tmp_path: Path) -> None:
    if why := missing():
        pytest.skip(why)
    web.upstream.handler = _weather
    web.post(WEATHER_ASKED, path="/v1/responses")
    web.post({"model": "gpt-4o-mini"}, token="sk-proxy-unknown")
    wait_for(lambda: len([flow for flow in web.flows() if flow["comment"]]) == 2, "comments")
    with browser(tmp_path, 1280, 800) as page:
        page.open(str(web.client.base_url))
        page.type("input[type=password]", PASSWORD + ENTER)
        assert "tok · $0.0008 · " in page.wait_text("refused invalid_api_key", ".flow-table")
        page.click(".flow-table tbody tr td.col-path")
        page.wait_text("Response", ".flow-detail .nav-tabs")
        page.click(".flow-detail .nav-tabs a:nth-of-type(2)")
        shown = page.wait_text("── assistant ──", ".flow-detail")
        assert "Take an umbrella" in shown
        assert "calls weather" in shown
        assert "OpenAI" in shown
        taken = picture("mitmweb.png", tmp_path)
        page.screenshot(taken)
        assert taken.read_bytes().startswith(b"\x89PNG")
