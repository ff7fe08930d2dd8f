"""The store is backed up and moved to a server while a proxy works on it; calls go on there."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from store.keys import master_key
from tests.live.conftest import StartProxy, Tenant
from tests.live.harness import Proxy, wait_for
from tests.live.test_policy import manage
from tests.live.test_store_faults import Load
from tests.store.engines import server


@pytest.fixture
def with_master_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(master_key.VARIABLE, base64.b64encode(b"m" * 32).decode())


@pytest.mark.once
@pytest.mark.slow
def test_backup_restore_and_copy_under_load(
    with_master_key: None,
    start_proxy: StartProxy,
    tenant: Tenant,
    tmp_path: Path,
    authority_file: Path,
) -> None:
    token_id, token = tenant.token()
    proxy = start_proxy()
    load = Load(proxy, token)
    store, file = tmp_path / "store.db", tmp_path / "backup.db"
    try:
        load.wait_more("200")
        wait_for(lambda: tenant.store.get_token(token_id).request_count, "calls are counted")
        done = manage(store, "store", "backup", str(file))
        assert isinstance(done, dict)
        assert done["rows"]["tokens"] == 1
        load.wait_more("200")

        # Back into the store that the proxy works on: what came after the backup is undone.
        tenant.token()
        manage(store, "store", "restore", str(file), "--force")
        load.wait_more("200")
        assert [each.id for each in tenant.store.list_tokens()] == [token_id]
        assert all(row["ok"] for row in manage(store, "store", "check"))  # type: ignore[attr-defined]
    finally:
        load.end()
    assert set(load.seen) == {"200"}

    with server("postgresql").database() as url:
        manage(store, "store", "copy", "--to", url)
        folder = tmp_path / "second"
        folder.mkdir()
        with Proxy(folder, proxy.options, store_url=url) as second:
            moved = Load(second, token)
            try:
                moved.wait_more("200")
            finally:
                moved.end()
            assert set(moved.seen) == {"200"}
