"""Every change of the store is in its audit log, with who made it, and without secrets."""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from store.audit import log as audit_log
from store.audit.origin import Origin, address, of_process
from store.audit.record import Record
from store.core.errors import Conflict, Invalid, NotFound, StoreError
from store.database.engines import engine_of
from store.database.location import StoreLocation
from store.keys import master_key
from store.tokens.limits import Limits
from store.tokens.models import Selection, TokenOrder
from store.tokens.store import TokenStore
from tests.store.audit.conftest import written
from tests.store.earlier_schemas import make_earlier
from tests.store.uses import use

KEY = "sk-live-1234567890"
SOON = datetime(2027, 1, 31, tzinfo=UTC)


def last(store: TokenStore) -> Record:
    return list(store.audit.records())[-1]


def told(record: Record) -> tuple[str, str, str | None, Any, Any]:
    shown = record.as_dict()
    return record.action, record.outcome, record.reason, shown["before"], shown["after"]


def test_projects(store: TokenStore) -> None:
    project = store.create_project("acme", KEY)
    assert told(last(store)) == (
        "project.create",
        "success",
        None,
        None,
        {"name": "acme", "active": True, "key": "encrypted"},
    )
    store.update_project("acme", name="Acme", api_key="env:KEY")
    before = {"name": "acme", "key": "encrypted"}
    after = {"name": "Acme", "key": "env:KEY (set anew)"}
    assert told(last(store)) == ("project.update", "success", None, before, after)
    store.deactivate_project(project.id)
    assert told(last(store))[3:] == ({"active": True}, {"active": False})
    assert {record.project_id for record in store.audit.records()} == {project.id}
    assert store.audit.verify().whole


def test_tokens(store: TokenStore) -> None:
    project = store.create_project("acme", KEY)
    token, _ = store.create_token("acme", expires_at=SOON, max_requests=5, metadata={"team": "a"})
    assert told(last(store))[4] == {
        "active": True,
        "expires_at": "2027-01-31T00:00:00.000Z",
        "max_requests": 5,
        "metadata": {"team": "a"},
    }
    store.update_token(
        token.id, expires_at=None, metadata={"team": "b"}, limits=Limits(requests_per_minute=6)
    )
    action, *_, before, after = told(last(store))
    assert action == "token.update"
    assert before == {"expires_at": "2027-01-31T00:00:00.000Z", "metadata": {"team": "a"}, "limits": None}
    assert after == {"expires_at": None, "metadata": {"team": "b"}, "limits": {"requests_per_minute": 6}}
    store.rotate_token(token.id, overlap=timedelta(hours=1))
    action, *_, before, after = told(last(store))
    assert action == "token.rotate"
    assert list(after) == ["previous_ends_at"]
    store.revoke_token(token.id)
    assert told(last(store)) == ("token.revoke", "success", None, {"active": True}, {"active": False})
    assert {(row.project_id, row.token_id) for row in list(store.audit.records())[1:]} == {
        (project.id, token.id)
    }


def test_many_at_once_have_a_row_each(store: TokenStore) -> None:
    store.create_project("acme", KEY)
    made = store.create_tokens([TokenOrder("acme", metadata={"team": "a"})] * 3)
    ids = [token.id for token, _ in made]
    assert [row.token_id for row in store.audit.records()][1:] == ids
    store.revoke_tokens(Selection("acme", {"team": "a"}))
    rows = list(store.audit.records())[4:]
    assert [(row.action, row.token_id) for row in rows] == [("token.revoke", each) for each in ids]
    assert rows[0].reason == "all with project=acme, metadata.team=a"
    store.revoke_tokens(Selection("acme"))
    assert told(last(store)) == ("token.revoke", "success", "all with project=acme", None, None)


def test_keys(path: Path, store: TokenStore) -> None:
    made = store.keys.make_master()
    assert told(last(store))[0::4] == ("keys.init", {"master_key": made.primary.id})
    store.create_project("acme", KEY)
    done = store.keys.rotate()
    assert told(last(store))[0::4] == ("keys.rotate", {"encrypted": 1, "master_key": done.master})
    store.keys.encrypt()
    assert told(last(store))[0::4] == ("keys.encrypt", {"encrypted": 0})


@pytest.mark.parametrize(
    ("attempt", "error", "action", "reason"),
    [
        (lambda s: s.create_project("acme", KEY), Conflict, "project.create", "conflict"),
        (lambda s: s.create_project("b", "sk-llmp-" + "x" * 43), Invalid, "project.create", "invalid"),
        (lambda s: s.update_project("x", name="y"), NotFound, "project.update", "not_found"),
        (lambda s: s.create_token("x"), NotFound, "token.create", "not_found"),
        (lambda s: s.revoke_token("sk-llmp-" + "x" * 43), NotFound, "token.revoke", "not_found"),
        (lambda s: s.update_token("x", max_requests=-1), NotFound, "token.update", "not_found"),
        (lambda s: s.keys.make_master(), Conflict, "keys.init", "conflict"),
    ],
)
def test_what_fails_is_on_record_too(
    attempt: Callable[[TokenStore], Any], error: type[Exception], action: str, reason: str, store: TokenStore
) -> None:
    store.create_project("acme", KEY)
    with pytest.raises(error):
        attempt(store)
    assert told(last(store)) == (action, "failure", reason, None, None)
    assert last(store).seq == 2
    assert "x" * 12 not in repr(list(store.audit.records()))


