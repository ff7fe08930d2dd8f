"""Rules for parameters, and origins, of tokens and projects: kept, changed and read again on every engine."""

from __future__ import annotations

import pytest

from store.core.errors import Invalid
from store.tokens.store import TokenStore


def test_they_are_kept_and_changed(store: TokenStore) -> None:
    project = store.create_project("acme", "env:KEY", parameters={"n": "1"}, origins=["https://b.test", "*"])
    assert (project.parameters, project.origins) == ({"n": "1"}, ("*", "https://b.test"))
    token, _ = store.create_token("acme", parameters={"tools[].type": "function|web_*"})
    assert store.get_token(token.id).as_dict()["parameters"] == {"tools[].type": "function|web_*"}
    changed = store.update_token(token.id, parameters=lambda old: {**old, "temperature": "0..1"})
    assert changed.parameters == {"tools[].type": "function|web_*", "temperature": "0..1"}
    assert store.update_token(token.id, origins=["https://a.test"]).origins == ("https://a.test",)
    grant = store.explained(token.id, lambda _db, grant: grant)
    assert [(rule.field, rule.whose) for rule in grant.parameter_rules] == [
        ("temperature", "the proxy token"),
        ("tools[].type", "the proxy token"),
        ("n", "its project"),
    ]


def test_what_cannot_be_is_refused(store: TokenStore) -> None:
    store.create_project("acme", "env:KEY")
    for given in ({"n": "3..1"}, {"a b": "1"}, {f"f{number}": "1" for number in range(33)}):
        with pytest.raises(Invalid, match="parameter"):
            store.create_token("acme", parameters=given)
    with pytest.raises(Invalid, match="at most 32"):
        store.create_token("acme", origins=[f"https://a{number}.test" for number in range(33)])
