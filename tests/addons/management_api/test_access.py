from __future__ import annotations

from pathlib import Path

import pytest
from mitmproxy import exceptions

from addons.management_api import access
from addons.management_api.access import FILE_VARIABLE, VARIABLE, Attempts, is_allowed, management_token
from store.core.secret import Secret

TOKEN = "f2c5a1" * 8


def test_where_the_token_comes_from(tmp_path: Path) -> None:
    assert management_token({}) is management_token({VARIABLE: "", FILE_VARIABLE: ""}) is None
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    for environment in ({VARIABLE: TOKEN}, {FILE_VARIABLE: str(file)}):
        assert management_token(environment) == Secret(TOKEN)


@pytest.mark.parametrize("token", ["short", "x" * 31, "x" * 40 + " y", "ключ" * 10, "x\n" * 20, " "])
@pytest.mark.parametrize("by_file", [True, False])
def test_what_is_no_token_stops_the_start_and_is_not_shown(tmp_path: Path, token: str, by_file: bool) -> None:
    file = tmp_path / "file"
    file.write_text(token)
    environment = {FILE_VARIABLE: str(file)} if by_file else {VARIABLE: token}
    with pytest.raises(exceptions.OptionsError) as caught:
        management_token(environment)
    assert "openssl rand" in str(caught.value)
    assert token.strip() not in str(caught.value).replace(str(file), "") or not token.strip()


def test_what_is_missing_or_said_twice_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(exceptions.OptionsError, match="No such file"):
        management_token({FILE_VARIABLE: str(tmp_path / "none")})
    with pytest.raises(exceptions.OptionsError, match="both set"):
        management_token({VARIABLE: TOKEN, FILE_VARIABLE: "/x"})


@pytest.mark.parametrize(
    ("authorization", "allowed"),
    [
        (f"Bearer {TOKEN}", True),
        (f"bearer  {TOKEN} ", True),
        (TOKEN, False),
        (f"Basic {TOKEN}", False),
        (f"Bearer {TOKEN[:-1]}", False),
        (f"Bearer {TOKEN}x", False),
        (f"Bearer {TOKEN.upper()}", False),
        ("Bearer", False),
        ("Bearer é", False),
        ("", False),
    ],
)
def test_who_may(authorization: str, allowed: bool) -> None:
    assert is_allowed(authorization, Secret(TOKEN)) is allowed


def test_guessing_soon_costs_the_store_nothing() -> None:
    now = [0.0]
    attempts = Attempts(lambda: now[0])
    attempts.succeeded("a good one")
    tries = 0
    while attempts.may_try("192.0.2.1", "wrong"):
        attempts.failed("192.0.2.1")
        tries += 1
        assert tries < 10_000
    assert not attempts.may_try("192.0.2.1", "another")
    assert attempts.may_try("192.0.2.1", "a good one"), "nobody locks out who shares an address"
    assert attempts.may_try("192.0.2.2", "wrong")
    assert attempts.may_try(None, "wrong")
    now[0] += 3600
    assert attempts.may_try("192.0.2.1", "wrong")


def test_no_more_is_remembered_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "MOST_ADDRESSES", 3)
    monkeypatch.setattr(access, "MOST_GOOD", 2)
    monkeypatch.setattr(access, "FAILURES", 1.0)
    attempts = Attempts(lambda: 0.0)
    for address in "abcd":
        attempts.failed(address)
    assert [attempts.may_try(address, "x") for address in "abcd"] == [True, False, False, False]
    for text in ("first", "second", "third"):
        attempts.succeeded(text)
    assert [attempts.may_try("d", text) for text in ("first", "second", "third")] == [False, True, True]
