"""Saved flows, mitmweb, and a proxy without vocabularies."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import httpx
import pytest
from mitmproxy import version

from tests.live.clients import chat, reverse_sdk, sdk
from tests.live.conftest import StartProxy, Tenant
from tests.live.harness import Proxy

IS_11 = version.VERSION.startswith("11.")


def test_saved_flows_are_not_counted_again(start_proxy: StartProxy, tenant: Tenant, tmp_path: Path) -> None:
    saved = tmp_path / "flows"
    proxy = start_proxy(f"save_stream_file={saved}")
    chat(sdk(proxy, tenant.token()[1]))
    assert len(proxy.wait_calls(1)) == 1
    proxy.stop()
    read = subprocess.run(
        [*Proxy(tmp_path, ["flow_detail=3"], reverse=None).command(), "-nr", str(saved)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert read.returncode == 0, read.stdout + read.stderr
    assert "one two three" in read.stdout, "the saved flow is shown with its answer"
    assert len(proxy.calls()) == 1


def test_mitmweb_shows_the_call_without_the_key(start_proxy: StartProxy, tenant: Tenant) -> None:
    if IS_11:
        pytest.skip("mitmweb 11 is refused; see the next test")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = ("web_open_browser=false", f"web_port={port}", "web_password=secret")
    proxy = start_proxy(*settings, program="mitmweb")
    _, token = tenant.token()
    list(chat(sdk(proxy, token), stream=True))
    proxy.wait_calls(1)
    base = f"http://127.0.0.1:{port}"
    headers = {"authorization": "Bearer secret"}
    with httpx.Client(trust_env=False, headers=headers) as client:
        flows = client.get(f"{base}/flows")
        assert flows.status_code == 200, flows.text
        flow = flows.json()[0]
        body = client.get(f"{base}/flows/{flow['id']}/response/content.data")
    assert flow["request"]["pretty_host"].startswith("localhost")
    assert "sk-real" not in flows.text
    assert token not in flows.text
    assert b"three" in body.content, "the streamed body can be looked at"


def test_mitmweb_with_a_known_hole_is_refused(tmp_path: Path) -> None:
    if not IS_11:
        pytest.skip("this mitmweb has no known hole")
    proxy = Proxy(tmp_path, ["web_open_browser=false", "web_port=0"], program="mitmweb")
    proxy.launch()
    try:
        assert proxy.wait() == 1
    finally:
        proxy.kill()
    assert "CVE-2025-23217" in proxy.output


def test_without_vocabularies_usage_is_an_estimate(
    start_proxy: StartProxy, tenant: Tenant, tmp_path: Path
) -> None:
    proxy = start_proxy(environment={"TIKTOKEN_CACHE_DIR": str(tmp_path / "empty")})
    _, token = tenant.token()
    client = reverse_sdk(proxy, token)
    for _ in range(2):
        with chat(client, stream=True) as stream:
            next(iter(stream))
    calls = proxy.wait_calls(2)
    for call in calls:
        assert call["usage"]["source"] in ("api", "estimate")
    warnings = [line for line in proxy.lines if "vocabular" in line.lower()]
    assert len(warnings) <= 1
