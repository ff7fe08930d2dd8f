"""Signing in to the page at an issuer: the authorization code flow, and what attackers try with it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import httpx
import pytest

from addons.management_api import sessions
from addons.management_api.access import FAILURES
from addons.management_api.oidc.settings import OidcClient, OidcSettings, Rule
from addons.management_api.sessions import SIGN_IN_SECONDS, SignIns
from addons.management_page import sign_in
from store.audit.log import Wanted
from tests.addons.management_api.conftest import Served, body
from tests.addons.management_api.issuer import CLIENT, SECRET, Issuer

RULES = ("admin:groups=platform", "read:groups=finance", "project/mine:groups=search")
PAGE = {sessions.HEADER: sessions.WORD}


pytestmark = pytest.mark.slow  # a second each


@pytest.fixture
def engine_name() -> str:
    """One is enough: sign-ins are in no store."""
    return "sqlite"


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    made = Issuer("localhost")
    made.people = {"jane": {"groups": ["platform"]}, "joe": {"groups": ["finance"]}, "eve": {}}
    yield made
    made.close()


@pytest.fixture
def oidc_settings(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> OidcSettings:
    monkeypatch.setenv("PAGE_SECRET", SECRET)
    client = OidcClient(CLIENT, "env:PAGE_SECRET", "openid profile email")
    return OidcSettings(issuer.url, None, [Rule.parse(text) for text in RULES], client)


class Person:
    """A browser with the page open: it keeps cookies, and sends each where a browser would."""

    def __init__(self, served: Served, issuer: Issuer) -> None:
        self.base = str(served.client.base_url).removesuffix("/").removesuffix("/manage")
        self.page = f"{self.base}/page/"
        issuer.redirect_uris.add(f"{self.page}oidc/callback")
        issuer.after_logout.add(self.page)
        self.issuer = issuer
        self.client = httpx.Client(base_url=self.base, trust_env=False, timeout=30)

    def ask(self, method: str, path: str, **how: Any) -> httpx.Response:
        """Send what the page's own script sends."""
        return self.client.request(method, path, headers={**PAGE, "origin": self.base}, **how)

    def begin(self, view: str = "#/calls") -> str:
        """Press the button; gives where it leads."""
        answer = self.ask("POST", "/page/oidc", json={"page": self.page, "view": view})
        return str(body(answer)["location"])

    def come_back(self, url: str) -> httpx.Response:
        """Follow the issuer's redirect: from another site, so that only cookies that are Lax are sent."""
        lax = {name: value for name, value in self.client.cookies.items() if "sign_in" in name}
        answer = httpx.get(
            url, headers={"cookie": "; ".join(map("=".join, lax.items()))}, trust_env=False, timeout=30
        )
        self.client.cookies.update(answer.cookies)
        return answer

    def sign_in(self, user: str = "jane", view: str = "#/calls") -> httpx.Response:
        return self.come_back(self.issuer.log_in(self.begin(view), user))

    def session(self, status: int = 200) -> Any:
        return body(self.ask("GET", "/manage/session"), status)

    def is_signed_in(self) -> bool:
        return self.ask("GET", "/manage/session").status_code == 200


@pytest.fixture
def person(served: Served, issuer: Issuer) -> Iterator[Person]:
    made = Person(served, issuer)
    yield made
    made.client.close()


def refused(answer: httpx.Response, status: int, code: str) -> None:
    """Nobody is signed in, and who is there is told why."""
    assert (answer.status_code, f"({code})" in answer.text) == (status, True), answer.text
    assert "refresh" not in answer.text
    cookies = SimpleCookie(answer.headers["set-cookie"])
    assert {(name.rsplit("_", 1)[0], one.value) for name, one in cookies.items()} == {
        (sessions.SIGN_IN_COOKIE, "")
    }


