from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from store.core.errors import DamagedRow, Invalid, StoreUnavailable
from store.database.location import StoreLocation
from store.tokens import limits
from store.tokens.lookup import Lookup, Reason, check
from store.tokens.lookups import lookup_of
from store.tokens.store import TokenStore
from tests.store.engines import found, let_it_hold
from tests.store.uses import use

KEY = "sk-live-1234567890"
NOW = datetime(2026, 5, 1, tzinfo=UTC)


@pytest.fixture
def lookup(place: StoreLocation, store: TokenStore) -> Iterator[Lookup]:
    store.create_project("acme", KEY)
    lookup = lookup_of(place)
    yield lookup
    lookup.close()


def in_another_process(place: StoreLocation, code: str) -> None:
    """Wait for it, and then as long as it may take until that holds here."""
    setup = "import sys, store.tokens.store as t; s = t.TokenStore.open(sys.argv[1])"
    where = place.url.reveal() if place.url else str(place)
    subprocess.run([sys.executable, "-c", f"{setup}; {code}", where], check=True, timeout=60)
    let_it_hold(place)


def test_find(store: TokenStore, lookup: Lookup) -> None:
    token, text = store.create_token("acme", metadata={"team": "search"})
    grant = found(lookup, text.reveal())
    assert grant
    assert grant.token == token
    assert store.keys.read(grant.project.id, grant.project.key).reveal() == KEY
    assert found(lookup, text.reveal()) is grant, "from memory"
    with pytest.raises(TypeError):
        grant.token.metadata["team"] = "other"  # type: ignore[index]
    for wrong in (
        "",
        "sk-proxy-",
        text.reveal() + "x",
        text.reveal()[:-1],
        "\ud800",
        "x" * 10_000_000,
        token.id,
    ):
        assert found(lookup, wrong) is None


def test_a_projects_end_is_that_of_its_tokens(store: TokenStore, lookup: Lookup) -> None:
    _, text = store.create_token("acme")
    now = datetime.now(UTC)
    store.update_project("acme", limits=limits.of({"expires_at": "1h"}))
    grant = found(lookup, text.reveal())
    assert grant
    assert check(grant, now) is None
    assert check(grant, now + timedelta(hours=2)) is Reason.EXPIRED
    with pytest.raises(Invalid, match="for projects"):
        store.create_token("acme", limits=limits.of({"expires_at": "1h"}))


def test_changes_of_another_process_hold_at_once(
    place: StoreLocation, store: TokenStore, lookup: Lookup
) -> None:
    token, text = store.create_token("acme")

    def reason() -> Reason | None:
        grant = found(lookup, text.reveal())
        assert grant
        return check(grant, NOW)

    assert reason() is None
    in_another_process(place, "s.deactivate_project('acme')")
    assert reason() is Reason.PROJECT_INACTIVE
    in_another_process(place, "s.activate_project('acme')")
    assert reason() is None
    in_another_process(place, "s.update_project('acme', api_key='sk-rotated')")
    grant = found(lookup, text.reveal())
    assert grant
    assert store.keys.read(grant.project.id, grant.project.key).reveal() == "sk-rotated"
    in_another_process(place, f"s.revoke_token({token.id!r})")
    assert reason() is Reason.REVOKED


def test_counting_does_not_empty_the_memory(store: TokenStore, lookup: Lookup) -> None:
    token, text = store.create_token("acme")
    grant = found(lookup, text.reveal())
    use(store, token.id, NOW)
    assert found(lookup, text.reveal()) is grant


def test_order_of_reasons(store: TokenStore, lookup: Lookup) -> None:
    token, text = store.create_token("acme", expires_at=NOW - timedelta(seconds=1))
    store.revoke_token(token.id)
    store.deactivate_project("acme")
    grant = found(lookup, text.reveal())
    assert grant
    assert check(grant, NOW) is Reason.REVOKED
    # Nothing is unrevoked: a second token shows the rest.
    store.activate_project("acme")
    _, text = store.create_token("acme", expires_at=NOW)
    store.deactivate_project("acme")
    grant = found(lookup, text.reveal())
    assert grant
    assert check(grant, NOW) is Reason.EXPIRED
    assert check(grant, NOW - timedelta(seconds=1)) is Reason.PROJECT_INACTIVE


