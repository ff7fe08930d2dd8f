from __future__ import annotations

from pathlib import Path

import pytest

from addons.mitm.outgoing_proxy import parse_outgoing_proxy


@pytest.mark.parametrize(
    ("text", "shown", "via"),
    [
        ("http://proxy.example:3128", "http://proxy.example:3128", ("http", ("proxy.example", 3128))),
        ("https://proxy.example/", "https://proxy.example:443", ("https", ("proxy.example", 443))),
        ("http://[fd00::1]:8080", "http://[fd00::1]:8080", ("http", ("fd00::1", 8080))),
    ],
)
def test_proxies(text: str, shown: str, via: object) -> None:
    proxy = parse_outgoing_proxy(text)
    assert str(proxy) == shown
    assert proxy.via == via
    assert proxy.authorization is None


def test_credentials_come_from_the_environment_or_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "proxy"
    kept.write_text("http://ada:secret@proxy.example:3128\n")
    monkeypatch.setenv("WAY_OUT", kept.read_text())
    for text in ("env:WAY_OUT", f"file:{kept}"):
        proxy = parse_outgoing_proxy(text)
        assert proxy.authorization == "Basic YWRhOnNlY3JldA=="
        assert "secret" not in f"{proxy} {proxy!r}"


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("proxy.example:3128", "write it like"),
        ("socks5://proxy.example", "write it like"),
        ("http://proxy.example:0", "write it like"),
        ("http://proxy.example:99999", "write it like"),
        ("http://proxy.example/path", "write it like"),
        ("http://ada:secret@proxy.example:3128", "write env:NAME or file:/PATH"),
        ("env:NO_SUCH_VARIABLE", "not set"),
        ("file:/no/such/file", "No such file"),
    ],
)
def test_what_is_no_proxy(text: str, remedy: str) -> None:
    with pytest.raises(ValueError, match=remedy) as refused:
        parse_outgoing_proxy(text)
    assert "secret" not in str(refused.value)


def test_what_a_variable_holds_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAY_OUT", "ada:secret@proxy.example")
    with pytest.raises(ValueError, match="what it leads to") as refused:
        parse_outgoing_proxy("env:WAY_OUT")
    assert "secret" not in str(refused.value)
