from __future__ import annotations

import pytest

from store.core.urls import NOTHING, split_url


@pytest.mark.parametrize("url", ["http://[", "https://[::1/v1", "//]x", "http://h:99999", "redis://h:x/0"])
def test_what_cannot_be_read_has_no_parts(url: str) -> None:
    assert split_url(url) == NOTHING


def test_what_can() -> None:
    parts = split_url("https://user@[::1]:8443/v1?a=b")
    assert (parts.hostname, parts.port, parts.path, parts.query) == ("::1", 8443, "/v1", "a=b")
    assert split_url("redis+sentinel://:secret@a:1,b:2/main").netloc == ":secret@a:1,b:2"
    assert split_url("/v1/models").path == "/v1/models"
