"""``llmproxy.toml`` as the commands see it, and what ``llmproxy config show`` says of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from scripts.cli import main
from store.core import configuration


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("LLMPROXY_SPOOL", "LLMPROXY_STORE", "LLMPROXY_BUS", "DISPATCHER_SERVICE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(configuration.VARIABLE, "")  # set back at the end, as --config sets it
    monkeypatch.setattr(configuration, "PLACES", ())
    return tmp_path / "own.toml"


def run(*arguments: str) -> str:
    done = CliRunner().invoke(main, list(arguments))
    assert done.exit_code == 0, done.output
    return done.stdout


def test_each_setting_has_its_source(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(
        'store = "mysql://u:pa55word@h/d"\n[proxy]\nllm_models = ["gpt-*"]\nllm_bus = "redis://f/0"\n'
        '[dispatch]\nservice = "helicone"\nhelicone.api_key = "sk-helicone-0000"\n'
    )
    monkeypatch.setenv("LLMPROXY_BUS", "redis://u:hidden@e/0")
    text = run("--config", str(file), "config", "show", "--json")
    assert "pa55word" not in text
    assert "hidden" not in text
    assert "sk-helicone" not in text
    rows = {row["setting"]: (row["value"], row["source"]) for row in json.loads(text)}
    assert rows["store"] == ("mysql://u@h/d", str(file))
    assert rows["llm_models"] == (["gpt-*"], str(file))
    assert rows["llm_bus"] == ("redis://u@e/0", "LLMPROXY_BUS")
    assert rows["llm_on_abort"] == ("cancel", "default")
    assert rows["dispatch helicone_api_key"] == ("(set)", str(file))


def test_commands_use_the_store_that_it_names(file: Path) -> None:
    file.write_text('store = "named.db"')
    made = CliRunner().invoke(
        main, ["--config", str(file), "project", "create", "p", "--api-key", "-"], input="sk-real-0000000000"
    )
    assert made.exit_code == 0, made.output
    assert (file.parent / "named.db").exists()
    assert '"name": "p"' in run("--config", str(file), "project", "show", "p", "--json")


def test_the_dispatcher_takes_its_table(file: Path, tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    file.write_text(
        f'spool = "spool"\n[dispatch]\nservice = "file"\nfile.output = "{tmp_path / "out.jsonl"}"\n'
    )
    assert (
        json.loads(run("--config", str(file), "dispatch", "--once", "--json"))["sinks"]["file"]["sent"] == 0
    )


def test_a_slip_is_named_by_every_command(file: Path) -> None:
    file.write_text("[proxy]\nllm_modles = []")
    done = CliRunner().invoke(main, ["--config", str(file), "config", "show"])
    assert done.exit_code == 2
    assert "there is no option 'llm_modles'; did you mean llm_models?" in done.output
