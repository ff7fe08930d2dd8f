"""Limit how many flows a user interface keeps: mitmweb alone would keep them all.

Only ids are held here, so a flow that a person deletes is gone. Each finished flow costs O(1).
"""

from __future__ import annotations

from collections import deque
from typing import Any
from weakref import WeakKeyDictionary

from mitmproxy import flow

from addons.flow import flow_metadata


class Kept:
    """Lists finished flows of `view`, in the order of their ends; not those that were loaded from files."""

    def __init__(self, view: Any) -> None:
        self._view = view
        self._finished: deque[str] = deque()
        self._marked: deque[str] = deque()

    def finished(self, ended: flow.Flow, most: int) -> None:
        """Note the end of `ended`, and take the oldest out of the view until `most` are left (0: all)."""
        if not most:
            return
        self._finished.append(ended.id)
        self._look_at_a_marked_one()
        for _ in range(len(self._finished)):
            if len(self._finished) <= most:
                return
            oldest = self._view.get_by_id(self._finished.popleft())
            if oldest is None:
                continue
            if oldest.live:  # its last bytes are still to go out
                self._finished.append(oldest.id)
            elif is_marked_by_user(oldest):
                self._marked.append(oldest.id)
            else:
                self._view.remove([oldest])

    def _look_at_a_marked_one(self) -> None:
        """Count a flow again whose mark was taken off."""
        if not self._marked:
            return
        candidate = self._view.get_by_id(self._marked.popleft())
        if candidate is None:
            return
        if is_marked_by_user(candidate):
            self._marked.append(candidate.id)
        else:
            self._finished.appendleft(candidate.id)


def is_marked_by_user(candidate: flow.Flow) -> bool:
    """Tell whether somebody wants to keep it.

    The mark that we give to failed calls says nothing of the kind.
    """
    return bool(candidate.marked) and candidate.marked != candidate.metadata.get(flow_metadata.MARK)


_of: WeakKeyDictionary[Any, Kept] = WeakKeyDictionary()


def of(view: Any) -> Kept:
    """Give the one of `view`. Module state, so that a reload of the script does not forget what is to go."""
    if view not in _of:
        _of[view] = Kept(view)
    return _of[view]
