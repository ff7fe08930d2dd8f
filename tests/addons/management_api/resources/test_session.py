"""Sessions of the page: a cookie in place of the token, for the page of this port alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.cookies import SimpleCookie
from pathlib import Path

import httpx
import pytest

from addons.management_api import sessions
from addons.management_api.access import FAILURES
from addons.management_api.sessions import IDLE, LONGEST, Session, Sessions
from store.audit.log import Wanted
from store.core.errors import StoreUnavailable
from store.tokens.management_tokens import ManagementTokens
from tests.addons.management_api.conftest import TOKEN, Served, body

PAGE = {sessions.HEADER: sessions.WORD}
BEARER = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def engine_name() -> str:
    """One is enough: sessions are in no store."""
    return "sqlite"


@pytest.fixture
def browser(served: Served) -> Iterator[httpx.Client]:
    """A client without the management token, which keeps cookies and sends what the page sends."""
    with httpx.Client(base_url=served.client.base_url, headers=PAGE, trust_env=False, timeout=30) as client:
        yield client


def sign_in(browser: httpx.Client, token: str = TOKEN, **headers: str) -> httpx.Response:
    return browser.post("/session", headers={"authorization": f"Bearer {token}", **headers})


def test_signing_in_and_out(browser: httpx.Client, served: Served) -> None:
    assert body(browser.get("/session"), 401)["error"]["code"] == "no_session"
    signed = sign_in(browser)
    found = body(signed)
    assert {one["name"] for one in found.pop("fields")["token"]} > {"name", "expires_at", "metadata"}
    assert found == {
        "actor": "management token",
        "role": "admin",
        "projects": None,
        "listeners": {"reverse": "127.0.0.1:8081"},
    }
    (morsel,) = SimpleCookie(signed.headers["set-cookie"]).values()
    assert (morsel["httponly"], morsel["samesite"], morsel["secure"]) == (True, "Strict", "")
    assert (morsel["path"], morsel["max-age"]) == ("/", str(int(LONGEST)))
    assert morsel.key == f"{sessions.COOKIE}_{browser.base_url.port}"
    assert TOKEN not in signed.headers["set-cookie"]
    body(browser.post("/projects", json={"name": "new", "api_key": "sk-real-12345678"}), 201)
    (row,) = served.store.audit.find(Wanted(action="project.create"), limit=1)
    assert row.actor == "management token"

    kept = dict(browser.cookies)
    body(browser.delete("/session"))
    assert not browser.cookies
    # The session itself is over, not only its cookie.
    browser.cookies.update(kept)
    assert body(browser.get("/projects"), 401)["error"]["code"] == "no_session"
    # To open the page without a session is no attempt at anything.
    assert served.denied == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({sessions.HEADER: ""}, 401),
        ({"origin": "http://evil.example"}, 401),
        ({"origin": "http://127.0.0.1:1"}, 401),
        ({"origin": "null"}, 401),
        ({}, 200),
    ],
)
def test_no_other_site_makes_use_of_it(browser: httpx.Client, headers: dict[str, str], status: int) -> None:
    body(sign_in(browser))
    assert browser.get("/projects", headers=headers).status_code == status
    own = {"origin": str(browser.base_url).partition("/manage")[0]}
    assert browser.get("/projects", headers=own).status_code == 200


@pytest.mark.parametrize("headers", [{sessions.HEADER: ""}, {"origin": "http://evil.example"}])
def test_no_other_site_signs_anyone_in(browser: httpx.Client, headers: dict[str, str]) -> None:
    refused = sign_in(browser, **headers)
    assert body(refused, 403)["error"]["code"] == "not_the_page"
    assert "set-cookie" not in refused.headers


def test_a_cookie_goes_over_tls_alone_where_it_came_so(browser: httpx.Client) -> None:
    signed = sign_in(browser, **{"x-forwarded-proto": "https"})
    (morsel,) = SimpleCookie(signed.headers["set-cookie"]).values()
    assert morsel["secure"] is True


def test_wrong_tokens_are_counted_and_slowed_down(browser: httpx.Client, served: Served) -> None:
    assert sign_in(browser, "wrong" * 8).status_code == 401
    assert served.denied == ["127.0.0.1"]
    answers = [sign_in(browser, f"llmp-mgmt-{number}").status_code for number in range(int(FAILURES) + 1)]
    assert answers[-1] == 429
    assert len(served.denied) == int(FAILURES)
    assert not browser.cookies


def test_a_session_ends_with_its_token(browser: httpx.Client, served: Served) -> None:
    tokens = ManagementTokens(served.store.connection, served.store.audit)
    _, text = tokens.create("finance", "read", expires_at=datetime.now(UTC) + timedelta(days=1))
    assert body(sign_in(browser, text.reveal()))["role"] == "read"
    body(browser.get("/projects"))
    assert body(browser.post("/projects", json={}), 403)["error"]["code"] == "role_not_allowed"
    tokens.revoke("finance")
    body(browser.get("/projects"), 401)


def test_sessions_end_by_themselves(tmp_path: Path) -> None:
    now = 1_000_000.0
    kept = Sessions(tmp_path, lambda: now)
    name = kept.begin(Session(TOKEN))
    now += IDLE - 1
    assert kept.find(name) == Session(TOKEN)
    now += IDLE
    assert kept.find(name) is None
    name = kept.begin(Session(TOKEN))
    begun = now
    while kept.find(name) is not None:
        now += IDLE / 2
    assert now == begun + LONGEST


def test_there_are_so_many_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MOST", 3)
    now = 1_000_000.0
    kept = Sessions(tmp_path, lambda: now)
    names = []
    for _ in range(4):
        now += 1
        names.append(kept.begin(Session(TOKEN)))
    assert [kept.find(name) for name in names] == [None, *[Session(TOKEN)] * 3]
    now += IDLE
    kept.begin(Session(TOKEN))
    assert len(list(tmp_path.iterdir())) == 1


def test_the_next_proxy_knows_it_and_nobody_can_read_it(tmp_path: Path) -> None:
    folder = tmp_path / "sessions"
    name = Sessions(folder).begin(Session(TOKEN))
    assert Sessions(folder).find(name) == Session(TOKEN)
    (file,) = folder.iterdir()
    assert file.stat().st_mode & 0o077 == folder.stat().st_mode & 0o077 == 0
    assert TOKEN.encode() not in file.read_bytes()
    assert name not in file.name
    file.write_bytes(b"anything")
    assert Sessions(folder).find(name) is None
    assert Sessions(folder).find("../../etc/passwd") is None


def test_where_none_can_be_kept(tmp_path: Path) -> None:
    place = tmp_path / "sessions"
    place.touch()
    with pytest.raises(StoreUnavailable, match="no session can be kept in"):
        Sessions(place).begin(Session(TOKEN))