def test_a_failure_names_the_token_that_is_there(store: TokenStore) -> None:
    store.create_project("acme", KEY)
    token, _ = store.create_token("acme")
    store.revoke_token(token.id)
    with pytest.raises(Conflict):
        store.rotate_token(token.id, overlap=timedelta())
    assert (last(store).outcome, last(store).token_id) == ("failure", token.id)


def test_a_change_that_cannot_be_logged_is_not_made(
    store: TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.create_project("acme", KEY)
    token, _ = store.create_token("acme")

    def broken(*_: object) -> None:
        raise StoreError("broken")

    monkeypatch.setattr(audit_log.AuditLog, "add", broken)
    with pytest.raises(StoreError):
        store.revoke_token(token.id)
    assert store.get_token(token.id).active


def test_counting_calls_is_no_management_action(store: TokenStore) -> None:
    store.create_project("acme", KEY)
    token, _ = store.create_token("acme")
    use(store, token.id, datetime.now(UTC))
    assert last(store).seq == 2


def test_who_acts(place: StoreLocation) -> None:
    store = TokenStore.open(place, origin=Origin("os:alice@x", "192.0.2.7"))
    store.create_project("acme", KEY)
    assert (last(store).actor, last(store).address) == ("os:alice@x", "192.0.2.7")
    store.close()


def test_the_user_of_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getuid", lambda: 0)
    monkeypatch.setattr("socket.gethostname", lambda: "build-7")
    for name in ("SUDO_USER", "SSH_CLIENT", "LLMPROXY_ACTOR"):
        monkeypatch.delenv(name, raising=False)
    assert of_process() == Origin("os:root@build-7", None)
    monkeypatch.setenv("SUDO_USER", "alice")
    monkeypatch.setenv("SSH_CLIENT", "192.0.2.7 51234 22")
    monkeypatch.setenv("LLMPROXY_ACTOR", "ops bot\x1b[31m")
    assert of_process() == Origin("os:root@build-7 sudo:alice claim:ops_bot_[31m", "192.0.2.7")
    assert of_process("jane").actor == "os:root@build-7 sudo:alice claim:jane"
    monkeypatch.setenv("SUDO_USER", "s" * 1_000)
    monkeypatch.setattr("socket.gethostname", lambda: "h" * 1_000)
    assert len(str(of_process("c" * 1_000).actor)) <= 255, "as much as a server's column takes"
    monkeypatch.setattr("os.getuid", lambda: 987_654)
    assert str(of_process().actor).startswith("os:987654@")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:DB8::1", "2001:db8::1"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::1"),
        ("localhost", None),
        (None, None),
    ],
)
def test_addresses(text: str | None, expected: str | None) -> None:
    assert address(text) == expected


def test_a_store_from_before_the_log_is_upgraded(path: Path) -> None:
    path.parent.mkdir()
    make_earlier("sqlite", str(path), "m009_objects")
    now = "2026-01-01T00:00:00.000Z"
    old = engine_of(path).connect()
    row = {"id": "p1", "name": "acme", "api_key": "plain:k", "active": 1}
    old.insert("projects", [row | {"created_at": now, "updated_at": now}])
    old.close()
    store = TokenStore.open(path)
    assert store.audit.verify().whole
    store.create_token("acme")
    assert [(record.seq, record.action) for record in store.audit.records()] == [(1, "token.create")]
    store.close()


WRITE = """
import sys
from datetime import timedelta
from store.tokens.store import TokenStore
store = TokenStore.open(sys.argv[1])
for number in range(5):
    token, _ = store.create_token("acme")
    store.update_token(token.id, metadata={"by": sys.argv[2]})
    store.rotate_token(token.id, overlap=timedelta())
    store.revoke_token(token.id)
    store.update_project("acme", api_key="env:KEY")
"""


def test_processes_change_the_store_at_once(store: TokenStore, place: StoreLocation) -> None:
    store.create_project("acme", KEY)
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITE, written(place), name], cwd=Path(__file__).parents[3])
        for name in "abcd"
    ]
    assert [writer.wait(240) for writer in writers] == [0] * 4
    verdict = store.audit.verify()
    assert verdict.whole
    assert verdict.rows == 1 + 4 * 5 * 5


def test_no_secret_is_in_the_log(store: TokenStore, path: Path) -> None:
    texts = [KEY, "sk-second-0987654321"]
    store.create_project("acme", KEY)
    store.update_project("acme", api_key=texts[1])
    token, text = store.create_token("acme", prefix="team-")
    _, second = store.rotate_token(token.id, overlap=timedelta(hours=1))
    store.keys.rotate()
    masters = master_key.load(store.location)
    assert masters
    texts += [text.reveal(), second.reveal(), masters.primary.secret.reveal()]
    for typed in texts:
        for attempt in (store.revoke_token, store.get_project, store.deactivate_project, store.create_token):
            with pytest.raises(NotFound):
                attempt(typed)
    found = "\n".join(str(record.as_dict()) for record in store.audit.records())
    for text_ in texts:
        body = text_.removeprefix("sk-").removeprefix("team-")
        pieces = {body[start : start + 8] for start in range(len(body) - 7)}
        assert not [piece for piece in pieces if piece in found]
    assert base64.b64encode(texts[0].encode()).decode()[:10] not in found
