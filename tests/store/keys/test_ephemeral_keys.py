"""Ephemeral keys of our own: sealed by one process, opened by another, and by nobody else."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.core.errors import KeyUnavailable
from store.core.secret import Secret
from store.keys import ephemeral_keys as minted
from store.keys import master_key
from store.keys.ephemeral_keys import PREFIX, EphemeralKey, EphemeralKeyMaker
from store.tokens.store import TokenStore

MINTED = EphemeralKey(
    Secret("ek_of_the_api"), "ab" * 32, 1756310470, "api.openai.com", "realtime", "gpt-realtime"
)


@pytest.fixture
def keyed(path: Path, store: TokenStore) -> Path:
    store.keys.make_master()
    return path


def test_another_process_opens_it_and_nobody_reads_it(keyed: Path) -> None:
    text = EphemeralKeyMaker(keyed).seal(MINTED).reveal()
    assert EphemeralKeyMaker(keyed).open(text) == MINTED
    assert EphemeralKeyMaker(keyed).open(
        EphemeralKeyMaker(keyed).seal(replace(MINTED, model=None)).reveal()
    ) == replace(MINTED, model=None)
    sealed = base64.urlsafe_b64decode(text.removeprefix(PREFIX) + "==")
    for part in (MINTED.secret.reveal(), MINTED.fingerprint, MINTED.host):
        assert part.encode() not in sealed
    assert text != EphemeralKeyMaker(keyed).seal(MINTED).reveal()
    assert len(text) < 600, "it has to fit into a header"


def test_what_was_changed_does_not_open(keyed: Path) -> None:
    mint = EphemeralKeyMaker(keyed)
    text = mint.seal(MINTED).reveal()
    for at in range(len(PREFIX), len(text), 7):
        other = "A" if text[at] != "A" else "B"
        assert mint.open(text[:at] + other + text[at + 1 :]) != MINTED or at == len(text) - 1
    for junk in ("", PREFIX, PREFIX + "!!", PREFIX + "AAAA", text[:-9], PREFIX + "A" * 9999, "sk-llmp-x"):
        assert mint.open(junk) is None


@given(st.text(max_size=60))
def test_any_text_opens_to_nothing(junk: str) -> None:
    mint = EphemeralKeyMaker(Path("/nowhere/store.db"))
    assert mint.open(PREFIX + junk) is None


def test_without_a_master_key_nothing_is_sealed(path: Path, store: TokenStore) -> None:
    with pytest.raises(KeyUnavailable, match="keys init"):
        EphemeralKeyMaker(path).check()
    with pytest.raises(KeyUnavailable, match="keys init"):
        EphemeralKeyMaker(path).seal(MINTED)
    store.keys.make_master()
    EphemeralKeyMaker(path).check()


def test_rotation_of_the_master_key(keyed: Path, store: TokenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is sealed with the new one opens at once; with the old one as long as that is kept."""
    monkeypatch.setattr(minted, "RETRY_SECONDS", 0.0)
    mint = EphemeralKeyMaker(keyed)
    before = mint.seal(MINTED).reveal()
    assert mint.open(before) == MINTED
    store.create_project("acme", "sk-real-1234567890")
    store.keys.rotate(keep_old=True)
    after = mint.seal(MINTED).reveal()
    known = master_key.load(keyed)
    assert known
    assert bytes.fromhex(known.primary.id) == minted.base64.urlsafe_b64decode(after[8:16] + "==")[:4]
    assert (mint.open(after), mint.open(before)) == (MINTED, MINTED)
    store.keys.rotate()
    assert EphemeralKeyMaker(keyed).open(before) is None
