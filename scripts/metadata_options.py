"""Options of ``llmproxy project`` and ``llmproxy token`` about metadata."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from scripts.options import Command, Pair
from store import validation


class Pairs(click.ParamType[Mapping[str, Any]]):
    """A JSON object."""

    name = "json"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Mapping[str, Any]:
        if isinstance(value, Mapping):
            return value
        try:
            found = json.loads(value, object_pairs_hook=_without_repeats)
        except (ValueError, RecursionError) as error:
            self.fail(f"{value[:80]!r} is not JSON: {error}.", param, ctx)
        if not isinstance(found, Mapping):
            self.fail(f'{value[:80]!r}: write an object, such as \'{{"team": "search"}}\'.', param, ctx)
        return found


@dataclass(frozen=True, slots=True)
class Metadata:
    """What the options say."""

    pairs: Sequence[tuple[str, str]] = ()
    whole: Mapping[str, Any] | None = None
    headers: Sequence[str] = ()
    remove: Sequence[str] = ()
    remove_headers: Sequence[str] = ()

    def given(self) -> dict[str, Any]:
        """For what is made."""
        return {"metadata": {**(self.whole or {}), **dict(self.pairs)}, "header_metadata": self.headers}

    def changes(self) -> dict[str, Any]:
        """For what is changed: functions of what there is."""
        changes: dict[str, Any] = {}
        if self.pairs or self.remove or self.whole is not None:
            changes["metadata"] = self._pairs
        if self.headers or self.remove_headers:
            changes["header_metadata"] = self._headers
        return changes

    def _pairs(self, present: Mapping[str, str]) -> Mapping[str, Any]:
        kept = present if self.whole is None else self.whole
        changed = {**kept, **dict(self.pairs)}
        return {key: text for key, text in changed.items() if key not in self.remove}

    def _headers(self, present: Sequence[str]) -> Sequence[str]:
        removed = set(map(validation.header_name, self.remove_headers))
        return [*(name for name in present if name not in removed), *self.headers]


PAIRS = click.option(
    "--metadata", "pairs", type=Pair(), multiple=True, help="A pair for the events; may be repeated."
)
HEADERS = click.option(
    "--header-metadata",
    "headers",
    metavar="NAME",
    multiple=True,
    help="Let clients add this name by the header X-LLMProxy-Metadata-NAME; may be repeated.",
)
MAKING = (
    PAIRS,
    click.option("--metadata-json", "whole", type=Pairs(), help="Pairs as a JSON object of texts."),
    HEADERS,
)
CHANGING = (
    PAIRS,
    click.option(
        "--remove-metadata", "remove", metavar="KEY", multiple=True, help="Drop a pair; may be repeated."
    ),
    click.option(
        "--metadata-json",
        "whole",
        type=Pairs(),
        help="All pairs, as a JSON object, in place of those it has.",
    ),
    HEADERS,
    click.option(
        "--remove-header-metadata",
        "remove_headers",
        metavar="NAME",
        multiple=True,
        help="No longer let clients add this name; may be repeated.",
    ),
)


def metadata_given(command: Command) -> Command:
    """Add the options for what is made; the command gets them as `metadata`."""
    return _added(command, MAKING)


def metadata_changed(command: Command) -> Command:
    """Add the options for what is changed; the command gets them as `metadata`."""
    return _added(command, CHANGING)


def _added(command: Command, options: Sequence[Any]) -> Command:
    @functools.wraps(command)
    def wrapped(
        *args: Any,
        pairs: Sequence[tuple[str, str]],
        whole: Mapping[str, Any] | None,
        headers: Sequence[str],
        remove: Sequence[str] = (),
        remove_headers: Sequence[str] = (),
        **rest: Any,
    ) -> Any:
        return command(*args, metadata=Metadata(pairs, whole, headers, remove, remove_headers), **rest)

    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[return-value]


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found
