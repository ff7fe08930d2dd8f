"""Keep the spool: a folder of append-only JSON Lines segments between the proxies and the dispatchers.

::

    spool/
      0197…c1.host.4711.000001.jsonl    a segment: writer, host, pid, counter; one record a line
      journal/0197…c1.host.4711.000001.open   calls that are under way
      rolled/0197…c1                    up to which event the store has counted what that writer wrote
      cursors/cloudwatch.json           how far a consumer has come in each segment
      cursors/cloudwatch.lock           held by the consumer that is at work
      dead/cloudwatch.jsonl             what a consumer could not use, with the reason

What is promised: a record whose `append` returned is on disk and will be read by every consumer, at least
once and in the order of its writer; half a line is never handed out; one bad line never stops what follows
it. One process writes a segment, so any number of proxies share a folder without waiting for each other.
"""

from store.spool.closing import close_dead_writers
from store.spool.journal import Journal
from store.spool.reader import Batch, Record, SpoolReader
from store.spool.scan import scan
from store.spool.segment import Line, encode_object, parse
from store.spool.writer import SpoolWriter, open_spool

__all__ = [
    "Batch",
    "Journal",
    "Line",
    "Record",
    "SpoolReader",
    "SpoolWriter",
    "close_dead_writers",
    "encode_object",
    "open_spool",
    "parse",
    "scan",
]
