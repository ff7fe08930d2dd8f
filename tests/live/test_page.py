"""The page at the management port, as a person uses it in a browser, before a real proxy."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from store.tokens.management_tokens import ManagementTokens
from tests.live.browser import ENTER, TAB, Browser, browser, missing
from tests.live.conftest import REAL_KEY, Running
from tests.live.test_management import address

TOKEN = "management-" + "5b2e" * 8
SERIOUS = ("serious", "critical")
PHONE = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
BODY = {"model": "gpt-4o-mini", "max_tokens": 9, "messages": [{"role": "user", "content": "a question"}]}


def axe() -> str:
    """The text of axe-core, which checks a page by the rules of WCAG."""
    found = importlib.util.find_spec("axe_core_python")
    assert found
    assert found.origin
    return Path(found.origin).with_name("axe.min.js").read_text()


def check(page: Browser, text: str, where: str) -> None:
    """Nothing is wrong by axe-core, and at the width of a phone nothing lies beside the page."""
    page.run(f"if (!window.axe) {{ {text} }}")
    for scheme in ("light", "dark"):
        page.emulate(
            "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}]
        )
        found = page.run("return axe.run(document, {resultTypes: ['violations']})")
        assert found["passes"], where
        wrong = [
            (one["id"], [node["html"][:160] for node in one["nodes"]])
            for one in found["violations"]
            if one["impact"] in SERIOUS
        ]
        assert wrong == [], (where, scheme)
    page.emulate("Emulation.setDeviceMetricsOverride", **PHONE)
    beside = page.run("return document.documentElement.scrollWidth")
    assert beside <= PHONE["width"], (where, beside)
    page.emulate("Emulation.clearDeviceMetricsOverride")


def ask(running: Running, token: str) -> httpx.Response:
    headers = {"authorization": f"Bearer {token}", "session-id": "night-run"}
    return httpx.post(running.url, json=BODY, headers=headers, trust_env=False, timeout=20)


def test_a_person_runs_it_by_the_page(start_shared: Callable[..., Running], tmp_path: Path) -> None:
    if why := missing():
        pytest.skip(why)
    running = start_shared(
        "llm_management=127.0.0.1:0", "llm_capture=all", environment={"LLMPROXY_MANAGEMENT_TOKEN": TOKEN}
    )
    rules = axe()
    with browser(tmp_path, 1280, 1100) as page:
        sign_in(page, rules, running)
        make_project(page, rules)
        token = make_token(page, rules, running)
        page.press("Its calls")
        page.wait_text("None on record", "main")
        assert ask(running, token).status_code == 200
        look_at_the_call(page, rules)
        look_at_the_overview(page, rules, token)
        revoke(page, token)
        assert ask(running, token).status_code == 401
        page.wait_text("token.revoke", "main")
        check(page, rules, "a token")
        hand_out_access(page, rules)
        page.press("Sign out")
        page.wait_text("Sign in", "h1")
        page.open(address(running.proxy) + "/page/#/projects")
        page.wait_text("Sign in", "h1")
        look_around(page, running)


FOCUSED = """const one = document.activeElement;
if (one === document.body) return ["", true, true];
const name = one.labels?.[0]?.textContent ?? one.ariaLabel ?? one.textContent.trim();
return [name, one.matches(":focus-visible"), getComputedStyle(one).outlineStyle !== "none"]"""


def tab_to(page: Browser, name: str) -> None:
    """Go on by the tabulator alone; wherever it stops, that is seen."""
    for _ in range(80):
        page.keys(TAB)
        found, visible, outlined = page.run(FOCUSED)
        assert visible, found
        assert outlined, found
        if found == name:
            return
    raise AssertionError(f"the tabulator never comes to {name!r}")


def test_all_of_it_by_the_keyboard(start_shared: Callable[..., Running], tmp_path: Path) -> None:
    if why := missing():
        pytest.skip(why)
    running = start_shared("llm_management=127.0.0.1:0", environment={"LLMPROXY_MANAGEMENT_TOKEN": TOKEN})
    with browser(tmp_path, 1280, 900) as page:
        page.open(address(running.proxy))
        page.wait_text("Sign in", "h1")
        page.keys(TOKEN + ENTER)  # the field has the focus
        page.wait_text("Overview", "h1")
        page.open(address(running.proxy) + "/page/")
        page.wait_text("Overview", "h1")
        page.run("document.activeElement.blur()")
        tab_to(page, "Skip to the content")
        tab_to(page, "Projects")
        page.keys(ENTER)
        page.wait_text("acme", "table")
        tab_to(page, "New project")
        page.keys(ENTER)
        tab_to(page, "Name")
        page.keys("by-keys")
        tab_to(page, "Key of the API")
        page.keys(REAL_KEY)
        page.keys(ENTER)
        page.wait_text("by-keys", "h1")
        tab_to(page, "New token")
        page.keys(ENTER)
        tab_to(page, "Make the token")
        page.keys(ENTER)
        page.wait_text("It is shown this once", "dialog")
        tab_to(page, "Close")
        page.keys(ENTER)
        page.wait_text("Token sk-llmp", "h1")
        tab_to(page, "Revoke")
        page.keys(ENTER)
        page.wait_text("can't be undone", "dialog")
        tab_to(page, "Revoke")
        page.keys(ENTER)
        page.wait_text("revoked", ".facts")
    (token,) = running.tenant.store.list_tokens(project=running.tenant.store.get_project("by-keys").id)
    assert not token.active


def sign_in(page: Browser, rules: str, running: Running) -> None:
    """A wrong token is told, and the right one shows the overview."""
    page.open(address(running.proxy))
    page.wait_text("Sign in", "h1")
    check(page, rules, "sign in")
    page.labelled("Management token", "wrong" * 8 + ENTER)
    page.wait_text("Send the management token", ".error")
    page.labelled("Management token", TOKEN + ENTER)
    page.wait_text("Overview", "h1")


def make_project(page: Browser, rules: str) -> None:
    page.press("Projects")
    page.wait_text("acme", "table")
    page.press("New project")
    page.labelled("Name", "search")
    page.labelled("Key of the API", REAL_KEY)
    page.labelled("Budgets", "1usd/day")
    page.labelled("Limits of each value of a label", '{"team": {"budgets": {"usd": {"day": "2"}}}}')
    check(page, rules, "new project")
    page.press("Make the project")
    page.wait_text("search", "h1")
    assert "limits of each value of a label: team (2usd/day)" in page.text(".facts")
    page.press("Top up")
    page.labelled("Add", "1usd/day")
    page.labelled("To whose budget", "label=team=ranking" + ENTER)
    page.wait_text("label.topup", "main")


def make_token(page: Browser, rules: str, running: Running) -> str:
    """Make a token of the project that is shown; return its text, which lines to paste have too."""
    page.press("New token")
    page.labelled("Name", "laptop")
    page.labelled("Metadata", "team=ranking")
    page.labelled("Budgets", "0.00005usd/day")
    page.press("Make the token")
    page.wait_text("It is shown this once", "dialog")
    token = page.text("dialog pre")
    lines = page.run("return [...document.querySelectorAll('dialog pre')].map(one => one.textContent)")
    assert len(lines) == 4
    assert all(token in text for text in lines)
    assert all(f"{running.proxy.reverse_url}/v1" in text for text in lines[1:])
    check(page, rules, "the token's text")
    page.press("Close")
    page.wait_text("laptop", "h1")
    return token


def look_at_the_call(page: Browser, rules: str) -> None:
    """It comes into the tail; its cost and, when asked for, its content are shown, and its session."""
    shown = page.wait_text("gpt-4o-mini-2024-07-18", "tbody")
    assert "search" in shown
    check(page, rules, "calls")
    page.click("tbody a")
    page.wait_text("output", "main table")
    assert "$0.00000345" in page.text("main")
    assert "a question" not in page.text("main")
    page.press("Show what was asked and answered")
    page.wait_text("a question", "pre")
    check(page, rules, "a call")
    page.press("night-run")
    page.wait_text("Session night-run", "h1")
    assert "$0.00000345" in page.text(".facts")
    check(page, rules, "a session")
    page.press("Sessions")
    page.wait_text("night-run", "tbody")
    assert "search" in page.text("tbody")
    check(page, rules, "sessions")
    page.press("night-run")
    page.wait_text("1, $0.00000345", ".facts")


def look_at_the_overview(page: Browser, rules: str, token: str) -> None:
    """The call is in the budget's bar, in the plot and in its legend."""
    page.press("Overview")
    page.wait_text("search: usd/day", ".budgets")
    bars = page.run(
        "return [...document.querySelectorAll('progress')].map(one => [one.ariaLabel, one.value])"
    )
    assert ["search, token " + token[:14] + ": usd/day", 6.9] in bars
    assert "search, label team=ranking: usd/day" in [label for label, _ in bars]
    assert "$0.00000345 of $3.00 used" in page.text("main"), "2 dollars, and the one that was added"
    page.wait_text("search $0.00000345", ".legend")
    title = page.run("return document.querySelectorAll('.plot rect title')[0].textContent")
    assert title.endswith("search: $0.00000345")
    page.wait_text("serving", "main")
    check(page, rules, "overview")


