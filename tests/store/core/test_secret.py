from __future__ import annotations

import copy
import json
import logging
import pickle

import pytest

from store.core.secret import Secret

KEY = "sk-live-1234567890"


def test_no_way_of_printing_shows_it(caplog: pytest.LogCaptureFixture) -> None:
    secret = Secret(KEY)
    logging.getLogger(__name__).warning("key %s %r", secret, secret)
    shown = [str(secret), repr(secret), f"{secret}", f"{secret:>20}", repr([secret]), caplog.text]
    assert not any(KEY in text for text in shown)
    assert secret.reveal() == KEY


def test_it_cannot_be_serialised() -> None:
    for serialise in (pickle.dumps, json.dumps):
        with pytest.raises(TypeError):
            serialise(Secret(KEY))
    assert not hasattr(Secret(KEY), "__dict__")


def test_it_equals_secrets_only() -> None:
    assert Secret(KEY) == Secret(KEY)
    assert Secret(KEY) != Secret("sk-other")
    assert Secret(KEY) != KEY
    assert len({Secret(KEY), Secret(KEY)}) == 1
    assert copy.deepcopy(Secret(KEY)) == Secret(KEY)
