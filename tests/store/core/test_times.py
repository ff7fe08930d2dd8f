"""How people write times."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from store.core import times
from store.core.errors import Invalid


@pytest.mark.parametrize("text", ["2020-01-31", "2020-01-31T12:00:00Z", "0s", "0d"])
def test_an_end_in_the_past_is_refused(text: str) -> None:
    assert times.expiry(text) is not None, "it can be read"
    with pytest.raises(Invalid, match="in the past"):
        times.coming(text)


@pytest.mark.parametrize("text", ["30d", "2099-01-31"])
def test_an_end_to_come_is_taken(text: str) -> None:
    moment = times.coming(text)
    assert moment is not None
    assert moment > datetime.now(UTC)


def test_never_is_no_end() -> None:
    assert times.coming("never") is None