def changed(url: str, **parameters: str | None) -> str:
    """The issuer's answer with other parameters; None takes one out."""
    parts = urlsplit(url)
    given = {**dict(parse_qsl(parts.query)), **parameters}
    left = {name: value for name, value in given.items() if value is not None}
    return parts._replace(query=urlencode(left)).geturl()


def test_a_person_signs_in_and_out(person: Person, served: Served, issuer: Issuer) -> None:
    assert body(person.ask("GET", "/page/oidc")) == {"issuer": urlsplit(issuer.url).netloc}
    begun = person.ask("POST", "/page/oidc", json={"page": person.page, "view": "#/calls?since=7d&x='\"<"})
    (morsel,) = SimpleCookie(begun.headers["set-cookie"]).values()
    assert (morsel["httponly"], morsel["samesite"], morsel["path"]) == (True, "Lax", "/")
    assert int(morsel["max-age"]) == SIGN_IN_SECONDS
    url = body(begun)["location"]
    asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    assert asked["redirect_uri"] == f"{person.page}oidc/callback"
    assert not {"client_secret", "code_verifier"} & set(asked)

    back = person.come_back(issuer.log_in(url, "jane"))
    assert back.status_code == 200
    # It leads on from a document of its own: what that asks for is of the same site.
    assert '<meta http-equiv="refresh" content="0; url=../#/calls?since=7d&amp;x=%27%22%3C">' in back.text
    assert "location" not in back.headers
    cookies = SimpleCookie()
    for text in back.headers.get_list("set-cookie"):
        cookies.load(text)
    session = cookies[f"{sessions.COOKIE}_{urlsplit(person.base).port}"]
    assert (session["httponly"], session["samesite"]) == (True, "Strict")
    assert issuer.lifetime - 20 < int(session["max-age"]) <= issuer.lifetime
    assert cookies[f"{sessions.SIGN_IN_COOKIE}_{urlsplit(person.base).port}"].value == ""
    assert back.headers["cache-control"] == "no-store"
    assert back.headers["referrer-policy"] == "no-referrer"
    assert "script-src" not in back.headers["content-security-policy"]

    found = person.session()
    assert (found["actor"], found["role"]) == ("oidc:jane", "admin")
    body(person.ask("POST", "/manage/projects", json={"name": "new", "api_key": "sk-real-12345678"}), 201)
    (row,) = served.store.audit.find(Wanted(action="project.create"), limit=1)
    assert row.actor == "oidc:jane"
    # The cookie alone, as another site would have a browser send it, is nothing.
    assert person.client.get("/manage/session").status_code == 401

    ended = body(person.ask("DELETE", "/manage/session"))
    left = httpx.get(ended["sign_out_url"], trust_env=False)
    assert (left.status_code, left.headers["location"]) == (303, person.page)
    assert issuer.logged_out == ["jane"]
    person.session(401)
    assert len(served.denied) == 1  # of the request without the page's header


def test_roles_are_those_of_the_claims(person: Person, served: Served, issuer: Issuer) -> None:
    mine = served.store.create_project("mine", "sk-real-12345678")
    served.store.create_project("other", "sk-real-12345678")
    person.sign_in("joe")
    assert person.session()["role"] == "read"
    assert len(body(person.ask("GET", "/manage/projects"))["data"]) == 2
    body(person.ask("POST", "/manage/projects", json={"name": "x", "api_key": "sk-real-12345678"}), 403)
    issuer.people["joe"] = {"groups": ["search"]}
    person.sign_in("joe")
    assert (person.session()["role"], person.session()["projects"]) == ("project", [mine.id])
    assert [one["id"] for one in body(person.ask("GET", "/manage/projects"))["data"]] == [mine.id]


def test_who_has_no_role_is_not_let_in(person: Person, served: Served) -> None:
    refused(person.sign_in("eve"), 403, "no_role")
    person.session(401)
    assert served.denied == ["127.0.0.1"]


