"""What of mitmproxy's chain goes, and what a user's options keep."""

from __future__ import annotations

import gc
import weakref

import pytest
from mitmproxy import options
from mitmproxy.addons import default_addons
from mitmproxy.http import Headers, MessageData
from mitmproxy.tools.dump import DumpMaster

from addons.mitm.trim import HANGING_BYTES, UNNEEDED, Leftovers, check_no_types, trim


def dump(**settings: object) -> DumpMaster:
    master = DumpMaster(options.Options(), with_termlog=False, with_dumper=False)
    master.options.update(**settings)
    return master


async def test_every_name_is_one_of_this_mitmproxys_default_addons() -> None:
    names = {getattr(addon, "name", type(addon).__name__.lower()) for addon in default_addons()}
    assert UNNEEDED.keys() <= names


async def test_what_no_option_needs_goes_and_the_rest_stays_in_order() -> None:
    master = dump()
    before = list(master.addons.chain)
    assert trim(master) == list(UNNEEDED)
    assert master.addons.chain == [addon for addon in before if addon in master.addons.chain]
    assert len(master.addons.chain) == len(before) - len(UNNEEDED)
    for name in ("core", "proxyserver", "tlsconfig", "nextlayer", "scriptloader", "save", "disableh2c"):
        assert master.addons.get(name) is not None


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"anticache": True}, "anticache"),
        ({"block_list": ["/~d example.com/404"]}, "blocklist"),
        ({"stickycookie": "~d example.com"}, "stickycookie"),
        ({"stickyauth": "~d example.com"}, "stickyauth"),
    ],
)
async def test_an_option_that_is_set_keeps_its_addon(settings: dict[str, object], kept: str) -> None:
    master = dump(**settings)
    assert kept not in trim(master)
    assert master.addons.get(kept) is not None


async def test_an_interactive_program_keeps_all() -> None:
    class WebMaster(DumpMaster):
        pass

    master = WebMaster(options.Options(), with_termlog=False, with_dumper=False)
    before = list(master.addons.chain)
    assert trim(master) == []
    assert master.addons.chain == before


def test_a_message_is_made_without_a_check_of_its_types(monkeypatch: pytest.MonkeyPatch) -> None:
    """mitmproxy itself leaves it out under ``python -O``; a new version may do so always."""
    monkeypatch.setattr(MessageData, "__post_init__", MessageData.__post_init__)
    given = (b"HTTP/1.1", Headers(), b"", None, 0.0, None)
    with pytest.raises(TypeError):
        MessageData("HTTP/1.1", *given[1:])  # type: ignore[arg-type]
    check_no_types()
    assert MessageData("HTTP/1.1", *given[1:]).http_version == "HTTP/1.1"  # type: ignore[arg-type, comparison-overlap]


class Ring:
    """What only the collector frees."""

    def __init__(self) -> None:
        self.itself = self


def test_large_bodies_do_not_hang_in_circles_for_long() -> None:
    leftovers = Leftovers()
    gc.disable()
    try:
        freed = weakref.ref(Ring())
        leftovers.add(HANGING_BYTES - 1)
        assert freed() is not None
        leftovers.add(1)
        assert freed() is None
    finally:
        gc.enable()
