"""Say what is to be removed from caches."""

from __future__ import annotations

from dataclasses import dataclass, replace

from store.cache.entry import Entry


@dataclass(frozen=True, slots=True)
class Purge:
    """Describes entries that fit everything that is given, and were asked for until `until`."""

    until: float
    """Seconds since 1970. Answers under way at that moment are not kept either."""
    project_id: str | None = None
    key: str | None = None
    """The key, or how it begins."""
    method: str | None = None
    target: str | None = None
    """Path and query."""
    prefix: bool = False
    """It tells whether key and target are only how they begin."""

    def of_project(self, project_id: str | None) -> Purge:
        """Give the same, of one project's answers only."""
        return replace(self, project_id=project_id)

    def fits(self, key: str, entry: Entry) -> bool:
        """Tell whether an entry is to go."""
        if entry.requested_at > self.until:
            return False
        if self.project_id is not None and self.project_id != entry.project_id:
            return False
        if not self._begins(key, self.key):
            return False
        if self.method is not None and self.method != entry.method:
            return False
        return self._begins(entry.target, self.target)

    def _begins(self, text: str, wanted: str | None) -> bool:
        return wanted is None or (text.startswith(wanted) if self.prefix else text == wanted)
