"""Write a report as one HTML file, which needs nothing else: a plot over time, or bars, and the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, select_autoescape

from scripts.cells import as_text, short_decimal
from store.usage.periods import FORMS

TEMPLATE = "report.html"
COLOURS = 8
"""Groups that have a colour of their own; the others share the last one."""
WIDEST = 80
"""It is that of a bar, in the plot's units."""
WIDTH, HEIGHT = 960, 260
"""It is that of the plot, in its own units."""


def write_page(path: Path, answer: Mapping[str, Any], columns: Sequence[str], title: str) -> None:
    """Write what :func:`store.usage.breakdown.break_down` answered. Raises OSError."""
    templates = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=templates, autoescape=select_autoescape(["html"]), trim_blocks=True)
    rows = answer["data"]
    text = environment.get_template(TEMPLATE).render(
        title=title,
        since=answer["since"],
        until=answer["until"],
        zone=answer["tz"],
        total=_shown(answer["total"]),
        before=answer["before"] and _shown(answer["before"]["total"]),
        columns=columns,
        rows=[[as_text(short_decimal(row.get(column))) for column in columns] for row in rows],
        numbers={column for column in columns if rows and _is_number(rows[0].get(column))},
        plot=_plot(rows, answer["by"]),
        width=WIDTH,
        height=HEIGHT,
    )
    path.write_text(text, encoding="utf-8")


def _shown(figures: Mapping[str, Any]) -> dict[str, str]:
    return {name: as_text(short_decimal(value)) for name, value in figures.items()}


def _is_number(value: Any) -> bool:
    if isinstance(value, str):
        return value.replace(".", "", 1).isdigit()
    return isinstance(value, int)


def _name(row: Mapping[str, Any], way: str) -> str:
    """Call a group as a person would: a project by its name, a token by how it begins."""
    return as_text(row.get(f"{way}_name") or row.get(f"{way}_prefix") or row[way])


def _plot(rows: Sequence[Mapping[str, Any]], by: Sequence[str]) -> dict[str, Any] | None:
    """Stack the dollars of each period by group; of a report without time one bar for each group."""
    time = next((way for way in FORMS if way in by), None)
    groups = [way for way in by if way not in FORMS]
    periods: dict[str, dict[str, Decimal]] = {}
    for row in rows:
        group = "others" if row["rest"] else ", ".join(_name(row, way) for way in groups) or "all"
        period = str(row[time]) if time else group
        sums = periods.setdefault(period, {})
        sums[group] = sums.get(group, Decimal(0)) + Decimal(row["usd"] or 0)
    highest = max((sum(sums.values()) for sums in periods.values()), default=Decimal(0))
    if not highest:
        return None
    names = list(dict.fromkeys(group for sums in periods.values() for group in sums))
    colours = {name: min(index, COLOURS - 1) for index, name in enumerate(names)}
    step = WIDTH / len(periods)
    bars = []
    for index, (period, sums) in enumerate(periods.items()):
        top = Decimal(HEIGHT)
        for group, usd in sums.items():
            height = usd / highest * HEIGHT
            top -= height
            bars.append(
                {
                    "x": f"{index * step:.2f}",
                    "y": f"{top:.2f}",
                    "width": f"{min(max(step * 0.85, 0.5), WIDEST):.2f}",
                    "height": f"{height:.2f}",
                    "colour": colours[group],
                    "label": f"{period}: {group} {short_decimal(f'{usd:f}')} usd"
                    if time
                    else f"{group}: {short_decimal(f'{usd:f}')} usd",
                }
            )
    legend = [(name, colours[name]) for name in names[:COLOURS]]
    named = list(periods)
    return {
        "bars": bars,
        "legend": legend,
        "highest": short_decimal(f"{highest:f}"),
        "ends": (named[0], named[-1]),
    }
