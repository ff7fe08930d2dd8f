"""What a proxy refuses is in the audit log: by reason, address and token, bounded, and without secrets."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from store.audit.record import Record
from store.tokens import limits
from tests.live.clients import HELLO, MODEL, authorised
from tests.live.conftest import REAL_KEY, StartProxy, Tenant
from tests.live.harness import Proxy, wait_for
from tests.live.test_secrets import of_files

PAST = datetime.now(UTC) - timedelta(days=1)
REASONS = ("missing", "unknown", "revoked", "expired", "replaced", "network", "project_inactive")


def call(proxy: Proxy, token: str | None) -> int:
    headers = authorised(token) if token else {}
    body = {"model": MODEL, "messages": HELLO}
    url = f"{proxy.reverse_url}/v1/chat/completions"
    return httpx.post(url, headers=headers, json=body, trust_env=False, timeout=60).status_code


def refusals(tenant: Tenant) -> list[Record]:
    return [record for record in tenant.store.audit.records() if record.action == "auth.refused"]


def prepare(tenant: Tenant) -> dict[str, tuple[str | None, str | None]]:
    """For each reason the id, where it is known, and the text of a token that is refused for it."""
    revoked, replaced = tenant.token(), tenant.token()
    tenant.store.revoke_token(revoked[0])
    tenant.store.rotate_token(replaced[0], overlap=timedelta())
    other = tenant.store.create_project("other", "sk-other-0123456789abcdefghij")
    token, text = tenant.store.create_token("other")
    tenant.store.deactivate_project(other.id)
    return {
        "missing": (None, None),
        "unknown": (None, "sk-llmp-" + secrets.token_urlsafe(32)),
        "revoked": revoked,
        "expired": tenant.token(expires_at=PAST),
        "replaced": replaced,
        "network": tenant.token(limits=limits.of({"networks": ["10.0.0.0/8"]})),
        "project_inactive": (token.id, text.reveal()),
    }


def test_refused_authentications_are_on_record(start_proxy: StartProxy, tenant: Tenant) -> None:
    tokens = prepare(tenant)
    proxy = start_proxy()
    for reason in REASONS:
        assert call(proxy, tokens[reason][1]) in (401, 403), reason
    limited, text = tenant.token(max_requests=0)
    assert call(proxy, text) == 429, "no refused authentication"
    rows = wait_for(
        lambda: len(refusals(tenant)) >= len(REASONS) and refusals(tenant), "a row for each reason"
    )
    assert [(row.reason, row.token_id) for row in rows] == [(reason, tokens[reason][0]) for reason in REASONS]
    assert {(row.outcome, row.actor, row.address, row.count) for row in rows} == {
        ("refused", None, "127.0.0.1", 1)
    }
    assert [row.project_id is None for row in rows] == [token is None for token, _ in tokens.values()]
    for _ in range(20):
        call(proxy, tokens["revoked"][1])
    proxy.stop()
    assert [(row.reason, row.count) for row in refusals(tenant)[len(REASONS) :]] == [("revoked", 20)]
    assert limited not in {row.token_id for row in refusals(tenant)}
    assert tenant.store.audit.verify().whole
    texts = [REAL_KEY, *(text for _, text in tokens.values() if text)]
    found = b"\n".join(repr(row).encode() for row in tenant.store.audit.records())
    assert not [text for text in texts if text[14:26].encode() in found]
    assert not [
        text
        for text in texts
        if any(text[14:26].encode() in file for file in of_files(proxy.folder).values())
    ]


@pytest.mark.once
@pytest.mark.slow
def test_a_flood_of_invented_tokens_and_an_administrator_at_once(
    start_proxy: StartProxy, tenant: Tenant
) -> None:
    proxy = start_proxy()
    good = tenant.token()[1]
    url = f"{proxy.reverse_url}/v1/models"
    with httpx.Client(trust_env=False, timeout=60) as client, ThreadPoolExecutor(8) as pool:
        flood = pool.map(
            lambda _: client.get(url, headers=authorised(secrets.token_urlsafe(32))).status_code, range(400)
        )
        for _ in range(10):
            tenant.store.revoke_token(tenant.token()[0])
        assert set(flood) == {401}
    assert call(proxy, good) == 200
    proxy.stop()
    rows = refusals(tenant)
    assert sum(row.count for row in rows) == 400
    assert len(rows) <= 6, "one at once, one a minute, one at the end"
    assert tenant.store.audit.verify().whole