@pytest.mark.parametrize(("secret", "method"), [(SECRET, "client_secret_post"), (None, "none")])
def test_the_secret_goes_as_the_issuer_wants_it(
    oidc_settings: OidcSettings, issuer: Issuer, secret: str | None, method: str, request: Any
) -> None:
    issuer.secret, issuer.methods = secret, [method]
    if secret is None:
        assert oidc_settings.client
        object.__setattr__(oidc_settings, "client", replace(oidc_settings.client, secret=None))
    served = request.getfixturevalue("served")
    person = Person(served, issuer)
    person.sign_in()
    assert person.session()["actor"] == "oidc:jane"
    assert all(SECRET not in path for path in issuer.asked)


def test_another_secret_signs_nobody_in(person: Person, issuer: Issuer) -> None:
    issuer.secret = "another"
    refused(person.sign_in(), 401, "sign_in_failed")
    assert not person.is_signed_in()


@pytest.mark.parametrize(
    "parameters",
    [
        {"state": "another"},
        {"state": None},
        {"state": ""},
        {"iss": "https://evil.example"},
        {"iss": None},
        {"code": None},
        {"code": ""},
        {"code": "another"},
    ],
)
def test_an_answer_that_was_changed(
    person: Person, served: Served, issuer: Issuer, parameters: dict[str, str | None]
) -> None:
    """Wrong state; a mix-up of issuers (RFC 9207); a code that was never given."""
    good = issuer.log_in(person.begin(), "jane")
    refused(person.come_back(changed(good, **parameters)), 401, "sign_in_failed")
    assert served.denied == ["127.0.0.1"]
    # Of wrong states and issuers the code was not even shown.
    assert len(issuer.exchanges) == ("code" in parameters and bool(parameters["code"]))
    # And the good answer comes too late: each sign-in has one try.
    refused(person.come_back(good), 400, "sign_in_ended")
    person.session(401)


def test_parameters_that_are_there_twice(person: Person, issuer: Issuer) -> None:
    good = issuer.log_in(person.begin(), "jane")
    refused(person.come_back(f"{good}&state=another"), 401, "sign_in_failed")
    assert issuer.exchanges == []
    assert not person.is_signed_in()


def test_an_answer_counts_once(person: Person, issuer: Issuer) -> None:
    good = issuer.log_in(person.begin(), "jane")
    kept = httpx.Cookies(person.client.cookies)
    assert person.come_back(good).status_code == 200
    assert person.session()["actor"] == "oidc:jane"
    person.client.cookies = kept  # as if the browser had not let go of it
    refused(person.come_back(good), 400, "sign_in_ended")
    person.session(401)
    assert len(issuer.exchanges) == 1


def test_a_code_that_is_shown_in_another_sign_in(person: Person, served: Served, issuer: Issuer) -> None:
    """A stolen code, injected into the thief's own sign-in: the verifier is another's."""
    stolen = parse_qs(urlsplit(issuer.log_in(person.begin(), "jane")).query)["code"][0]
    thief = Person(served, issuer)
    own = issuer.log_in(thief.begin(), "eve")
    refused(thief.come_back(changed(own, code=stolen)), 401, "sign_in_failed")
    assert len(issuer.exchanges) == 1, "the issuer is asked, and it is the one who sees it"
    assert not thief.is_signed_in()


