from __future__ import annotations

from pathlib import Path

import pytest

from store.core import configuration
from store.core.errors import Invalid
from store.database.location import from_environment


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(configuration, "PLACES", (Path("llmproxy.toml"),))
    monkeypatch.delenv(configuration.VARIABLE, raising=False)
    monkeypatch.delenv("LLMPROXY_STORE", raising=False)


def test_without_a_file_nothing_is_set() -> None:
    assert configuration.load() == configuration.Configuration()


def test_the_working_folder_has_it(tmp_path: Path) -> None:
    (tmp_path / "llmproxy.toml").write_text('store = "here.db"\n[proxy]\nllm_models = ["gpt-*"]\n')
    found = configuration.load()
    assert found.path == tmp_path / "llmproxy.toml"
    assert found.place("store") == str(tmp_path / "here.db")
    assert found.proxy == {"llm_models": ["gpt-*"]}


def test_the_variable_goes_before_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "llmproxy.toml").write_text('store = "here.db"')
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "own.toml").write_text('store = "there.db"\nspool = "/var/spool/llm"')
    monkeypatch.setenv(configuration.VARIABLE, "other/own.toml")
    found = configuration.load()
    assert found.place("store") == str(tmp_path / "other" / "there.db")
    assert found.place("spool") == "/var/spool/llm"
    assert found.place("project") is None


def test_the_store_of_the_environment_goes_before_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "llmproxy.toml").write_text('store = "postgresql://u:secret@h/d"')
    assert str(from_environment()) == "postgresql://u@h/d"
    monkeypatch.setenv("LLMPROXY_STORE", "environment.db")
    assert from_environment().path == Path("environment.db")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stor = 'x'", "there is no setting 'stor'; did you mean store?"),
        ("store = 1", "store is 1; write a text."),
        ("proxy = 1", r"proxy is 1; write it as a table, \[proxy\]."),
        ("store = ", "is not TOML"),
    ],
)
def test_what_is_not_understood(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "llmproxy.toml").write_text(text)
    with pytest.raises(Invalid, match=said):
        configuration.load()


def test_a_file_that_is_named_and_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(configuration.VARIABLE, "none.toml")
    with pytest.raises(Invalid, match=r"none.toml: No such file.*; correct LLMPROXY_CONFIG"):
        configuration.load()
