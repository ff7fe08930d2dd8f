"""Options of mitmproxy take their defaults from llmproxy.toml."""

from __future__ import annotations

from pathlib import Path

import pytest
from mitmproxy import exceptions, options
from mitmproxy.addonmanager import Loader
from mitmproxy.master import Master

from addons.settings.options import declare
from store.core import configuration


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("LLMPROXY_SPOOL", "LLMPROXY_STORE", "LLMPROXY_BUS"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "llmproxy.toml"
    monkeypatch.setenv(configuration.VARIABLE, str(path))
    return path


def write(path: Path, text: str) -> None:
    path.write_text(text)


async def declared() -> options.Options:
    master = Master(options.Options())
    declare(Loader(master))
    return master.options


async def test_values_are_defaults(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        file,
        'store = "s.db"\nspool = "sp"\n'
        '[proxy]\nllm_endpoints = ["inference"]\nllm_trim = false\nllm_bus = "redis://file/0"',
    )
    monkeypatch.setenv("LLMPROXY_BUS", "redis://environment/0")
    found = await declared()
    assert found.llm_store == str(file.parent / "s.db")
    assert found.llm_spool == str(file.parent / "sp")
    assert list(found.llm_endpoints) == ["inference"]
    assert found.llm_trim is False
    assert found.llm_bus == "redis://environment/0"
    found.update(llm_endpoints=["storage"])
    assert list(found.llm_endpoints) == ["storage"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("llm_trim = 1", r"llm_trim is 1 in \[proxy\]; write a value of type bool."),
        ('llm_endpoints = "inference"', r"llm_endpoints is 'inference' in \[proxy\]; write a list of texts."),
        ("llm_endpoint = []", "there is no option 'llm_endpoint'; did you mean llm_endpoints?"),
        ('llm_store = "x"', r"write store at the top in place of llm_store in \[proxy\]."),
    ],
)
async def test_what_cannot_be_used_stops_the_start(file: Path, text: str, said: str) -> None:
    write(file, f"[proxy]\n{text}")
    with pytest.raises(exceptions.OptionsError, match=f"llmproxy: .*{said}"):
        await declared()
