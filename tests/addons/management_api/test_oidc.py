"""Log-ins by OpenID Connect, with an issuer of our own on this machine."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from mitmproxy import exceptions

from addons.management_api.oidc import issuer as issuers
from addons.management_api.oidc.settings import OidcClient, OidcSettings, Rule, check_issuer
from addons.settings import values
from store.audit.log import Wanted
from store.core.errors import Invalid
from tests.addons.management_api.conftest import Served, body
from tests.addons.management_api.issuer import AUDIENCE, Issuer

RULES = ("admin:groups=platform", "read:realm.roles=finance", "project/mine:groups=search")


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    made = Issuer()
    yield made
    made.close()


@pytest.fixture
def oidc_settings(issuer: Issuer) -> OidcSettings:
    return OidcSettings(issuer.url, AUDIENCE, [Rule.parse(text) for text in RULES])


@pytest.fixture
def engine_name() -> str:
    return "sqlite"


def ask(
    served: Served, token: str, method: str = "GET", path: str = "/projects", **how: Any
) -> httpx.Response:
    url = f"{str(served.client.base_url).removesuffix('/')}{path}"
    headers = {"authorization": f"Bearer {token}"}
    return httpx.request(method, url, headers=headers, trust_env=False, timeout=30, **how)


def test_claims_say_what_a_token_opens(served: Served, issuer: Issuer) -> None:
    mine = served.store.create_project("mine", "sk-real-12345678")
    served.store.create_project("other", "sk-real-12345678")
    new = {"name": "x", "api_key": "sk-real-12345678"}
    admin = issuer.token(groups=["people", "platform"])
    body(ask(served, admin, "POST", json=new), 201)
    (row,) = served.store.audit.find(Wanted(action="project.create", actor="oidc:"), limit=1)
    assert row.actor == "oidc:jane"
    finance = issuer.token(realm={"roles": ["finance"]})
    assert len(body(ask(served, finance))["data"]) == 3
    body(ask(served, finance, "POST", json={**new, "name": "y"}), 403)
    team = issuer.token(groups="search")
    assert [one["id"] for one in body(ask(served, team))["data"]] == [mine.id]
    body(ask(served, issuer.token(groups=["others"])), 401)
    body(ask(served, issuer.token()), 401)
    assert issuer.asked.count("/keys") == 1


def test_no_other_token_is_taken(served: Served, issuer: Issuer) -> None:
    groups, now = ["platform"], int(time.time())
    good = issuer.token(groups=groups)
    body(ask(served, good))
    head, payload, signature = good.split(".")
    stranger = Issuer()
    own = {"iss": issuer.url, "aud": AUDIENCE, "sub": "x", "iat": now, "exp": now + 60, "groups": groups}
    public = issuer.keys["one"].public_key()
    bad = [
        issuer.token(groups=groups, exp=now - 3600),
        issuer.token(groups=groups, exp=None),
        issuer.token(groups=groups, nbf=now + 3600),
        issuer.token(groups=groups, aud="another"),
        issuer.token(groups=groups, aud=None),
        issuer.token(groups=groups, iss="https://evil.example"),
        issuer.token(groups=groups, sub=None),
        stranger.token(groups=groups, iss=issuer.url),
        jwt.encode(own, "", algorithm="none", headers={"kid": "one"}),
        jwt.encode(own, str(public.public_numbers().n) * 2, algorithm="HS256", headers={"kid": "one"}),
        jwt.encode(own, ec.generate_private_key(ec.SECP256R1()), algorithm="ES256", headers={"kid": "one"}),
        f"{head}.{payload}.{signature[:-4]}AAAA",
        f"{head}.{payload}.",
        "eyJ.eyJ.x",
    ]
    stranger.close()
    for token in bad:
        refused = body(ask(served, token), 401)
        assert token not in json.dumps(refused)
    assert len(served.denied) == len(bad)


def test_keys_may_change(served: Served, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issuers, "COOLDOWN_SECONDS", 0.0)
    assert ask(served, issuer.token(groups=["platform"])).status_code == 200
    issuer.new_key("two")
    assert ask(served, issuer.token("two", groups=["platform"])).status_code == 200


def test_an_issuer_that_is_another_or_away(served: Served, issuer: Issuer) -> None:
    issuer.named = "https://another.example"
    assert body(ask(served, issuer.token(groups=["platform"])), 503)["error"]["code"] == "store_unavailable"
    body(served.client.get("/projects"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "admin",
        "admin:groups",
        "admin:=x",
        "admin:groups=",
        "root:a=b",
        "project:a=b",
        "project/:a=b",
        "read/x:a=b",
    ],
)
def test_rules_that_are_none(text: str) -> None:
    with pytest.raises(Invalid, match="CLAIM=VALUE"):
        Rule.parse(text)


def test_only_an_issuer_that_nobody_can_play() -> None:
    check_issuer("https://login.example.com/realm")
    check_issuer("http://localhost:9000")
    for issuer in ("http://login.example.com", "ftp://x", "login.example.com", ""):
        with pytest.raises(Invalid, match="https"):
            check_issuer(issuer)


def chosen(**options: Any) -> Any:
    """What the options of OpenID Connect are, as in mitmproxy."""
    usual = {
        "llm_oidc_issuer": "",
        "llm_oidc_audience": "",
        "llm_oidc_roles": [],
        "llm_oidc_client_id": "",
        "llm_oidc_client_secret": "",
        "llm_oidc_scopes": "openid profile email",
    }
    return SimpleNamespace(**{**usual, **options})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"llm_oidc_audience": "a", "llm_oidc_roles": ["admin:a=b"]}, "set llm_oidc_issuer"),
        ({"llm_oidc_client_id": "a", "llm_oidc_roles": ["admin:a=b"]}, "set llm_oidc_issuer"),
        ({"llm_oidc_issuer": "https://x.example", "llm_oidc_roles": ["admin:a=b"]}, "llm_oidc_audience"),
        ({"llm_oidc_issuer": "https://x.example", "llm_oidc_audience": "a"}, "who may do what"),
        ({"llm_oidc_issuer": "http://x.example", "llm_oidc_audience": "a"}, "who may do what"),
        (
            {
                "llm_oidc_issuer": "http://x.example",
                "llm_oidc_audience": "a",
                "llm_oidc_roles": ["admin:a=b"],
            },
            "https",
        ),
        (
            {"llm_oidc_issuer": "https://x.example", "llm_oidc_audience": "a", "llm_oidc_roles": ["admin"]},
            "CLAIM=VALUE",
        ),
        ({"llm_oidc_client_secret": "env:HOME"}, "set llm_oidc_client_id"),
        ({"llm_oidc_client_id": "page", "llm_oidc_scopes": "profile"}, "openid"),
        ({"llm_oidc_client_id": "page", "llm_oidc_client_secret": "s3cret"}, "holds no reference"),
        ({"llm_oidc_client_id": "page", "llm_oidc_client_secret": "env:NOT_THERE"}, "not set"),
        ({"llm_oidc_client_id": "page", "llm_oidc_client_secret": "file:/not/there"}, "No such file"),
    ],
)
def test_options_that_do_not_fit_stop_the_start(options: dict[str, Any], said: str) -> None:
    with pytest.raises(exceptions.OptionsError, match=said) as raised:
        values.oidc(chosen(**options))
    assert "s3cret" not in str(raised.value)


def test_options_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"llm_oidc_issuer": "https://x.example", "llm_oidc_roles": ["project/p:c.d=e=f"]}
    rules = (Rule("project", "c.d", "e=f", "p"),)
    bearer = values.oidc(chosen(**given, llm_oidc_audience="a"))
    assert bearer == OidcSettings("https://x.example", "a", rules)
    monkeypatch.setenv("PAGE_SECRET", "s3cret")
    page = chosen(**given, llm_oidc_client_id="page", llm_oidc_client_secret="env:PAGE_SECRET")
    client = OidcClient("page", "env:PAGE_SECRET", "openid profile email")
    assert values.oidc(page) == OidcSettings("https://x.example", None, rules, client)
    public = values.oidc(chosen(**given, llm_oidc_client_id="page", llm_oidc_scopes="openid groups"))
    assert public
    assert public.client == OidcClient("page", None, "openid groups")
    assert values.oidc(chosen()) is None
