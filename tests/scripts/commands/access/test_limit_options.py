"""Values of options that a default or a caller gives ready made, as click allows."""

from __future__ import annotations

from typing import Any

import click
import pytest

from scripts.commands.access.field_options import JsonObject
from scripts.commands.access.limit_options import Topup
from scripts.commands.figures.report import Zone
from store.core.times import time_zone
from store.tokens.amounts import parse_budget

BUDGET = parse_budget("5usd/day", default_period="total")


@pytest.mark.parametrize(
    ("type_", "text", "value"),
    [
        (Topup(), "5usd/day", BUDGET),
        (JsonObject(), '{"team": "search"}', {"team": "search"}),
        (Zone(), "Europe/Berlin", time_zone("Europe/Berlin")),
    ],
    ids=["amount", "json", "zone"],
)
def test_a_default_is_a_text_or_the_value_itself(type_: click.ParamType[Any], text: str, value: Any) -> None:
    for default in (text, value):
        got: list[Any] = []
        command = click.Command("x", params=[click.Option(["--it"], type=type_, default=default)])
        command.callback = lambda it, got=got: got.append(it)
        command.main([], standalone_mode=False)
        assert got == [value]
