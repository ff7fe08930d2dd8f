"""Take those of mitmproxy's default addons out of the chain that the options in use do not need.

Each addon in the chain costs time for every event of every call. What goes does nothing here: it waits for an
option that is not set, or serves commands of interactive programs. What an option of the user's needs stays;
mitmweb and mitmproxy's console keep all.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Mapping

from mitmproxy import http, master, options

logger = logging.getLogger(__name__)

UNNEEDED: Mapping[str, tuple[str, ...]] = {
    # Wait for an option: that which keeps them.
    "anticache": ("anticache",),
    "anticomp": ("anticomp",),
    "blocklist": ("block_list",),
    "mapremote": ("map_remote",),
    "maplocal": ("map_local",),
    "modifybody": ("modify_body",),
    "modifyheaders": ("modify_headers",),
    "savehar": ("hardump",),
    "serverplayback": ("server_replay",),
    "stickyauth": ("stickyauth",),
    "stickycookie": ("stickycookie",),
    # Commands of interactive programs; nothing in the options keeps them.
    "browser": (),
    "commandhistory": (),
    "comment": (),
    "cut": (),
    "export": (),
}
"""Names of addons, and the options that keep each; default addons in every release from 11.0.2 to 12.3."""


THRESHOLDS = (10_000, 5, 5)
"""New objects after which the collector looks at them, and after how many such looks at older ones."""
HANGING_BYTES = 32 * 2**20
"""It is that of the bodies of calls that have ended: they may hang in circles of references until somebody
looks."""


def trim(running: master.Master) -> list[str]:
    """Remove what is not needed from a mitmdump; the names of those that went."""
    if type(running).__name__ != "DumpMaster":
        return []
    gone = []
    for name, keeping in UNNEEDED.items():
        addon = running.addons.get(name)
        if addon is not None and not any(_is_set(running.options, option) for option in keeping):
            running.addons.remove(addon)
            gone.append(name)
    logger.debug("llmproxy: took %s out of mitmproxy's chain.", ", ".join(gone))
    return gone


def collect_rarely() -> None:
    """Have the garbage collector leave alone what is there once the proxy runs, and look less often.

    A call leaves some hundred objects; by Python's default the collector would look after every few calls.
    """
    if gc.get_freeze_count() == 0:
        gc.collect()
        gc.freeze()
    gc.set_threshold(*THRESHOLDS)


class Leftovers:
    """Has the collector look at what calls have left behind, where their bodies were large."""

    def __init__(self) -> None:
        self._bytes = 0

    def add(self, size: int) -> None:
        """Note the bytes of the bodies of a call that has ended."""
        self._bytes += size
        if self._bytes >= HANGING_BYTES:
            self._bytes = 0
            gc.collect()


def check_no_types() -> None:
    """Leave out mitmproxy's checks of the types of a message's fields, as Python does with ``-O``."""
    if hasattr(http.MessageData, "__post_init__"):
        http.MessageData.__post_init__ = _check_nothing  # type: ignore[method-assign]


def _check_nothing(_: http.MessageData) -> None: ...


def _is_set(found: options.Options, name: str) -> bool:
    """Tell whether an option exists and differs from its default."""
    return name in found and bool(found.has_changed(name))
