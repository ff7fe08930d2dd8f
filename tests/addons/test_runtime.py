"""What is opened and closed with the proxy (see also tests/live)."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from addons import runtime as module
from addons.openai.pricing import prices
from store.core.errors import StoreUnavailable
from tests.addons.hooks.gated import gated
from tests.live.harness import wait_for


@pytest.mark.parametrize("damage", ["deleted", "truncated", "garbage", "another"])
def test_a_store_that_goes_away_is_told_of_without_a_call(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with gated(tmp_path) as world:
        services = world.runtime.services
        assert services is not None
        token, file = world.token(), tmp_path / "store.db"
        assert world.ask(token).status == 0
        assert world.runtime.figures()["store_trouble"] is None
        kept = tmp_path / "kept.db"
        shutil.copy(file, kept)
        if damage == "another":
            file.unlink()
            file.mkdir()
        elif damage == "deleted":
            file.unlink()
        elif damage == "truncated":
            file.write_bytes(b"")
        else:
            garbage = tmp_path / "garbage"
            garbage.write_bytes(b"garbage " * 1000)
            garbage.replace(file)
        with pytest.raises(StoreUnavailable):
            services.lookup.ready()
        with pytest.raises(StoreUnavailable):
            services.lookup.ready()
        assert world.runtime.figures()["store_trouble"]
        assert caplog.text.count("calls are refused until the store can be read") == 1
        assert world.ask(token).code == "store_unavailable"
        if damage == "another":
            file.rmdir()
        kept.replace(file)
        services.lookup.ready()
        assert world.runtime.figures()["store_trouble"] is None
        assert "can be read again" in caplog.text


@pytest.mark.slow
def test_the_store_is_looked_at_while_nobody_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)
    with gated(tmp_path) as world:

        async def idle() -> None:
            world.runtime.running()
            (tmp_path / "store.db").unlink()
            while world.runtime.figures()["store_trouble"] is None:  # noqa: ASYNC110 - what finds it is a task
                await asyncio.sleep(0.01)

        asyncio.run(asyncio.wait_for(idle(), 20))
        assert "store.db" in str(world.runtime.figures()["store_trouble"])


def test_prices_are_there_before_the_first_call(tmp_path: Path) -> None:
    prices._bundled.cache_clear()
    with gated(tmp_path, llm_workers="thread"):
        wait_for(lambda: prices._bundled.cache_info().currsize > 0, "prices")
        assert prices._bundled.cache_info().misses == 1
