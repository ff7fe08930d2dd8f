"""The short-lived proxy of ``llmproxy run``."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.client.proxy_process import OwnProxy, command
from store.database.location import StoreLocation


@pytest.mark.parametrize(
    ("given", "expected"), [((), "llm_workers=thread"), (("llm_workers=process",), "llm_workers=process")]
)
def test_it_starts_no_process_that_reads_calls_unless_it_is_told_to(
    tmp_path: Path, given: tuple[str, ...], expected: str
) -> None:
    proxy = OwnProxy(StoreLocation.of(tmp_path / "store.db"), tmp_path / "spool", given)
    found = [part for part in command(proxy._listening) if part.startswith("llm_workers=")]
    assert found == [expected]
