from __future__ import annotations

from pathlib import Path

import pytest

from store.core.errors import Invalid
from store.database.location import StoreLocation, from_environment


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("data/store.db", "data/store.db"),
        ("/var/lib/store.db", "/var/lib/store.db"),
        ("sqlite:///data/store.db", "data/store.db"),
        ("sqlite:////var/lib/store.db", "/var/lib/store.db"),
        ("~/store.db", str(Path("~/store.db").expanduser())),
    ],
)
def test_files(text: str, path: str) -> None:
    assert StoreLocation.of(text).path == Path(path)
    assert str(StoreLocation.of(text)) == path


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgres://ada:s3cret@db:5432/llm", "postgresql://ada@db:5432/llm"),
        ("mariadb://ada:s3cret@db/llm?ssl_ca=/a", "mysql://ada@db/llm?ssl_ca=/a"),
        ("postgresql://ada:s3cret@s3cret/s3cret#s3cret@db/llm", "postgresql://ada@db/llm"),
        ("postgresql://db/llm?user=a&password=s3cret", "postgresql://db/llm?user=a&password=***"),
        ("postgresql://db/llm?sslpassword=s3cret&x=1", "postgresql://db/llm?sslpassword=***&x=1"),
    ],
)
def test_servers_are_shown_without_the_password(url: str, shown: str) -> None:
    location = StoreLocation.of(url)
    assert str(location) == shown
    assert "s3cret" not in repr(location)
    assert location.path is None
    assert location.url
    assert "s3cret" in location.url.reveal()


@pytest.mark.parametrize(
    "text", ["", "  ", "oracle://ada:s3cret@db/llm", "sqlite://", "sqlite:///", "http://x"]
)
def test_what_is_no_place(text: str) -> None:
    with pytest.raises(Invalid, match="postgresql://USER@HOST/DATABASE") as raised:
        StoreLocation.of(text)
    assert "s3cret" not in str(raised.value)


def test_the_shown_url_of_the_environment_means_that_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is how a proxy's option names it: process listings and mitmweb show options."""
    monkeypatch.setenv("LLMPROXY_STORE", "postgresql://ada:s3cret@db/llm")
    found = StoreLocation.named("postgresql://ada@db/llm")
    assert found.url
    assert found.url.reveal() == "postgresql://ada:s3cret@db/llm"
    other = StoreLocation.named("postgresql://bob@db/llm")
    assert other.url
    assert other.url.reveal() == "postgresql://bob@db/llm"
    monkeypatch.delenv("LLMPROXY_STORE")
    assert from_environment().path == Path("data/store.db")
