"""Values that the store takes, and those that it refuses."""

from __future__ import annotations

import pytest

from store.core.errors import Invalid
from store.tokens import validation


@pytest.mark.parametrize(
    "masked", ["sk-...xyz", "sk-proj-****abcd", "****", "sk-…wxyz", "sk-•••••xyz", "sk-proj-abc...", "..."]
)
def test_a_masked_key_is_no_key(masked: str) -> None:
    with pytest.raises(Invalid, match="is masked") as caught:
        validation.api_key(masked)
    assert masked not in str(caught.value)


@pytest.mark.parametrize("key", ["sk-proj-" + "a" * 40, "a.b.c", "x*y", "sk-a..b"])
def test_a_whole_key_is_taken(key: str) -> None:
    assert validation.api_key(key) == key
