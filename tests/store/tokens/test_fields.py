"""A field that is added to the list of a token's fields is everywhere: tried on a copy of the code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from store.core.errors import StoreError
from store.tokens.store import TokenStore
from tests.copied_code import copy_code, run_code

ADDED = {
    "store/tokens/models.py": [
        (
            "    limits: Annotated[Limits, Field(kind=LIMITS, keep=validation.token_limits",
            """    nickname: Annotated[
        str | None,
        Field(
            kind=TEXT,
            keep=validation.nickname,
            option=Option("--nickname", "What people call it.", "Take its nickname away."),
            in_list=InList(1, 8),
        ),
    ] = None
""",
        )
    ],
    "store/tokens/validation.py": [
        (
            "def token_limits(",
            """def nickname(value: str | None) -> str | None:
    if value is not None and len(value) > 20:
        raise Invalid(f"nickname {value[:40]!r}: use at most 20 characters.")
    return value


""",
        )
    ],
    "store/database/schema.py": [
        ('        text("last_used_from", null=True),\n', '        text("nickname", null=True),\n'),
        ('}\n"""In their order', '    "m999_nickname": (),\n'),
    ],
}
"""All that a token column takes: at most four files."""

USE = """
import json, sys
from click.testing import CliRunner
from addons.management_api import model_fields
from addons.management_api.fields import Fields
from scripts.cli import main
from store.tokens.models import Token
from store.tokens.sqlite_lookup import TokenLookup
from store.tokens.store import TokenStore

path = sys.argv[1]

def run(*arguments, stdin=None):
    result = CliRunner().invoke(main, ["--store", path, *arguments], input=stdin)
    return {"code": result.exit_code, "out": result.stdout, "err": result.stderr}

said = {"help": run("token", "create", "--help"), "list": run("token", "list")}
made = json.loads(run("token", "create", "--project", "acme", "--nickname", "ada", "--json")["out"])
said["made"] = made["nickname"]
lookup = TokenLookup(path)
said["found"] = [lookup.find(made["token"]).token.nickname]
said["shown"] = run("token", "show", made["id"])
said["updated"] = run("token", "update", made["id"], "--nickname", "bob", "--json")
said["found"].append(lookup.find(made["token"]).token.nickname)
said["audit"] = run("audit", "list", "--json")
said["refused"] = run("token", "update", made["id"], "--nickname", "x" * 21)
said["removed"] = run("token", "update", made["id"], "--no-nickname", "--json")
said["imported"] = run("token", "import", "-", "--json", stdin="project,nickname\\nacme,eve\\nacme,\\n")
store = TokenStore.open(path)
for body in (b'{"nickname": "api"}', b'{"nickname": null}', b"{}"):
    given = model_fields.given(Fields.of_body(body, model_fields.names_of(Token)), Token)
    said.setdefault("api", []).append(store.update_token(made["id"], **given).as_dict()["nickname"])
print(json.dumps(said))
"""


OPEN = """
import sys
from store.tokens.store import TokenStore

TokenStore.open(sys.argv[1]).close()
print("null")
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A copy of the product's code with one field more."""
    assert len(ADDED) <= 4
    copy_code(tmp_path / "code", ADDED)
    return tmp_path / "code"


def test_a_new_field_is_everywhere(code: Path, tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = TokenStore.open(path)
    store.create_project("acme", "env:KEY")
    store.create_token("acme")
    store.close()
    said = run_code(code, USE, path)
    assert "--nickname TEXT" in said["help"]["out"]
    assert "What people call it." in said["help"]["out"]
    assert "nickname" in said["list"]["out"].splitlines()[0].lower()
    assert said["made"] == "ada"
    assert "nickname" in said["shown"]["out"]
    assert json.loads(said["updated"]["out"])["nickname"] == "bob"
    assert said["found"] == ["ada", "bob"], "a change of it raises the revision, by which proxies go"
    last = [record for record in json.loads(said["audit"]["out"]) if record["action"] == "token.update"]
    assert "ada" in json.dumps(last)
    assert "bob" in json.dumps(last)
    assert said["refused"]["code"] == 2
    assert "use at most 20 characters" in said["refused"]["err"]
    assert json.loads(said["removed"]["out"])["nickname"] is None
    assert [token["nickname"] for token in json.loads(said["imported"]["out"])] == ["eve", None]
    assert said["api"] == ["api", None, None]


def test_an_earlier_version_refuses_the_store_then(code: Path, tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    run_code(code, OPEN, path)
    with pytest.raises(StoreError, match="made by a newer llmproxy"):
        TokenStore.open(path)
