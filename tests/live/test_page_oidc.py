"""Signing in to the page at an issuer on another site, in a browser, before a real proxy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from addons.management_api.sessions import COOKIE, SIGN_IN_COOKIE
from tests.addons.management_api.issuer import CLIENT, SECRET, Issuer
from tests.live.browser import ENTER, Browser, browser, missing
from tests.live.conftest import Running
from tests.live.harness import wait_for
from tests.live.test_management import address
from tests.live.test_page import axe, check


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    """At another site than the page, which is at 127.0.0.1: so browsers judge cookies by their names."""
    made = Issuer("localhost")
    made.people = {"jane": {"groups": ["platform"]}, "eve": {}}
    yield made
    made.close()


def test_a_person_signs_in_at_an_issuer(
    start_shared: Callable[..., Running], issuer: Issuer, tmp_path: Path
) -> None:
    if why := missing():
        pytest.skip(why)
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    running = start_shared(
        "llm_management=127.0.0.1:0",
        f"llm_oidc_issuer={issuer.url}",
        f"llm_oidc_client_id={CLIENT}",
        f"llm_oidc_client_secret=file:{secret}",
        "llm_oidc_roles=admin:groups=platform",
    )
    page_url = f"{address(running.proxy)}/page/"
    issuer.redirect_uris.add(f"{page_url}oidc/callback")
    issuer.after_logout.add(page_url)
    rules = axe()
    with browser(tmp_path, 1280, 900) as page:
        page.open(f"{page_url}#/projects")
        page.wait_text("Sign in at localhost", "main")
        check(page, rules, "sign in at an issuer")
        log_in(page, "jane")
        # The view that was asked for, and not the first one.
        page.wait_text("Projects", "h1")
        page.wait_text("acme", "table")
        assert "oidc:jane (admin)" in page.text("#who")
        assert page.run("return location.href") == f"{page_url}#/projects"
        kept = cookies(page, page_url)
        assert list(kept) == [COOKIE]
        assert kept[COOKIE]["httpOnly"] is True
        assert kept[COOKIE]["sameSite"] == "Strict"
        page.open("about:blank")
        page.open(page_url)
        page.wait_text("Overview", "h1")

        page.press("Sign out")
        page.wait_text("Sign in", "h1")
        assert issuer.logged_out == ["jane"]
        assert cookies(page, page_url) == {}

        log_in(page, "eve")
        page.wait_text("no_role", "main")
        check(page, rules, "not signed in")
        page.press("Back to the page")
        page.wait_text("Sign in", "h1")

        issuer.lifetime = 5
        page.open("about:blank")
        page.open(f"{page_url}#/calls")
        log_in(page, "jane")
        page.wait_text("Calls", "h1")
        page.wait_text("The session has ended", "#said")
        page.wait_text("Sign in", "h1")
    assert SECRET not in running.proxy.output


def log_in(page: Browser, user: str) -> None:
    """By the keyboard alone: the button has the focus."""
    page.wait_text("Sign in at localhost", "main")
    wait_for(lambda: page.run("return document.activeElement.textContent.startsWith('Sign in at')"), "focus")
    page.type("form[aria-label='At an issuer'] button", ENTER)
    page.wait_text("Log in", "h1")
    page.type("#user", user + ENTER)


def cookies(page: Browser, url: str) -> dict[str, dict[str, object]]:
    """The cookies of ours that the browser has for a URL, by purpose."""
    found = page.emulate("Network.getCookies", urls=[url])["cookies"]
    named = {one["name"].rpartition("_")[0]: one for one in found}
    assert set(named) <= {COOKIE, SIGN_IN_COOKIE}
    return named
