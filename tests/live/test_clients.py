"""The openai SDK, unmodified, set up by the two ways that ``scripts/up`` prints."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.live.conftest import Tenant
from tests.live.harness import Proxy

PROGRAM = """
import json
from openai import OpenAI
client = OpenAI()
hello = [{"role": "user", "content": "hello"}]
found = {}
answer = client.chat.completions.create(model="gpt-4o-mini", messages=hello)
found["chat"] = answer.choices[0].message.content
stream = client.chat.completions.create(
    model="gpt-4o-mini", messages=hello, stream=True, stream_options={"include_usage": True}
)
found["streamed chat"] = "".join(c.choices[0].delta.content or "" for c in stream if c.choices)
found["response"] = client.responses.create(model="gpt-4o-mini", input="hello").output_text
with client.responses.stream(model="gpt-4o-mini", input="hello") as events:
    found["streamed response"] = "".join(e.delta for e in events if e.type == "response.output_text.delta")
found["embedding"] = client.embeddings.create(
    model="text-embedding-3-small", input="hello", encoding_format="float"
).data[0].embedding
print(json.dumps(found))
"""


def environment(proxy: Proxy, way: str) -> dict[str, str]:
    if way == "HTTPS_PROXY":
        return {"HTTPS_PROXY": proxy.url, "SSL_CERT_FILE": str(proxy.ca_file)}
    return {"OPENAI_BASE_URL": f"{proxy.reverse_url}/v1"}


@pytest.mark.parametrize("way", ["HTTPS_PROXY", "OPENAI_BASE_URL"])
def test_sdk_by_environment_alone(way: str, proxy: Proxy, tenant: Tenant) -> None:
    plain = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    _, token = tenant.token()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**plain, "OPENAI_API_KEY": token, **environment(proxy, way)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr + proxy.output
    assert json.loads(done.stdout) == {
        "chat": "one two three",
        "streamed chat": "one two three",
        "response": "one two three",
        "streamed response": "one two three",
        "embedding": [0.5, -0.5],
    }
    calls = proxy.wait_calls(5)
    assert [(call["endpoint"], call["stream"], call["usage"]["total_tokens"]) for call in calls] == [
        ("chat", False, 14),
        ("chat", True, 14),
        ("responses", False, 17),
        ("responses", True, 17),
        ("embeddings", False, 7),
    ]
    assert all(call["usage"]["source"] == "api" for call in calls)
    assert calls[3]["usage"]["input_tokens_details"]["cached_tokens"] == 4
    assert all(float(call["cost"]["usd"]) > 0 for call in calls)
