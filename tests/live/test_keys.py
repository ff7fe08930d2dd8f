"""Project keys as running proxies use them."""

from __future__ import annotations

import base64
import contextlib
import sqlite3
from datetime import timedelta
from pathlib import Path

import openai
import pytest

from store.keys import master_key
from tests.live.clients import chat, reverse_sdk
from tests.live.conftest import REAL_KEY, StartProxy, Tenant
from tests.live.harness import Proxy, wait_for

WRONG = base64.b64encode(b"w" * 32).decode()


def test_keys_change_while_the_proxy_runs(start_proxy: StartProxy, tenant: Tenant, tmp_path: Path) -> None:
    store = tenant.store
    assert store.get_project("acme").key.kind == "encrypted"
    file = tmp_path / "real.key"
    file.write_text(REAL_KEY)
    proxy = start_proxy(environment={"RIGHT": REAL_KEY, "WRONG": "sk-wrong"})
    token_id, token = tenant.token(max_requests=100)
    client = reverse_sdk(proxy, token)
    assert chat(client).choices

    store.keys.rotate()
    assert chat(client).choices, "encrypted with another master key"
    for reference in ("env:RIGHT", f"file:{file}"):
        store.update_project("acme", api_key=reference)
        assert chat(client).choices
    store.update_project("acme", api_key="env:WRONG")
    with pytest.raises(openai.AuthenticationError, match="wrong key"):
        chat(client)
    used = store.get_token(token_id).request_count

    store.update_project("acme", api_key="env:NOT_THERE")
    for _ in range(3):
        with pytest.raises(openai.InternalServerError) as raised:
            chat(client)
        assert raised.value.status_code == 503
        assert raised.value.code == "key_unavailable"
        assert raised.value.response.headers["retry-after"] == "5"
    assert store.get_token(token_id).request_count == used, "a refused call uses no quota"
    said = "the key of project 'acme': env:NOT_THERE: the variable is not set"
    wait_for(lambda: said in proxy.output, "the reason in the log")
    assert proxy.output.count(said) == 1

    store.create_project("other", REAL_KEY)
    _, other = store.create_token("other")
    assert chat(reverse_sdk(proxy, other.reveal())).choices, "other projects go on"
    store.update_project("acme", api_key="env:RIGHT")
    assert chat(client).choices
    assert proxy.stop() == 0
    assert REAL_KEY not in proxy.output


@pytest.mark.parametrize("problem", ["missing", "wrong", "malformed"])
def test_without_its_master_key_the_proxy_does_not_start(
    tmp_path: Path, tenant: Tenant, problem: str
) -> None:
    environment = {}
    if problem == "missing":
        master_key.beside(tenant.store.path).unlink()
    else:
        environment[master_key.VARIABLE] = WRONG if problem == "wrong" else "secret"
    proxy = Proxy(tmp_path, environment=environment)
    proxy.launch()
    assert proxy.wait() == 1
    (line,) = [line for line in proxy.lines if "master key" in line]
    assert "llmproxy: option llm_store: " in line
    expected = {
        "missing": "the master key is missing",
        "wrong": "is wrong",
        "malformed": "holds no master key",
    }
    assert expected[problem] in line
    assert "Traceback" not in proxy.output
    assert WRONG not in proxy.output


def test_plain_keys_of_an_earlier_version_work_with_a_warning(
    start_proxy: StartProxy, tenant: Tenant
) -> None:
    with contextlib.closing(sqlite3.connect(tenant.store.path)) as connection, connection:
        connection.execute("UPDATE projects SET api_key = ?", [f"plain:{REAL_KEY}"])
    master_key.beside(tenant.store.path).unlink()
    proxy = start_proxy()
    client = reverse_sdk(proxy, tenant.token()[1])
    assert chat(client).choices
    wait_for(lambda: "holds 1 keys in plain text; `llmproxy keys encrypt`" in proxy.output, "the warning")
    assert tenant.store.keys.encrypt() == 1
    assert chat(client).choices


def test_a_token_is_rotated_while_the_proxy_runs(proxy: Proxy, tenant: Tenant) -> None:
    token_id, first = tenant.token(max_requests=3)
    assert chat(reverse_sdk(proxy, first)).choices
    _, second = tenant.store.rotate_token(token_id, overlap=timedelta(hours=1))
    assert chat(reverse_sdk(proxy, first)).choices
    assert chat(reverse_sdk(proxy, second.reveal())).choices
    with pytest.raises(openai.RateLimitError):
        chat(reverse_sdk(proxy, second.reveal()))  # the quota is the id's

    _, third = tenant.store.rotate_token(token_id, overlap=timedelta())
    for text, said in ((first, "not known"), (second.reveal(), "has been replaced")):
        with pytest.raises(openai.AuthenticationError, match=said):
            chat(reverse_sdk(proxy, text))
    tenant.store.update_token(token_id, max_requests=None)
    assert chat(reverse_sdk(proxy, third.reveal())).choices
    events = proxy.wait_calls(7)
    assert [event["token_id"] for event in events] == [token_id] * 4 + [None, *[token_id] * 2]
    used = wait_for(
        lambda: (token := tenant.store.get_token(token_id)).request_count == 4 and token, "the use is written"
    )
    assert used
    assert used.last_used_at
    assert used.last_used_from in ("127.0.0.1", "127.0.0.2")
