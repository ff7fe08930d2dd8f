"""``llmproxy tokenizers``: from tiktoken's host, or else out of a wheel; every file checked."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from addons.openai import vocabulary
from scripts.cli import main
from scripts.commands import tokenizers

CONTENT = b"aGk= 0\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and two small vocabularies in place of the real ones."""
    import hashlib  # noqa: PLC0415

    small = {
        name: vocabulary.Vocabulary(name, hashlib.sha256(CONTENT + name.encode()).hexdigest())
        for name in ("o200k_base", "cl100k_base")
    }
    monkeypatch.setattr(tokenizers, "VOCABULARIES", small)
    folder = tmp_path / "cache"
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(folder))
    return folder


def use_wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, spoil: bytes = b"") -> None:
    """A pip that gives a wheel of ours."""
    wheel = tmp_path / "litellm-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, item in tokenizers.VOCABULARIES.items():
            archive.writestr(f"{tokenizers.INSIDE}/{item.key}", CONTENT + name.encode() + spoil)
    script = "import shutil, sys; shutil.copy(sys.argv[1], sys.argv[2])"
    monkeypatch.setattr(
        tokenizers, "_downloaders", lambda folder: [[sys.executable, "-c", script, str(wheel), str(folder)]]
    )


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["tokenizers", *arguments])
    return result.exit_code, result.output


def test_out_of_the_package(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_wheel(monkeypatch, tmp_path)
    assert run("status")[0] == 1
    code, output = run("install", "--from-package")
    assert code == 0, output
    assert {path.name for path in folder.iterdir()} == {item.key for item in tokenizers.VOCABULARIES.values()}
    assert run("status")[0] == 0
    assert "already in" in run("install")[1]


def test_the_host_that_is_out_of_reach(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_wheel(monkeypatch, tmp_path)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens there
    code, output = run("install")
    assert code == 0, output
    assert "trying the litellm package" in output
    assert len(list(folder.iterdir())) == 2


def test_a_wrong_file_is_not_kept(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_wheel(monkeypatch, tmp_path, spoil=b"\n")
    code, output = run("install", "--from-package")
    assert code == 1
    assert "Error: o200k_base has the wrong SHA-256" in output
    assert list(folder.iterdir()) == []


def test_no_source_at_all(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = [sys.executable, "-c", "import sys; sys.exit('no route')"]
    monkeypatch.setattr(tokenizers, "_downloaders", lambda folder: [failing])
    code, output = run("install", "--from-package")
    assert code == 1
    assert "could not be fetched (no route); check pip's index settings, or copy the files into" in output
