"""Allow-lists of models, Azure's deployments, and forms, as the SDK and the upstream see them."""

from __future__ import annotations

import gzip
import json
from typing import Any

import httpx
import openai
import pytest

from tests.live.clients import HELLO, authorised, reverse_sdk, sdk
from tests.live.conftest import CHAT, EMBEDDING, REAL_KEY, RESPONSE, StartProxy, Tenant
from tests.live.harness import Proxy
from tests.live.upstream import Answer, Seen, Upstream, json_answer, stream_answer


@pytest.fixture
def restricted(start_proxy: StartProxy) -> Proxy:
    return start_proxy("llm_models=gpt-4o-mini*,whisper-1", "llm_endpoints=inference,listing,unmetered")


def post(proxy: Proxy, token: str, path: str, content: bytes, **headers: str) -> httpx.Response:
    url = f"{proxy.reverse_url}{path}"
    sent = authorised(token) | {"content-type": "application/json"} | headers
    return httpx.post(url, headers=sent, content=content, trust_env=False, timeout=60)


def test_models_that_are_not_allowed(restricted: Proxy, tenant: Tenant, upstream: Upstream) -> None:
    token = tenant.token()[1]
    client = sdk(restricted, token)
    assert client.chat.completions.create(model="gpt-4o-mini", messages=HELLO).choices  # type: ignore[arg-type]
    for call in (
        lambda: client.chat.completions.create(model="gpt-4o", messages=HELLO),  # type: ignore[arg-type]
        lambda: client.responses.create(model="o1-pro", input="x", stream=True),
        lambda: client.responses.create(prompt={"id": "pmpt_1"}),  # type: ignore[call-overload]
        lambda: client.audio.transcriptions.create(model="gpt-4o-transcribe", file=("a.wav", b"RIFF")),
        lambda: client.batches.create(
            completion_window="24h", endpoint="/v1/embeddings", input_file_id="file-1"
        ),
    ):
        with pytest.raises(openai.NotFoundError) as raised:
            call()  # type: ignore[no-untyped-call]
        assert raised.value.code == "model_not_found"
        assert raised.value.param == "model"
        assert raised.value.response.headers["x-should-retry"] == "false"
    assert client.models.list().object == "list"  # involves no model
    assert [seen.path for seen in upstream.requests] == ["/v1/chat/completions", "/v1/models"]
    calls = restricted.wait_calls(7)
    assert [call["outcome"] for call in calls] == ["ok", *["refused"] * 5, "ok"]
    assert [call["model_requested"] for call in calls[1:3]] == ["gpt-4o", "o1-pro"]


