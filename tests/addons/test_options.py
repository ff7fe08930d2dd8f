"""Options that are given wrongly name themselves, the value and the remedy."""

from __future__ import annotations

import pytest
from mitmproxy import exceptions, options
from mitmproxy.addonmanager import Loader
from mitmproxy.master import Master

from addons.declared import declare
from addons.options import Settings, parse
from addons.usage_policy import Policy


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
    [("llm_on_abort", "drian"), ("llm_drain_calls", 0), ("llm_drain_seconds", -1)],
)
async def test_values_that_cannot_be_used(name: str, value: object) -> None:
    with pytest.raises(exceptions.OptionsError, match=f"{name}={value!r}: use"):
        await settings(**{name: value})
