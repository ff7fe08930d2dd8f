"""Named management tokens over HTTP: made, listed and revoked by admins."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from store.audit.log import Wanted
from store.tokens.management_tokens import PREFIX
from tests.addons.management_api.conftest import Served, body

PATH = "/management-tokens"


def status(served: Served, token: str, path: str = "/projects") -> int:
    url = f"{str(served.client.base_url).removesuffix('/')}{path}"
    headers = {"authorization": f"Bearer {token}"}
    return httpx.get(url, headers=headers, trust_env=False, timeout=30).status_code


def test_one_is_made_shown_once_used_and_revoked(served: Served) -> None:
    project = served.store.create_project("search", "sk-real-12345678")
    made = served.post(PATH, 201, name="team", role="project", projects=["search"], expires_at="30d")
    text = made.pop("token")
    assert text.startswith(PREFIX)
    assert (made["role"], made["projects"], made["active"]) == ("project", [project.id], True)
    ends = datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=29) < ends <= timedelta(days=30)
    assert status(served, text) == 200
    assert status(served, text, PATH) == 403
    listed = served.client.get(PATH)
    assert text not in listed.text
    (shown,) = body(listed)["data"]
    assert shown["last_used_at"]
    assert {**shown, "last_used_at": None} == made
    revoked = body(served.client.delete(f"{PATH}/{made['id']}"))
    assert (revoked["active"], revoked["revoked_at"] is not None) == (False, True)
    assert body(served.client.delete(f"{PATH}/team")) == revoked
    assert status(served, text) == 401
    rows = served.store.audit.find(Wanted(action="management_token"), limit=5)
    assert [row.action for row in rows][-2:] == ["management_token.revoke", "management_token.create"]
    assert {row.actor for row in rows} == {"management token"}
    assert text not in str(rows)


def test_how_long_they_live(served: Served) -> None:
    usual = served.post(PATH, 201, name="usual", role="read")
    ends = datetime.fromisoformat(usual["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=89) < ends <= timedelta(days=90)
    for number, given in enumerate((None, "never")):
        assert served.post(PATH, 201, name=f"n{number}", role="read", expires_at=given)["expires_at"] is None


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"role": "read"}, "name"),
        ({"name": "x"}, "role"),
        ({"name": "x", "role": "root"}, "role"),
        ({"name": "x", "role": "project"}, "projects"),
        ({"name": "x", "role": "project", "projects": []}, "projects"),
        ({"name": "x", "role": "admin", "projects": ["search"]}, "projects"),
        ({"name": "x", "role": "read", "expires_at": "2020-01-01"}, "expires_at"),
        ({"name": "", "role": "read"}, "name"),
        ({"name": "x", "role": "read", "token": "llmp-mgmt-mine"}, "token"),
    ],
)
def test_what_is_not_taken(served: Served, fields: dict[str, object], param: str) -> None:
    served.store.create_project("search", "sk-real-12345678")
    assert served.post(PATH, 400, **fields)["error"]["param"] == param
    assert served.get(PATH)["data"] == []


def test_what_is_not_there_or_is_there_already(served: Served) -> None:
    served.post(PATH, 404, name="x", role="project", projects=["nothing"])
    body(served.client.delete(f"{PATH}/nothing"), 404)
    served.post(PATH, 201, name="x", role="read")
    served.post(PATH, 409, name="x", role="admin")
    assert [(one["name"], one["role"]) for one in served.get(PATH)["data"]] == [("x", "read")]
