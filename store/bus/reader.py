"""Read the stream for a dispatcher: the same door as :class:`store.spool.SpoolReader`."""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from store.bus.link import Link
from store.core.periodic_thread import PeriodicThread
from store.spool import Batch, Record

logger = logging.getLogger(__name__)

MIN_IDLE = 30.0
"""Seconds after which what a consumer holds is taken from it. A living one says so three times as often."""
MAX_DELIVERIES = 5
STALE_SECONDS = 24 * 3600.0

Entry = tuple[bytes, dict[bytes, bytes]]


class BusReader:
    """Reads as one consumer of the group that is named after the sink. A context manager.

    Each entry goes to one consumer of a group, and comes again, here or elsewhere, until it is committed:
    what a dead consumer held is claimed after `min_idle` seconds. An entry that was handed out
    `max_deliveries` times without ever being committed goes to the stream ``NAME:dead:GROUP``.
    Methods raise OSError where Redis does not answer.
    """

    def __init__(
        self, link: Link, consumer: str, *, min_idle: float = MIN_IDLE, max_deliveries: int = MAX_DELIVERIES
    ) -> None:
        self.consumer = consumer
        self.folder = Path(link.shown)
        """It is what an error message names."""
        self._link = link
        self._client = link.client
        self._name = f"{socket.gethostname()}-{os.getpid()}-{threading.get_ident() % 10_000}"
        self._min_idle = min_idle
        self._max_deliveries = max_deliveries
        self._lock = threading.Lock()
        self._held: dict[bytes, bytes] = {}
        """Lines that are handed out and not committed, by entry."""
        self._done: list[bytes] = []
        """Committed, but Redis does not know yet."""
        self._claimed = 0.0
        self._mean = 1000.0
        pause = min_idle / 3
        self._pulse = PeriodicThread(f"bus-{consumer}", self._keep_held, pause=lambda: pause, first=pause)
        self._pulse.start()

    def __enter__(self) -> BusReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close; what is held goes to another consumer, after its idle time."""
        self._pulse.close(1.0)
        self._link.close()

    def read(
        self, *, max_events: int = 1000, max_bytes: int = 8 * 2**20, after: Mapping[str, int] | None = None
    ) -> Batch:
        """Give the next records. Without :meth:`commit` the same ones come again. False at the end.

        `after`: the offsets of a batch that was read and is not committed yet; what follows it is read.
        """
        before = {entry.encode() for entry in after or ()}
        with self._link.told():
            self._acknowledge()
            if not self._held.keys() - before:
                self._fetch(max_events)
        batch = Batch()
        size = 0
        for entry, line in [held for held in self._held.items() if held[0] not in before][:max_events]:
            if batch.offsets and size + len(line) > max_bytes:
                break
            size += len(line)
            batch.offsets[entry.decode()] = 1
            self._take(entry, line, batch)
        if not batch and batch.offsets:
            self.commit(batch)
        return batch

    def commit(self, batch: Batch) -> None:
        """Acknowledge a batch that is delivered, in one transaction with its dead letters."""
        ids = [entry.encode() for entry in batch.offsets]
        with self._lock:
            self._done += [entry for entry in ids if self._held.pop(entry, None) is not None]
        with self._link.told():
            if batch.dead:
                self._bury(batch.dead, ids)
            self._acknowledge()

    def reclaim(self) -> int:
        """Remove consumers that are gone and hold nothing. Returns how many.

        Entries are trimmed by the forwarders.
        """
        removed = 0
        with self._link.told():
            try:
                found = self._client.xinfo_consumers(self._link.stream, self.consumer)
            except self._link.response_error:
                return 0
            for each in found:
                if not each["pending"] and each["idle"] > STALE_SECONDS * 1000:
                    self._client.xgroup_delconsumer(self._link.stream, self.consumer, each["name"])
                    removed += 1
        return removed

    def backlog(self) -> int:
        """Give the bytes that are not acknowledged yet, about: their number times the mean length."""
        with self._link.told():
            for group in self._link.groups():
                if group["name"] == self.consumer.encode():
                    return int(((group.get("lag") or 0) + group["pending"]) * self._mean)
        return 0

    def _fetch(self, count: int) -> None:
        entries = self._claim(count)
        if not entries:
            entries = self._next(count)
        if entries:
            self._mean = sum(len(fields.get(b"line", b"")) for _, fields in entries) / len(entries)
        with self._lock:
            self._held |= {entry: fields.get(b"line", b"") for entry, fields in entries}

    def _next(self, count: int) -> list[Entry]:
        try:
            return self._read_new(count)
        except self._link.response_error as error:
            if "NOGROUP" not in str(error):
                raise
            # The first time, or Redis has forgotten everything. From the beginning: nothing is skipped.
            self._link.create_group(self.consumer)
            return self._read_new(count)

    def _read_new(self, count: int) -> list[Entry]:
        found = self._client.xreadgroup(self.consumer, self._name, {self._link.stream: ">"}, count=count)
        return [entry for _, entries in found or [] for entry in entries]

    def _claim(self, count: int) -> list[Entry]:
        """Take over what dead consumers held."""
        now = time.monotonic()
        if now - self._claimed < self._min_idle / 3:
            return []
        self._claimed = now
        idle = int(self._min_idle * 1000)
        try:
            _, entries, *_ = self._client.xautoclaim(
                self._link.stream, self.consumer, self._name, min_idle_time=idle, start_id="0-0", count=count
            )
        except self._link.response_error:
            return []
        found: list[Entry] = [(entry, fields) for entry, fields in entries if fields]
        return self._without_poison(found) if found else []

    def _without_poison(self, entries: list[Entry]) -> list[Entry]:
        """Put aside what no consumer has survived."""
        times = {
            each["message_id"]: each["times_delivered"]
            for each in self._client.xpending_range(
                self._link.stream, self.consumer, entries[0][0], entries[-1][0], len(entries) * 10, self._name
            )
        }
        poison = [entry for entry in entries if times.get(entry[0], 0) > self._max_deliveries]
        if poison:
            reason = f"handed out {self._max_deliveries} times and never delivered"
            letters = [
                {"reason": reason, "line": fields.get(b"line", b"").decode("utf-8", "backslashreplace")}
                for _, fields in poison
            ]
            self._bury(letters, [entry for entry, _ in poison])
            logger.warning("%s: %d entries put aside: %s", self.consumer, len(poison), reason)
        return [entry for entry in entries if entry not in poison]

    def _bury(self, letters: list[dict[str, Any]], ids: list[bytes]) -> None:
        pipeline = self._client.pipeline(transaction=True)
        for letter in letters:
            pipeline.xadd(f"{self._link.stream}:dead:{self.consumer}", {"letter": json.dumps(letter)})
        pipeline.xack(self._link.stream, self.consumer, *ids)
        pipeline.execute()

    def _take(self, entry: bytes, line: bytes, batch: Batch) -> None:
        try:
            value = json.loads(line)
        except ValueError as error:
            batch.bury(line, self._link.stream, 0, f"not JSON: {error}")
            return
        if isinstance(value, dict):
            batch.records.append(Record(line, value, entry.decode(), 0))
        else:
            batch.bury(line, self._link.stream, 0, "not a JSON object")

    def _acknowledge(self) -> None:
        if self._done:
            self._client.xack(self._link.stream, self.consumer, *self._done)
            self._done = []

    def _keep_held(self) -> None:
        """Say that what is held is being worked on, however long the backend takes.

        JUSTID: this is no delivery, and does not count as one.
        """
        with self._lock:
            held = list(self._held)
        if not held:
            return
        try:
            with self._link.told():
                self._client.xclaim(self._link.stream, self.consumer, self._name, 0, held, justid=True)
        except OSError as error:
            logger.debug("bus: %s", error)
