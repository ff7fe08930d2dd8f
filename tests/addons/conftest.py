"""What tests of the addons share."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from mitmproxy.http import MessageData


@pytest.fixture(autouse=True)
def _process_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undo what a start of the proxy does to its whole process (:mod:`addons.mitm.trim`)."""
    monkeypatch.setattr(MessageData, "__post_init__", MessageData.__post_init__)
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
