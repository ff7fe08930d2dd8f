"""Project keys at rest: encrypted, rotated, moved from plain text, and bound to their project."""

from __future__ import annotations

import base64
import contextlib
import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from store.core.errors import Conflict, Invalid, KeyUnavailable
from store.keys import master_key
from store.tokens.store import TokenStore

KEY = "sk-live-1234567890"
A = base64.b64encode(b"a" * 32).decode()
B = base64.urlsafe_b64encode(b"\xff" * 32).decode().rstrip("=")


@pytest.fixture(autouse=True)
def without_master_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(master_key.VARIABLE, raising=False)
    monkeypatch.delenv(master_key.FILE_VARIABLE, raising=False)


def column(path: Path) -> dict[str, str]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return dict(connection.execute("SELECT name, api_key FROM projects"))


def set_column(path: Path, name: str, value: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE projects SET api_key = ? WHERE name = ?", [value, name])


def keys_of(store: TokenStore) -> dict[str, str]:
    return {project.name: store.api_key(project.id).reveal() for project in store.list_projects()}


def test_a_copied_store_alone_tells_no_key(path: Path, store: TokenStore) -> None:
    project = store.create_project("acme", KEY)
    assert project.key.kind == "encrypted"
    assert KEY not in repr(project) + repr(project.key)
    files = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    assert KEY.encode() not in b"".join(files.values())
    assert "store.key" in files
    assert stat.S_IMODE((path.parent / "store.key").stat().st_mode) == 0o600
    assert store.api_key("acme").reveal() == KEY


def test_a_key_opens_for_its_own_project_only(path: Path, store: TokenStore) -> None:
    store.create_project("rich", KEY)
    store.create_project("poor", "sk-other")
    set_column(path, "poor", column(path)["rich"])
    with pytest.raises(KeyUnavailable, match="another project's"):
        store.api_key("poor")
    with pytest.raises(KeyUnavailable, match="another project's"):
        store.keys.check()
    sealed = column(path)["rich"]
    set_column(path, "rich", sealed[:-6] + ("AAAA==" if sealed[-6:] != "AAAA==" else "BBBB=="))
    with pytest.raises(KeyUnavailable, match="damaged"):
        store.api_key("rich")


def test_the_same_key_never_looks_the_same_twice(path: Path, store: TokenStore) -> None:
    store.create_project("acme", KEY)
    before = column(path)["acme"]
    store.update_project("acme", api_key=KEY)
    assert column(path)["acme"] != before


@pytest.mark.parametrize("text", [A, A.rstrip("="), B])
def test_a_master_key_in_the_environment(
    path: Path, store: TokenStore, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv(master_key.VARIABLE, text)
    store.create_project("acme", KEY)
    assert store.api_key("acme").reveal() == KEY
    assert not master_key.beside(path).exists()
    with pytest.raises(Conflict, match="unset it"):
        store.keys.make_master()


@pytest.mark.parametrize("text", ["short", A[:-5], "!" * 44, A + A])
def test_what_is_no_master_key(store: TokenStore, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(master_key.VARIABLE, text)
    with pytest.raises(KeyUnavailable, match="LLMPROXY_MASTER_KEY holds no master key") as raised:
        store.create_project("acme", KEY)
    assert text not in str(raised.value)
    assert store.list_projects() == []


def test_a_file_that_was_named_is_not_made_unasked(
    path: Path, store: TokenStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "elsewhere" / "key"
    monkeypatch.setenv(master_key.FILE_VARIABLE, str(file))
    with pytest.raises(KeyUnavailable, match="`llmproxy keys init` makes it"):
        store.create_project("acme", KEY)
    assert store.keys.make_master().file == file
    with pytest.raises(Conflict, match="rotate"):
        store.keys.make_master()
    store.create_project("acme", KEY)
    assert not master_key.beside(path).exists()
    monkeypatch.setenv(master_key.VARIABLE, A)
    with pytest.raises(KeyUnavailable, match="both set"):
        store.api_key("acme")


def test_a_master_key_that_is_missing_or_wrong(
    path: Path, store: TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.create_project("acme", KEY)
    master_key.beside(path).rename(path.with_suffix(".aside"))
    for attempt in (
        store.keys.check,
        store.keys.make_master,
        store.keys.rotate,
        lambda: store.api_key("acme"),
        lambda: store.create_project("other", KEY),
    ):
        with pytest.raises(KeyUnavailable, match="missing"):
            attempt()
    monkeypatch.setenv(master_key.VARIABLE, A)
    for attempt in (store.keys.check, lambda: store.create_project("other", KEY)):
        with pytest.raises(KeyUnavailable, match="master key is wrong"):
            attempt()
    assert [project.name for project in store.list_projects()] == ["acme"], "no second master key came in"
    assert not master_key.beside(path).exists()


def test_plain_keys_of_earlier_versions_work_and_are_encrypted_when_asked(
    path: Path, store: TokenStore
) -> None:
    for name in ("acme", "other"):
        store.create_project(name, KEY)
        set_column(path, name, f"plain:{KEY}-{name}")
    master_key.beside(path).unlink()
    assert store.get_project("acme").key.kind == "plain"
    assert keys_of(store) == {"acme": f"{KEY}-acme", "other": f"{KEY}-other"}
    assert store.keys.check() == 2
    assert store.keys.encrypt() == 2
    assert store.keys.check() == store.keys.encrypt() == 0
    assert keys_of(store) == {"acme": f"{KEY}-acme", "other": f"{KEY}-other"}
    assert KEY.encode() not in b"".join(file.read_bytes() for file in path.parent.iterdir())


def test_rotation(path: Path, store: TokenStore) -> None:
    store.create_project("acme", KEY)
    store.create_project("by reference", "env:SOMETHING")
    old, before = column(path), master_key.beside(path).read_text()
    done = store.keys.rotate()
    assert done.encrypted == 1
    assert store.api_key("acme").reveal() == KEY
    assert column(path)["acme"].startswith(f"aesgcm:v1:{done.master}:")
    assert column(path)["by reference"] == "env:SOMETHING"
    after = master_key.beside(path).read_text()
    assert not set(before.splitlines()[1:]) & set(after.splitlines()), "the old key is gone"
    kept = store.keys.rotate(keep_old=True)
    loaded = master_key.load(path)
    assert loaded
    assert [key.id for key in loaded.keys] == [kept.master, done.master]
    set_column(path, "acme", old["acme"])
    with pytest.raises(KeyUnavailable, match="wrong"):
        store.api_key("acme")
    assert stat.S_IMODE(master_key.beside(path).stat().st_mode) == 0o600


def test_rotation_from_the_environment(
    path: Path, store: TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(master_key.VARIABLE, A)
    store.create_project("acme", KEY)
    with pytest.raises(Conflict, match="NEW,OLD"):
        store.keys.rotate()
    monkeypatch.setenv(master_key.VARIABLE, f"{B},{A}")
    assert store.api_key("acme").reveal() == KEY
    store.keys.rotate()
    monkeypatch.setenv(master_key.VARIABLE, B)
    assert store.api_key("acme").reveal() == KEY


def test_a_rotation_that_fails_leaves_every_key_readable(
    path: Path, store: TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.create_project("acme", KEY)
    store.create_project("broken", "sk-other")
    good = column(path)["broken"]
    set_column(path, "broken", column(path)["acme"])
    with pytest.raises(KeyUnavailable):
        store.keys.rotate()
    set_column(path, "broken", good)
    assert keys_of(store) == {"acme": KEY, "broken": "sk-other"}


def test_rotations_and_new_keys_at_the_same_time_lose_none(path: Path, store: TokenStore) -> None:
    store.create_project("first", "sk-first")
    failures: list[BaseException] = []

    @contextlib.contextmanager
    def own_store() -> Iterator[TokenStore]:
        mine = TokenStore.open(path)
        try:
            yield mine
        except BaseException as error:
            failures.append(error)
        finally:
            mine.close()

    def rotate() -> None:
        with own_store() as mine:
            for _ in range(5):
                mine.keys.rotate()

    def create(worker: int) -> None:
        with own_store() as mine:
            for number in range(5):
                mine.create_project(f"{worker}-{number}", f"sk-{worker}-{number}")

    # Of one process: their temporary files must not meet either.
    threads = [threading.Thread(target=rotate) for _ in range(2)]
    threads += [threading.Thread(target=create, args=[worker]) for worker in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    expected = {f"{w}-{n}": f"sk-{w}-{n}" for w in range(2) for n in range(5)}
    assert keys_of(store) == {"first": "sk-first", **expected}
    loaded = master_key.load(path)
    assert loaded
    assert len(loaded.keys) == 1
    leftover = [name for name in os.listdir(path.parent) if name.startswith(".")]  # noqa: PTH208
    assert leftover == []


def test_a_token_is_no_key(store: TokenStore) -> None:
    store.create_project("acme", KEY)
    _, text = store.create_token("acme")
    for given in (text.reveal(), "sk-proxy-anything"):
        with pytest.raises(Invalid, match="real key") as raised:
            store.create_project("other", given)
        assert text.reveal() not in str(raised.value)


@pytest.mark.parametrize(
    "reference",
    [
        "env:",
        "env:A B",
        "env:1A",
        "file:relative",
        "file:/a\nb",
        "aws-sm:",
        "aws-sm:a b",
        "aws-ssm:",
        "aws-sm:a#",
    ],
)
def test_references_of_the_wrong_form(store: TokenStore, reference: str) -> None:
    with pytest.raises(Invalid, match="write "):
        store.create_project("acme", reference)


@pytest.mark.parametrize(
    "reference",
    [
        "env:OPENAI_KEY",
        "file:/run/secrets/openai key",
        "aws-sm:prod/openai",
        "aws-sm:arn:aws:secretsmanager:eu-central-1:123456789012:secret:prod/openai-AbCdEf#key",
        "aws-ssm:/prod/openai",
        "aws-ssm:arn:aws-cn:ssm:cn-north-1:123456789012:parameter/prod/openai",
    ],
)
def test_references_are_kept_as_they_are(path: Path, store: TokenStore, reference: str) -> None:
    assert store.create_project("acme", reference).key.kind == reference
    assert column(path) == {"acme": reference}
    assert not master_key.beside(path).exists(), "no key, no master key"


@pytest.mark.parametrize("name", ["store.key", "store"])
def test_the_master_key_never_takes_the_place_of_the_store(tmp_path: Path, name: str) -> None:
    path = tmp_path / "real" / name
    store = TokenStore.open(path)
    store.create_project("acme", KEY)
    store.close()
    assert master_key.beside(path) != path
    link = tmp_path / "link.db"
    link.symlink_to(path)
    linked = TokenStore.open(link)
    assert linked.api_key("acme").reveal() == KEY, "the key is next to the file, not to the link"
    linked.close()
