from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from store.tokens import TokenStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "store.db"


@pytest.fixture
def store(path: Path) -> Iterator[TokenStore]:
    store = TokenStore.open(path)
    yield store
    store.close()