def revoke(page: Browser, token: str) -> None:
    """By the keyboard alone, once the dialog is there."""
    page.press("search, token " + token[:14] + ": usd/day")
    page.wait_text("laptop", "h1")
    page.press("Revoke")
    page.wait_text("can't be undone", "dialog")
    page.run("document.querySelector('dialog .danger').focus()")
    page.keys(ENTER)
    page.wait_text("revoked", ".facts")


def hand_out_access(page: Browser, rules: str) -> None:
    """Make a management token, whose text is shown once; sign in with it; revoke it."""
    page.press("Access")
    page.wait_text("There are none", "main")
    page.labelled("Name", "search-team")
    page.run("const role = document.querySelector('[name=role]'); role.value = 'project'")
    page.run("document.querySelector('[name=role]').dispatchEvent(new Event('change', {bubbles: true}))")
    page.labelled("Projects", "search")
    page.press("Make the management token")
    page.wait_text("It is shown this once", "dialog")
    text = page.text("dialog pre")
    check(page, rules, "the management token's text")
    page.press("Close")
    page.wait_text("search-team", "table")
    assert text not in page.text("main")
    check(page, rules, "access")
    page.press("Sign out")
    page.labelled("Management token", text + ENTER)
    page.wait_text("management token:search-team (project)", "#who")
    assert "Access" not in page.text("nav")
    page.press("Sign out")
    page.labelled("Management token", TOKEN + ENTER)
    page.wait_text("management token (admin)", "#who")
    page.press("Access")
    page.wait_text("search-team", "table")
    page.press("Revoke")
    page.wait_text("can't be undone", "dialog")
    page.run("document.querySelector('dialog .danger').focus()")
    page.keys(ENTER)
    page.wait_text("revoked", "table")
    page.press("Sign out")
    page.labelled("Management token", text + ENTER)
    page.wait_text("Send the management token", ".error")
    page.labelled("Management token", TOKEN + ENTER)
    page.wait_text("management token (admin)", "#who")


def look_around(page: Browser, running: Running) -> None:
    """Who may only read, and who has one project, sees what they may and is offered no more."""
    store = running.tenant.store
    made = ManagementTokens(store.connection, store.audit)
    acme = running.tenant.project.id
    for role, projects in (("read", ()), ("project", (acme,))):
        _, text = made.create(f"a {role}", role, projects=projects)
        page.labelled("Management token", text.reveal() + ENTER)
        page.wait_text(f"management token:a {role} ({role})", "#who")
        page.press("Overview")
        shown = page.wait_text("Spend by project", "figcaption") and page.text("main")
        assert ("Proxies and dispatchers" in shown) == (role == "read")
        page.press("Projects")
        shown = page.wait_text("acme", "table") and page.text("main")
        assert "New project" not in shown
        assert ("search" in shown) == (role == "read")
        page.press("acme")
        shown = page.wait_text("History", "main")
        assert ("New token" in shown) == (role == "project")
        assert "Top up" not in shown
        page.press("Sign out")
        page.wait_text("Sign in", "h1")
