"""Keep what was measured as JSON, and write it as the Markdown tables of docs/performance.md."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import psutil

from scripts.benchmarks.speed.session import Row, Session

Document = dict[str, Any]
ORDER = ("machine", "requests", "connections", "connect", "streams", "interference", "memory", "startup")
"""The tables of the page, each between a marker ``<!-- bench:NAME -->`` and ``<!-- /bench -->``."""
MARKED = re.compile(r"(<!-- bench:(\w+) -->\n).*?(<!-- /bench -->)", re.DOTALL)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, with machine and versions.")


def document(
    sections: Mapping[str, Sequence[Row]], sessions: Sequence[Session], seconds: float = 0.0
) -> Document:
    """Put rows together with the machine, the versions and what was set."""
    memory = psutil.virtual_memory().total / 2**30
    contenders = {name: one for each in sessions for name, one in each.contenders.items() if one.command}
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": {
            "cpu": _cpu(),
            "cores": os.cpu_count(),
            "memory_gib": round(memory),
            "system": f"{platform.system()} {platform.release()}",
            "load": round(os.getloadavg()[2], 1),
        },
        "versions": {
            "python": platform.python_version(),
            "mitmproxy": importlib.metadata.version("mitmproxy"),
        },
        "contenders": [
            {"name": one.name, "version": one.version, "settings": one.settings}
            for one in contenders.values()
        ],
        "sections": {name: list(rows) for name, rows in sections.items()},
        "problems": [text for each in sessions for text in each.problems],
        "seconds": round(seconds),
    }


def _cpu() -> str:
    try:
        found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found[1] if found else platform.machine()


def finish(sections: Mapping[str, Sequence[Row]], sessions: Sequence[Session], *, as_json: bool) -> None:
    """Print the result of one measurement."""
    found = document(sections, sessions)
    click.echo(json.dumps(found, indent=1) if as_json else markdown(found))


def markdown(found: Document) -> str:
    """Write all tables of a result, each under its name."""
    parts = [f"{table(found, name)}\n" for name in ORDER if name == "machine" or name in found["sections"]]
    return "\n".join(parts)


def in_page(page: str, found: Document) -> str:
    """Replace the tables of a page by those of a result; tables that it has not stay. Raises ValueError."""
    names = {match[2] for match in MARKED.finditer(page)}
    if missing := (set(found["sections"]) | {"machine"}) - names:
        raise ValueError(f"the page has no marker <!-- bench:{sorted(missing)[0]} -->")

    def put(match: re.Match[str]) -> str:
        name = match[2]
        if name != "machine" and name not in found["sections"]:
            return match[0]
        return f"{match[1]}{table(found, name)}\n{match[3]}"

    return MARKED.sub(put, page)


def table(found: Document, name: str) -> str:
    """Write one table."""
    if name == "machine":
        return _machine(found)
    rows = found["sections"][name]
    columns = COLUMNS[name]
    lines = [list(columns), ["---"] * len(columns)]
    lines += [[cell(row) for cell in columns.values()] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _machine(found: Document) -> str:
    machine, versions = found["machine"], found["versions"]
    about = (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}; "
        f"Python {versions['python']}, mitmproxy {versions['mitmproxy']}; {found['date']}; "
        f"load of the 15 minutes before the end {machine['load']}"
        + (f"; {found['seconds'] // 60} minutes in all" if found["seconds"] else "")
    )
    rows = ["| contender | version | settings |", "| --- | --- | --- |"]
    rows += [f"| {one['name']} | {one['version']} | {one['settings']} |" for one in found["contenders"]]
    failed = [f"- Not measured: {text}" for text in found["problems"]]
    return "\n".join([f"{about}.", "", *rows, *(["", *failed] if failed else [])])


Cell = Callable[[Row], str]


def _text(name: str) -> Cell:
    return lambda row: str(row[name])


def _number(name: str, digits: int = 0) -> Cell:
    def cell(row: Row) -> str:
        value = row.get(name)
        return "" if value is None else f"{value:,.{digits}f}"

    return cell


def _spread(name: str) -> Cell:
    """Write a median of ratios with the least and the most."""

    def cell(row: Row) -> str:
        if row.get(name) is None:
            return ""
        return f"{row[name]:.2f} ({row[f'{name}_least']:.2f} to {row[f'{name}_most']:.2f})"

    return cell


def _pair(first: str, second: str, digits: int = 1) -> Cell:
    def cell(row: Row) -> str:
        values = [row.get(first), row.get(second)]
        return "" if None in values else ", ".join(f"{value:,.{digits}f}" for value in values)

    return cell


def _size(row: Row) -> str:
    size = int(row["bytes"])
    return f"{size // 1024} KB" if size >= 1024 else f"{size} B"


RATES: dict[str, Cell] = {
    "requests/s": _number("requests_per_second"),
    "of bare": _spread("of_bare"),
    "CPU ms a request": _number("cpu_ms", 2),
    "of bare's CPU": _spread("cpu_of_bare"),
    "p50, p99 ms": _pair("p50_ms", "p99_ms"),
    "added p50, p99 ms": _pair("added_p50_ms", "added_p99_ms"),
    "MiB": _number("memory_mib"),
}
LOADED: dict[str, Cell] = {
    "contender": _text("contender"),
    "connections": _number("connections"),
    "body": _size,
}
COLUMNS: dict[str, dict[str, Cell]] = {
    "requests": {"contender": _text("contender"), **RATES},
    "connections": {
        **LOADED,
        **{name: cell for name, cell in RATES.items() if name not in ("of bare's CPU", "MiB")},
    },
    "connect": {
        "way in": _text("way"),
        "contender": _text("contender"),
        **{name: RATES[name] for name in ("requests/s", "of bare", "CPU ms a request", "of bare's CPU")},
        "p50, p99 ms": RATES["p50, p99 ms"],
    },
    "streams": {
        "contender": _text("contender"),
        "streams": _number("streams"),
        "coding": _text("coding"),
        "first byte p50, p99 ms": _pair("first_p50_ms", "first_p99_ms"),
        "added p50": _number("first_added_ms", 1),
        "delay of an event p50, p99 ms": _pair("delay_p50_ms", "delay_p99_ms", 2),
        "added p50 ": _number("delay_added_ms", 2),
        "CPU ms an event": _number("cpu_ms_per_event", 3),
    },
    "interference": {
        "meanwhile": _text("meanwhile"),
        "contender": _text("contender"),
        "they made": _number("others"),
        "p50 ms": _number("p50_ms", 1),
        "p99 ms": _number("p99_ms", 1),
        "max ms": _number("max_ms"),
    },
    "memory": {
        "contender": _text("contender"),
        "start: proxy, all MiB": _pair("start_mib", "start_all_mib", 0),
        "first counted stream": _pair("counted_mib", "counted_all_mib", 0),
        "after calls": _pair("after_mib", "after_all_mib", 0),
        "calls": _number("calls"),
        "KiB an open stream": _number("stream_kib"),
    },
    "startup": {
        "what": _text("what"),
        "seconds": _number("seconds", 2),
        "CPU s": _number("cpu_seconds", 2),
        "first call later, ms": _number("first_call_ms", 1),
        "MiB": _number("memory_mib"),
    },
}
