"""mitmproxy's ways to fail open: each is first shown on a plain script, then shown closed on ours.

The plain scripts are in ``holes/``. "Open" means that the upstream answered a request without a token.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.live.clients import CHAT_URL, authorised, chat, http, reverse_sdk, sdk
from tests.live.conftest import StartProxy, Tenant, chat_chunks
from tests.live.harness import ROOT, SCRIPT, Proxy, wait_for
from tests.live.upstream import Upstream, json_answer, stream_answer

HOLES = Path(__file__).parent / "holes"


@pytest.fixture
def plain_upstream() -> Iterator[Upstream]:
    with Upstream(lambda seen: json_answer({"answered": True})).running() as running:
        yield running


@contextmanager
def without_remedy(
    folder: Path, script: Path, upstream: Upstream, *options: str
) -> Iterator[Callable[[], int]]:
    """A proxy with a plain script; yields a function that asks without a token and tells the status."""
    folder.mkdir(exist_ok=True)
    proxy = PlainProxy(folder, options, scripts=(script,), reverse=upstream.base_url)
    with proxy:
        yield lambda: httpx.get(f"{proxy.reverse_url}/v1/models", trust_env=False).status_code


class PlainProxy(Proxy):
    """mitmdump without our script, so without our options."""

    def command(self) -> list[str]:
        program, *rest = super().command()
        pairs = zip(rest[::2], rest[1::2], strict=True)
        return [program, *(part for pair in pairs if not pair[1].startswith("llm_") for part in pair)]


def ask(proxy: Proxy, token: str | None = None) -> int:
    """The status, be it of the call or already of the tunnel."""
    with http(proxy) as client:
        try:
            return client.post(CHAT_URL, headers=authorised(token) if token else {}, json={}).status_code
        except httpx.ProxyError as error:
            return int(str(error).split()[0])


def touch(script: Path) -> None:
    """Make the time stamp differ, which is what mitmproxy's reload looks at."""
    os.utime(script, (time.time() + 5, time.time() + 5))


def test_hook_that_raises(
    tmp_path: Path, plain_upstream: Upstream, start_proxy: StartProxy, tenant: Tenant, upstream: Upstream
) -> None:
    with without_remedy(tmp_path / "plain", HOLES / "raising.py", plain_upstream) as status:
        assert status() == 200, "the hole is there"
    proxy = start_proxy(scripts=(SCRIPT, HOLES / "breaking.py"))
    with http(proxy) as client:
        refused = client.post(CHAT_URL, headers=authorised(tenant.token()[1]), json={})
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "proxy_error"
    with pytest.raises(httpx.ProxyError, match="503"), http(proxy) as client:
        client.get("https://example.com/")
    assert upstream.requests == []
    assert "a defect in the gate" in proxy.output, "the defect is logged"


def test_script_of_another_that_raises(start_proxy: StartProxy, tenant: Tenant, upstream: Upstream) -> None:
    """All scripts are one element of mitmproxy's chain: a raising one skips those after it, ours too."""
    proxy = start_proxy(scripts=(HOLES / "raising.py", SCRIPT))
    assert ask(proxy) == 503
    assert ask(proxy, tenant.token()[1]) == 503
    assert upstream.requests == []


def copy_of_the_script(folder: Path) -> Path:
    """Our script in a folder of its own, so that a test may break it."""
    script = folder / "addons" / "llmproxy.py"
    script.parent.mkdir(parents=True)
    text = SCRIPT.read_text().replace("HERE.parent)", f"Path({str(ROOT)!r}))")
    assert str(ROOT) in text
    script.write_text(text)
    return script


def broken(script: Path) -> None:
    script.write_text("def broken(:\n")
    touch(script)


def raising(script: Path) -> None:
    script.write_text("raise RuntimeError('broken edit')\n")
    touch(script)


def deleted(script: Path) -> None:
    script.unlink()


@pytest.mark.parametrize("change", [broken, raising, deleted])
def test_reload_that_fails(
    change: Callable[[Path], None],
    tmp_path: Path,
    plain_upstream: Upstream,
    start_proxy: StartProxy,
    tenant: Tenant,
    upstream: Upstream,
) -> None:
    plain = Path(shutil.copy(HOLES / "refusing.py", tmp_path))
    with without_remedy(tmp_path / "plain", plain, plain_upstream) as status:
        assert status() == 401
        change(plain)
        wait_for(lambda: status() == 200, "the hole is there")

    script = copy_of_the_script(tmp_path / "copy")
    proxy = start_proxy(scripts=(script,))
    _, token = tenant.token()
    assert chat(sdk(proxy, token)).choices
    answered = len(upstream.requests)
    change(script)
    wait_for(lambda: ask(proxy) == 503, "the seal refuses")
    assert ask(proxy, token) == 503
    assert len(upstream.requests) == answered


def test_reload_that_works_keeps_the_calls_under_way(
    tmp_path: Path, start_proxy: StartProxy, tenant: Tenant, upstream: Upstream
) -> None:
    go_on = threading.Event()
    first, *rest = chat_chunks()
    plain_answer = upstream.handler
    upstream.handler = lambda seen: stream_answer([first, go_on, *rest])
    script = copy_of_the_script(tmp_path / "copy")
    proxy = start_proxy(scripts=(script,))
    _, token = tenant.token()
    stream = iter(chat(sdk(proxy, token), stream=True))
    next(stream)
    before = set(proxy.spool.glob("*.jsonl"))
    touch(script)
    wait_for(lambda: set(proxy.spool.glob("*.jsonl")) - before, "the script is loaded again")
    go_on.set()
    assert len(list(stream)) == len(rest) - 2, "all but the usage and the end"
    upstream.handler = plain_answer
    assert chat(reverse_sdk(proxy, token)).choices
    streamed, plain = sorted(proxy.wait_calls(2), key=lambda call: str(call["timestamp"]))
    assert streamed["outcome"] == plain["outcome"] == "ok"
    assert streamed["usage"]["total_tokens"] == 14


@pytest.mark.parametrize("option", ["hole_limit=abc", "hole_limitt=1"])
def test_options_that_are_wrong_are_a_hole_in_plain_scripts(
    option: str, tmp_path: Path, plain_upstream: Upstream
) -> None:
    """A value of the wrong type drops the script; an unknown name is ignored. Ours stop the start instead
    (see test_options_that_stop_the_start)."""
    script = HOLES / "option.py"
    with without_remedy(tmp_path / "plain", script, plain_upstream, option) as status:
        assert status() == (200 if option.endswith("abc") else 401), "the proxy started, and said nothing"


def test_option_changed_while_running_is_refused(
    start_proxy: StartProxy, tenant: Tenant, tmp_path: Path
) -> None:
    """Another script that sets an unsafe option at run time gets no calls through."""
    setter = tmp_path / "setter.py"
    setter.write_text(
        "from mitmproxy import ctx\n"
        "class Setter:\n"
        "    def running(self):\n"
        "        try:\n            ctx.options.update(ssl_insecure=True)\n"
        "        except Exception as error:\n            print('refused:', error, flush=True)\n"
        "addons = [Setter()]\n"
    )
    proxy = start_proxy(scripts=(SCRIPT, setter))
    wait_for(lambda: "refused: llmproxy: option ssl_insecure" in proxy.output, "the option is refused")
    assert chat(sdk(proxy, tenant.token()[1])).choices