def test_a_store_that_goes_and_comes_back(path: Path, store: TokenStore, lookup: Lookup) -> None:
    _, text = store.create_token("acme")
    assert found(lookup, text.reveal())
    aside = path.with_suffix(".aside")
    path.rename(aside)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            found(lookup, text.reveal())
    aside.rename(path)
    assert found(lookup, text.reveal())


def test_a_store_that_is_replaced(path: Path, store: TokenStore, lookup: Lookup, tmp_path: Path) -> None:
    """A restored backup: the tokens of the file that is there now count, not those in memory."""
    _, text = store.create_token("acme")
    assert found(lookup, text.reveal())
    other = TokenStore.open(tmp_path / "other.db")
    other.close()
    for leftover in path.parent.glob("store.db-*"):
        leftover.unlink()
    (tmp_path / "other.db").replace(path)
    assert found(lookup, text.reveal()) is None


def test_two_texts_of_one_token(place: StoreLocation, store: TokenStore, lookup: Lookup) -> None:
    token, first = store.create_token("acme")
    assert found(lookup, first.reveal())
    _, second = store.rotate_token(token.id, overlap=timedelta(hours=1))
    new, old = found(lookup, second.reveal()), found(lookup, first.reveal())
    assert new
    assert old
    assert new.token == old.token
    now = datetime.now(UTC)
    assert check(new, now) is check(old, now) is None
    later = now + timedelta(hours=2)
    assert (check(new, later), check(old, later)) == (None, Reason.REPLACED)

    in_another_process(place, f"import datetime as d; s.rotate_token({token.id!r}, overlap=d.timedelta(0))")
    assert found(lookup, first.reveal()) is None, "there are two at most"
    ended = found(lookup, second.reveal())
    assert ended
    assert check(ended, datetime.now(UTC)) is Reason.REPLACED
    store.revoke_token(token.id)
    let_it_hold(place)
    ended = found(lookup, second.reveal())
    assert ended
    assert check(ended, NOW) is Reason.REVOKED


@pytest.mark.parametrize(
    ("column", "value"), [("metadata", "not json"), ("limits", "[]"), ("created_at", "yesterday")]
)
def test_a_damaged_row_is_that_tokens_alone(
    column: str, value: str, place: StoreLocation, store: TokenStore, lookup: Lookup
) -> None:
    """It is named; lists and other tokens go on, and so does the token once it is put right."""
    (damaged, text), (whole, whole_text) = store.create_token("acme"), store.create_token("acme")
    update = f"UPDATE tokens SET {column} = :value WHERE id = :id"
    before = store._connection.rows("SELECT * FROM tokens WHERE id = :id", id=damaged.id)[0][column]
    store._connection.run(update, value=value, id=damaged.id)
    let_it_hold(place)
    with pytest.raises(DamagedRow, match=f"token {damaged.id}: "):
        found(lookup, text.reveal())
    assert found(lookup, whole_text.reveal()) is not None
    named: list[DamagedRow] = []
    listed = store.list_tokens("acme", on_damaged=named.append)
    assert ([token.id for token in listed], len(named)) == ([whole.id], 1)
    store._connection.run(update, value=before, id=damaged.id)
    let_it_hold(place)
    assert found(lookup, text.reveal()) is not None


def test_a_damaged_project_is_that_projects_alone(
    place: StoreLocation, store: TokenStore, lookup: Lookup
) -> None:
    other = store.create_project("other", KEY).id
    texts = [store.create_token(name)[1].reveal() for name in ("acme", "other")]
    store._connection.run("UPDATE projects SET metadata = '7' WHERE name = 'acme'")
    let_it_hold(place)
    with pytest.raises(DamagedRow, match=r"project .*: a column cannot be read"):
        found(lookup, texts[0])
    assert found(lookup, texts[1]) is not None
    assert [each.id for each in store.list_projects()] == [other]
