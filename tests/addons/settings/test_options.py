"""Options that are given wrongly name themselves, the value and the remedy."""

from __future__ import annotations

import pytest
from mitmproxy import exceptions, options
from mitmproxy.addonmanager import Loader
from mitmproxy.master import Master

from addons.flow.include_usage_hosts import Policy
from addons.settings.options import Settings, declare, parse


async def settings(**values: object) -> Settings:
    master = Master(options.Options())
    declare(Loader(master))
    master.options.update(**values)
    return parse(master.options)


@pytest.mark.parametrize(
    ("values", "policy"),
    [
        ([], None),
        (["auto"], Policy(known=True)),
        (["off"], Policy(known=False)),
        (["auto,LLM.example.com", "*.vllm.example"], Policy(True, ("llm.example.com", "*.vllm.example"))),
        (["localhost"], Policy(False, ("localhost",))),
        (["off,auto"], None),
        (["https://api.example.com"], None),
        (["a.*.example"], None),
    ],
)
async def test_include_usage(values: list[str], policy: Policy | None) -> None:
    if policy:
        assert (await settings(llm_include_usage=values)).include_usage == policy
    else:
        with pytest.raises(exceptions.OptionsError, match=r"llm_include_usage.*: use|; use"):
            await settings(llm_include_usage=values)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("llm_on_abort", "drian"), ("llm_drain_calls", 0), ("llm_drain_seconds", -1)),
        *(("llm_cache_for", "every"), ("llm_cache_scope", "team"), ("llm_cache_ttl", -1)),
        *(("llm_cache_entries", 0), ("llm_cache_bytes", 0), ("llm_cache_answer_limit", 0)),
    ],
)
async def test_values_that_cannot_be_used(name: str, value: object) -> None:
    with pytest.raises(exceptions.OptionsError, match=f"{name}={value!r}: use"):
        await settings(**{name: value})


@pytest.mark.parametrize("value", ["disk", "sqlite:", "https://user:secret@cache.example"])
async def test_a_place_of_a_cache_that_is_none(value: str) -> None:
    with pytest.raises(exceptions.OptionsError, match=r"llm_cache: .*use memory, sqlite:PATH or") as caught:
        await settings(llm_cache=value)
    assert "secret" not in str(caught.value)
