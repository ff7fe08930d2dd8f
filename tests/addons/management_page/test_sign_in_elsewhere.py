"""Signing in to the page at an issuer that others have written, with a client that it has registered."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from http.cookies import SimpleCookie

import httpx
import pytest
from oidc_provider_mock import User, run_server_in_thread

from addons.management_api import sessions
from addons.management_api.oidc.settings import OidcClient, OidcSettings, Rule
from tests.addons.management_api.conftest import Served, body

PAGE = {sessions.HEADER: sessions.WORD}


@pytest.fixture
def engine_name() -> str:
    return "sqlite"


@pytest.fixture
def issuer() -> Iterator[str]:
    people = [User(sub="jane", claims={"groups": ["platform"]})]
    with run_server_in_thread(
        require_client_registration=True, require_nonce=True, user_claims=people
    ) as server:
        yield f"http://localhost:{server.server_port}"


@pytest.fixture
def oidc_settings(issuer: str) -> OidcSettings:
    client = OidcClient("not yet", None, "openid profile")
    return OidcSettings(issuer, None, [Rule.parse("admin:groups=platform")], client)


@pytest.mark.parametrize(
    "method",
    [
        "client_secret_basic",
        "client_secret_post",
        pytest.param(
            "none",
            marks=pytest.mark.skipif(
                sys.version_info < (3, 12), reason="the version for Python 3.11 has no public clients"
            ),
        ),
    ],
)
def test_a_person_signs_in(
    served: Served, issuer: str, oidc_settings: OidcSettings, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = str(served.client.base_url).removesuffix("/").removesuffix("/manage")
    page = f"{base}/page/"
    wanted = {"redirect_uris": [f"{page}oidc/callback"], "token_endpoint_auth_method": method}
    with httpx.Client(trust_env=False, timeout=30) as browser:
        registered = browser.post(f"{issuer}/oauth2/clients", json=wanted).json()
        # The port of the page, and so the client, is known only now.
        object.__setattr__(oidc_settings.client, "id", registered["client_id"])
        if method != "none":
            monkeypatch.setenv("PAGE_SECRET", registered["client_secret"])
            object.__setattr__(oidc_settings.client, "secret", "env:PAGE_SECRET")
        begun = browser.post(f"{page}oidc", json={"page": page, "view": "#/projects"}, headers=PAGE)
        asked = browser.post(body(begun)["location"], data={"sub": "jane"})
        back = browser.get(asked.headers["location"])
        if method == "client_secret_post":
            # It does not say which ways it takes, and so gets the usual one, which is not this client's.
            assert (back.status_code, "(sign_in_failed)" in back.text) == (401, True)
            return
        assert "url=../#/projects" in back.text
        found = body(browser.get(f"{base}/manage/session", headers=PAGE))
        assert (found["actor"], found["role"]) == ("oidc:jane", "admin")
        # The code is spent at the issuer, and the sign-in is here.
        assert browser.get(asked.headers["location"]).status_code == 400
        ended = body(browser.delete(f"{base}/manage/session", headers=PAGE))
        form = browser.get(ended["sign_out_url"]).text
        assert re.search(rf'value="{re.escape(page)}"', form)
        assert SimpleCookie(back.headers["set-cookie"])
