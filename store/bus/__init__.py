"""Share spools of many machines in one Redis Stream, from which dispatchers anywhere take what is next.

::

    spool ──(forwarder, in the proxy)──> stream ──(consumer group: one for each sink)──> dispatchers
      ^                                      │
      └── cursor moves when every group has acknowledged ──┘

The local spool stays the truth: its cursor moves, and its segments go, only when every consumer group has
acknowledged what was published. Redis may be away, forget everything, or be replaced meanwhile: then what is
not acknowledged is published again. The price is that it may come twice; ``event_id`` tells.
"""

from store.bus.forwarder import Forwarder
from store.bus.link import BadBus, Link
from store.bus.reader import BusReader

__all__ = ["BadBus", "BusReader", "Forwarder", "Link"]