def test_an_answer_in_another_browser(person: Person, served: Served, issuer: Issuer) -> None:
    """Somebody is to be signed in as somebody else: theirs is not the browser that was sent out."""
    other = Person(served, issuer)
    answer = issuer.log_in(person.begin(), "jane")
    refused(other.come_back(answer), 400, "sign_in_ended")
    other.begin()
    refused(other.come_back(answer), 401, "sign_in_failed")
    assert issuer.exchanges == []
    assert not other.is_signed_in()


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "another"},
        {"aud": [CLIENT, "another"]},
        {"aud": [CLIENT, "another"], "azp": "another"},
        {"azp": "another"},
        {"at_hash": "AAAA"},
        {"iss": "https://evil.example"},
        {"sub": None},
        {"exp": None},
        {"exp": 1},
        {"exp": int(time.time()) - 5},
        {"iat": int(time.time()) + 3600},
        {"nbf": int(time.time()) + 3600},
    ],
)
def test_id_tokens_that_are_not_for_this(
    person: Person, served: Served, issuer: Issuer, claims: dict[str, Any]
) -> None:
    issuer.twist = lambda found: {**found, **claims}
    refused(person.sign_in(), 401, "sign_in_failed")
    assert served.denied == ["127.0.0.1"]
    person.session(401)
    issuer.twist = lambda found: {**found, "aud": [CLIENT, "another"], "azp": CLIENT}
    person.sign_in()
    assert person.session()["role"] == "admin"


def test_an_id_token_of_another_issuer(person: Person, issuer: Issuer) -> None:
    stranger = Issuer()
    issuer.keys, own = stranger.keys, issuer.keys
    url = person.begin()
    answer = issuer.log_in(url, "jane")
    issuer.jwks = lambda: {"keys": []}  # type: ignore[method-assign]
    refused(person.come_back(answer), 401, "sign_in_failed")
    assert not person.is_signed_in()
    issuer.keys = own
    stranger.close()


def test_the_issuer_says_no(person: Person, served: Served, issuer: Issuer) -> None:
    (state,) = parse_qs(urlsplit(person.begin()).query)["state"]
    answer = {"error": "access_denied", "error_description": "<b>x", "state": state, "iss": issuer.url}
    back = person.come_back(f"{person.page}oidc/callback?{urlencode(answer)}")
    refused(back, 403, "sign_in_refused")
    assert "<b>" not in back.text
    assert served.denied == []


def test_an_issuer_that_is_away(person: Person, issuer: Issuer) -> None:
    person.begin()
    url = issuer.log_in(person.begin(), "jane")
    issuer.close()
    back = person.come_back(url)
    assert (back.status_code, back.headers["retry-after"]) == (503, "5")
    assert "does not answer" in back.text


def test_a_session_ends_with_its_id_token(person: Person, served: Served, issuer: Issuer) -> None:
    issuer.lifetime = 2
    person.sign_in()
    assert person.session()["role"] == "admin"
    kept, until = dict(person.client.cookies), time.monotonic() + 20
    while person.client.get("/manage/session", headers=PAGE, cookies=kept).status_code == 200:
        assert time.monotonic() < until
        time.sleep(0.1)
    assert person.session(401)["error"]["code"] == "no_session"
    assert served.denied == []


def test_a_session_ends_with_the_issuers_key(person: Person, issuer: Issuer) -> None:
    """Each request is judged by the ID token anew."""
    person.sign_in()
    assert person.is_signed_in()
    cookie = person.client.cookies
    (name,) = [name for name in cookie if name.startswith(sessions.COOKIE)]
    cookie.set(name, str(cookie[name])[:-4] + "AAAA")
    assert not person.is_signed_in()


def test_an_id_token_is_no_bearer_token(served: Served, person: Person, issuer: Issuer) -> None:
    token = issuer.token(aud=CLIENT, groups=["platform"])
    headers = {"authorization": f"Bearer {token}"}
    assert person.client.get("/manage/projects", headers=headers).status_code == 401


@pytest.mark.parametrize(
    "view",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "javascript:alert(1)",
        "#evil",
        "#/x\r\nSet-Cookie: a=b",
        "#/" + "x" * 501,
        "",
    ],
)
def test_nobody_is_led_elsewhere(person: Person, view: str) -> None:
    assert f'url=../{sign_in.FIRST_VIEW}">' in person.sign_in(view=view).text


