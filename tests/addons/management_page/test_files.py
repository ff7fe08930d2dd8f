"""The page's files: that they are whole, are served with what keeps others out, and know every field."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from tornado.web import Application

from addons.management_api.form_fields import form_fields
from addons.management_page.files import INDEX, STATIC, file_routes, read_files
from store.tokens import validation
from store.tokens.fields import offered_fields
from store.tokens.limits import LIMITS
from store.tokens.models import Project, Token
from tests.addons.management_api.conftest import serving

FILES = read_files()
MODULES = sorted(name for name in FILES if name.endswith(".js"))


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with (
        serving(lambda: Application(file_routes(), log_function=lambda _: None)) as url,
        httpx.Client(base_url=url, trust_env=False, timeout=30) as client,
    ):
        yield client


def test_the_page_is_served_as_it_is(client: httpx.Client) -> None:
    led = client.get("/", follow_redirects=True)
    assert (led.url.path, led.status_code) == ("/page/", 200)
    assert led.content == (STATIC / INDEX).read_bytes()
    assert led.headers["content-type"] == "text/html; charset=utf-8"
    for name, file in FILES.items():
        found = client.get(f"/page/{name}")
        assert (found.content, found.headers["content-type"]) == (file.content, file.content_type)
        again = client.get(f"/page/{name}", headers={"if-none-match": found.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    assert client.head("/page/").status_code == 200


@pytest.mark.parametrize("path", ["/page/", "/page/main.js", "/page/none.js"])
def test_what_browsers_are_told(client: httpx.Client, path: str) -> None:
    found = client.get(path)
    rules = dict(
        rule.strip().partition(" ")[::2] for rule in found.headers["content-security-policy"].split(";")
    )
    assert rules["default-src"] == "'none'"
    assert {rules[name] for name in ("script-src", "style-src", "connect-src", "img-src")} == {"'self'"}
    assert rules["frame-ancestors"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert found.headers["x-content-type-options"] == "nosniff"
    assert found.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("name", ["files.py", "../files.py", "%2e%2e/files.py", "__init__.py", "none.js"])
def test_no_other_file_is_there(client: httpx.Client, name: str) -> None:
    assert client.get(f"/page/{name}").status_code == 404


def test_it_has_no_script_or_style_within_and_asks_no_other_host() -> None:
    html = (STATIC / INDEX).read_text()
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=", html) == []
    for name in FILES:
        text = (STATIC / name).read_text()
        assert re.sub(r"http://www\.w3\.org/\S+|http://(ADDRESS|\$)", "", text).count("://") == 0, name
    for name in MODULES:
        assert (
            re.findall(r"innerHTML|insertAdjacentHTML|document\.write|\beval\b", (STATIC / name).read_text())
            == []
        )


OFFERED = re.compile(r"^export (?:async )?(?:function|const|class) (\w+)", re.MULTILINE)
IMPORTED = re.compile(r'^import \{([^}]+)\} from "\./([\w.]+)";$', re.MULTILINE)


def test_what_a_module_imports_is_there_and_used() -> None:
    named = re.findall(r'(?:src|href)="([\w.]+)"', (STATIC / INDEX).read_text())
    assert {"main.js", "page.css"} <= set(named) <= set(FILES)
    for name in MODULES:
        text = (STATIC / name).read_text()
        for names, source in IMPORTED.findall(text):
            wanted = {one.strip() for one in names.split(",")}
            assert wanted <= set(OFFERED.findall((STATIC / source).read_text())), (name, source)
            assert {one for one in wanted if len(re.findall(rf"\b{one}\b", text)) < 2} == set(), name


def test_every_kind_of_field_has_an_input() -> None:
    text = (STATIC / "fields.js").read_text()
    table = re.search(r"^const KINDS = {\n(.*?)^};", text, re.MULTILINE | re.DOTALL)
    assert table
    known = set(re.findall(r"^  (\w+): {", table[1], re.MULTILINE))
    offered = form_fields()
    for name, model in (("project", Project), ("token", Token)):
        fields = offered[name]
        assert [one["name"] for one in fields] == [each.name for each in offered_fields(model)]
        assert {one["kind"] for one in fields} - {"limits"} <= known
        assert {one["kind"] for field in fields for one in field.get("limits", ())} <= known


def test_a_field_has_the_limits_that_it_takes() -> None:
    taken = {
        (name, field["name"]): {one["name"] for one in field["limits"]}
        for name, fields in form_fields().items()
        for field in fields
        if field["kind"] == "limits"
    }
    assert taken["project", "limits"] == set(LIMITS)
    assert taken["token", "limits"] == set(LIMITS) - {"expires_at", "max_requests"}
    assert taken["project", "user_limits"] == set(validation.OF_USERS)
    assert taken["token", "session_limits"] == set(validation.OF_SESSIONS)
