from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from store.errors import StoreUnavailable
from store.quota import QuotaClerk
from store.tokens import TokenStore

KEY = "sk-live-1234567890"


@pytest.fixture
def clerk(path: Path, store: TokenStore) -> Iterator[QuotaClerk]:
    store.create_project("acme", KEY)
    clerk = QuotaClerk(path)
    yield clerk
    clerk.close()


def test_as_many_as_the_quota_says(store: TokenStore, clerk: QuotaClerk) -> None:
    token, _ = store.create_token("acme", max_requests=3)
    claims: list[Future[bool]] = [clerk.claim(token.id) for _ in range(10)]
    assert [claim.result(10) for claim in claims] == [True] * 3 + [False] * 7
    assert store.get_token(token.id).request_count == 3


def test_asking_uses_nothing_up(store: TokenStore, clerk: QuotaClerk) -> None:
    token, _ = store.create_token("acme", max_requests=1)
    assert clerk.claim(token.id, consume=False).result(10)
    assert clerk.claim(token.id).result(10)
    assert not clerk.claim(token.id, consume=False).result(10)


def test_a_raised_quota_counts_what_was_used(store: TokenStore, clerk: QuotaClerk) -> None:
    token, _ = store.create_token("acme", max_requests=1)
    assert clerk.claim(token.id).result(10)
    store.update_token(token.id, max_requests=2)
    assert [clerk.claim(token.id).result(10) for _ in range(2)] == [True, False]


def test_an_unknown_token_has_no_quota(clerk: QuotaClerk) -> None:
    assert not clerk.claim("nobody").result(10)


def test_exact_over_processes(path: Path, store: TokenStore) -> None:
    """Four processes claim 1,000 calls of a quota of 500."""
    store.create_project("acme", KEY)
    token, _ = store.create_token("acme", max_requests=500)
    code = (
        "import sys, pathlib; from store.quota import QuotaClerk\n"
        "clerk = QuotaClerk(pathlib.Path(sys.argv[1]))\n"
        "claims = [clerk.claim(sys.argv[2]) for _ in range(250)]\n"
        "print(sum(claim.result(60) for claim in claims))"
    )
    command = [sys.executable, "-c", code, str(path), token.id]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    granted = [int(process.communicate(timeout=120)[0]) for process in processes]
    assert sum(granted) == 500
    assert store.get_token(token.id).request_count == 500


def test_a_store_that_is_gone_and_back(path: Path, store: TokenStore, clerk: QuotaClerk) -> None:
    token, _ = store.create_token("acme", max_requests=5)
    aside = path.with_suffix(".aside")
    path.rename(aside)
    with pytest.raises(StoreUnavailable):
        clerk.claim(token.id).result(10)
    aside.rename(path)
    assert clerk.claim(token.id).result(10)