@pytest.mark.parametrize(
    "page",
    [
        "http://evil.example/page/",
        "javascript://127.0.0.1/page/",
        "{base}/page/?x=",
        "{base}/page/#",
        "{base}/page/#x",
        "{base}/",
        "{base}@evil.example/page/",
        "/page/",
        "",
    ],
)
def test_the_way_back_is_the_page_itself(person: Person, page: str) -> None:
    given = {"page": page.format(base=person.base), "view": "#/calls"}
    if page == "{base}/page/#":  # an empty fragment is none
        assert "location" in body(person.ask("POST", "/page/oidc", json=given))
        return
    assert body(person.ask("POST", "/page/oidc", json=given), 400)["error"]["param"] == "page"


def test_behind_another_server_the_page_has_a_path_of_its_own(person: Person) -> None:
    given = {"page": f"{person.base}/llmproxy/page/", "view": ""}
    url = body(person.ask("POST", "/page/oidc", json=given))["location"]
    assert parse_qs(urlsplit(url).query)["redirect_uri"] == [f"{person.base}/llmproxy/page/oidc/callback"]


@pytest.mark.parametrize(
    "headers", [{}, {**PAGE, "origin": "http://evil.example"}, {**PAGE, "origin": "null"}]
)
def test_no_other_site_begins_it(person: Person, headers: dict[str, str]) -> None:
    given = {"page": person.page, "view": "#/calls"}
    answer = person.client.post("/page/oidc", json=given, headers=headers)
    assert body(answer, 403)["error"]["code"] == "not_the_page"
    assert not person.client.cookies


def test_cookies_over_tls_are_the_hosts_own(person: Person) -> None:
    headers = {**PAGE, "origin": person.base, "x-forwarded-proto": "https"}
    answer = person.client.post("/page/oidc", json={"page": person.page, "view": ""}, headers=headers)
    (morsel,) = SimpleCookie(answer.headers["set-cookie"]).values()
    assert (morsel.key.startswith("__Host-"), morsel["secure"], morsel["path"]) == (True, True, "/")


def test_failures_are_slowed_down(person: Person, served: Served, issuer: Issuer) -> None:
    good = issuer.log_in(person.begin(), "jane")
    answers = []
    for _ in range(2 * int(FAILURES)):  # some come back meanwhile
        answers.append(person.come_back(changed(good, state="x")).status_code)
        begun = person.ask("POST", "/page/oidc", json={"page": person.page, "view": ""})
        if begun.status_code == 429:
            break
    assert set(answers) == {401}
    assert begun.status_code == 429
    assert len(served.denied) == len(answers) >= FAILURES


def test_sign_ins_end_by_themselves(tmp_path: Any) -> None:
    from addons.management_api.oidc.code_flow import Pending  # noqa: PLC0415

    now = 1_000_000.0
    kept = SignIns(tmp_path, lambda: now)
    pending = Pending("state", "nonce", "verifier", "http://127.0.0.1/page/", "#/calls")
    first, second = kept.begin(pending), kept.begin(pending)
    now += SIGN_IN_SECONDS - 1
    assert (kept.take(first), kept.take(first)) == (pending, None)
    now += 1
    assert kept.take(second) is None
    assert all(b"nonce" not in path.read_bytes() for path in tmp_path.iterdir())


class TestWithoutAClient:
    @pytest.fixture
    def oidc_settings(self) -> None:
        return None

    def test_there_is_no_way_to_an_issuer(self, served: Served) -> None:
        base = str(served.client.base_url).removesuffix("/").removesuffix("/manage")
        assert httpx.get(f"{base}/page/oidc", headers=PAGE, trust_env=False).json() == {"issuer": None}
        answer = httpx.post(
            f"{base}/page/oidc", json={"page": f"{base}/page/"}, headers=PAGE, trust_env=False
        )
        assert body(answer, 404)["error"]["code"] == "sign_in_off"
        assert httpx.get(f"{base}/page/oidc/callback?code=x&state=y", trust_env=False).status_code == 404