def test_models_that_are_hidden(restricted: Proxy, tenant: Tenant, upstream: Upstream) -> None:
    token = tenant.token()[1]
    path = "/v1/chat/completions"
    hidden: list[tuple[str, bytes, dict[str, str]]] = [
        (path, b'{"model": "gpt-4o-mini", "messages": [], "model": "gpt-4o"}', {}),
        (path, b'{"model": "gpt-4o-mini", "mod\\u0065l": "gpt-4o"}', {}),
        (path, b'{"model": "gpt-4o-mini", "MODEL": "gpt-4o"}', {}),
        (path, gzip.compress(b'{"model": "gpt-4o"}'), {"content-encoding": "gzip"}),
        (f"{path}?model=gpt-4o", b'{"model": "gpt-4o-mini"}', {}),
        (path, b"", {}),
    ]
    for target, content, headers in hidden:
        answer = post(restricted, token, target, content, **headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found"), content
    assert upstream.connections == 0
    fine = post(
        restricted, token, path, gzip.compress(b'{"model": "gpt-4o-mini"}'), **{"content-encoding": "gzip"}
    )
    assert fine.status_code == 200


def test_forms_are_read_before_they_are_sent(restricted: Proxy, tenant: Tenant, upstream: Upstream) -> None:
    client = reverse_sdk(restricted, tenant.token()[1])
    upstream.handler = lambda seen: json_answer({"text": "hello"})
    audio = b"RIFF" + bytes(range(256)) * 2000
    assert client.audio.transcriptions.create(model="whisper-1", file=("a.wav", audio)).text == "hello"
    assert audio in upstream.requests[-1].body
    call = restricted.wait_call("transcriptions")
    assert call["request"]["body"]["file"] == {"filename": "a.wav", "bytes": len(audio)}
    assert call["model"] == "whisper-1"

    def chunks() -> Any:
        yield b"--XX\r\n"

    refused = httpx.post(
        f"{restricted.reverse_url}/v1/audio/transcriptions",
        headers=authorised(client.api_key) | {"content-type": "multipart/form-data; boundary=XX"},
        content=chunks(),
        trust_env=False,
    )
    assert (refused.status_code, refused.json()["error"]["code"]) == (413, "form_too_large")
    assert len(upstream.requests) == 1


def test_the_answers_model_is_looked_at_too(restricted: Proxy, tenant: Tenant, upstream: Upstream) -> None:
    client = sdk(restricted, tenant.token()[1])
    client.chat.completions.create(model="gpt-4o-mini", messages=HELLO)  # type: ignore[arg-type]
    assert restricted.wait_call()["model_mismatch"] is None
    upstream.handler = lambda seen: json_answer(CHAT | {"model": "o1-pro-2025-03-19"})
    client.chat.completions.create(model="gpt-4o-mini", messages=HELLO)  # type: ignore[arg-type]
    assert "o1-pro-2025-03-19" in restricted.wait_calls(2)[1]["model_mismatch"]
    assert "is not allowed" in restricted.output


def azure_answer(seen: Seen) -> Answer:
    """As Azure does: the URL decides, Responses echo the deployment, a stream begins with filter results."""
    path = seen.path.partition("?")[0]
    if path == "/openai/deployments/prod/chat/completions":
        if b'"stream"' not in seen.body:
            return json_answer(CHAT | {"model": "gpt-4.1-mini-2025-04-14"})
        first = {
            "choices": [],
            "id": "",
            "model": "",
            "object": "",
            "prompt_filter_results": [{"prompt_index": 0}],
        }
        chunk = {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "model": "gpt-4.1-mini-2025-04-14",
            "choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": "stop"}],
        }
        return stream_answer(
            [*(b"data: %b\n\n" % json.dumps(one).encode() for one in (first, chunk)), b"data: [DONE]\n\n"]
        )
    if path == "/openai/deployments/embed/embeddings":
        return json_answer(EMBEDDING | {"model": "ada"})
    if path == "/openai/v1/responses":
        return json_answer(RESPONSE | {"model": "prod"})
    return json_answer({"error": {"code": "404", "message": "Resource not found"}}, 404)


def test_azure(start_proxy: StartProxy, tenant: Tenant, upstream: Upstream) -> None:
    upstream.handler = azure_answer
    proxy = start_proxy(
        "llm_hosts=api.openai.com,*.openai.azure.com",
        "llm_deployments=prod=gpt-4.1-mini,embed=text-embedding-ada-002",
        "llm_models=gpt-4.1-mini*,text-embedding-ada-002",
    )
    token = tenant.token()[1]
    http = httpx.Client(trust_env=False, timeout=60, base_url=proxy.reverse_url, headers={"api-key": token})
    client = openai.AzureOpenAI(
        api_key=token,
        azure_endpoint="https://acme.openai.azure.com",
        api_version="2024-10-21",
        max_retries=0,
        http_client=sdk(proxy, token)._client,
    )
    assert client.chat.completions.create(model="prod", messages=HELLO).choices  # type: ignore[arg-type]
    assert list(client.chat.completions.create(model="prod", messages=HELLO, stream=True))  # type: ignore[call-overload]
    assert client.embeddings.create(model="embed", input="x").data
    # The body's model is not what counts there, neither for good nor for bad.
    answer = http.post(
        "/openai/deployments/prod/chat/completions", json={"model": "o1-pro", "messages": HELLO}
    )
    assert answer.status_code == 200
    answer = http.post("/openai/deployments/other/chat/completions", json={"model": "gpt-4.1-mini"})
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"
    assert http.post("/openai/v1/responses", json={"model": "prod", "input": "x"}).status_code == 200
    calls = proxy.wait_calls(6)
    assert [call["model_requested"] for call in calls] == ["prod", "prod", "embed", "prod", "other", "prod"]
    assert [call["model"] for call in calls] == [
        "gpt-4.1-mini-2025-04-14",
        "gpt-4.1-mini-2025-04-14",
        "text-embedding-ada-002",
        "gpt-4.1-mini-2025-04-14",
        "other",
        "gpt-4.1-mini",
    ]
    assert [call["endpoint"] for call in calls] == ["chat", "chat", "embeddings", "chat", "chat", "responses"]
    assert [call["outcome"] for call in calls] == ["ok", "ok", "ok", "ok", "refused", "ok"]
    assert all(call["model_mismatch"] is None for call in calls)
    assert calls[0]["api_version"] == "2024-10-21"
    assert calls[5]["cost"]["usd"]
    assert all(REAL_KEY not in json.dumps(call) for call in calls)
