"""Define the dashboard. Source: "Dashboard body structure and syntax" of the CloudWatch API reference."""

from __future__ import annotations

from typing import Any

from dispatch.sinks.cloudwatch.queries import QUERIES

Widget = dict[str, Any]
WIDTH = 24
METRIC_HEIGHT, LOG_HEIGHT = 6, 8

LOG_WIDGETS = (
    ("Spend by project", "table"),
    ("Spend by model", "table"),
    ("Spend by user", "table"),
    ("Top tokens", "table"),
    ("Latency", "table"),
    ("Time to first token", "table"),
    ("Cache hits", "table"),
    ("Errors", "table"),
    ("Completeness by writer", "table"),
    ("Calls without a price", "table"),
)


def body(group: str, region: str, namespace: str, *, metrics: bool) -> dict[str, Any]:
    """Put metric widgets first, where there are metrics; then what the saved queries answer."""
    widgets: list[Widget] = []
    if metrics:
        _place(widgets, _metric_widgets(region, namespace), 8, METRIC_HEIGHT)
    _place(widgets, [_log_widget(group, region, name, view) for name, view in LOG_WIDGETS], 12, LOG_HEIGHT)
    return {"start": "-PT24H", "periodOverride": "inherit", "widgets": widgets}


def _place(widgets: list[Widget], added: list[Widget], width: int, height: int) -> None:
    """Place widgets from left to right, below what is there."""
    top = max((widget["y"] + widget["height"] for widget in widgets), default=0)
    columns = WIDTH // width
    for index, widget in enumerate(added):
        place = {"x": index % columns * width, "y": top + index // columns * height}
        widgets.append({**place, "width": width, "height": height, **widget})


def _metric_widgets(region: str, namespace: str) -> list[Widget]:
    def line(name: str, stat: str, label: str) -> list[Any]:
        return [namespace, name, {"stat": stat, "label": label}]

    def by(dimension: str, metric: str) -> list[Any]:
        search = f"SEARCH('{{{namespace},{dimension}}} MetricName=\"{metric}\"', 'Sum', 300)"
        return [{"expression": search, "label": f"${{PROP('Dim.{dimension}')}}"}]

    ratio: list[Any] = [
        [{"expression": "100 * failures / calls", "label": "failed, %", "id": "percent"}],
        [namespace, "Failures", {"id": "failures", "stat": "Sum", "visible": False}],
        [namespace, "Calls", {"id": "calls", "stat": "Sum", "visible": False}],
    ]
    percentiles = ("p50", "p95", "p99")
    return [
        _metric_widget("Spend (USD) an hour", region, [line("SpendUSD", "Sum", "USD")], period=3600),
        _metric_widget("Spend (USD) by project", region, [by("Project", "SpendUSD")], stacked=True),
        _metric_widget("Spend (USD) by model", region, [by("Model", "SpendUSD")], stacked=True),
        _metric_widget("Calls by model", region, [by("Model", "Calls")], stacked=True),
        _metric_widget("Failed calls", region, ratio),
        _metric_widget(
            "Tokens",
            region,
            [line(name, "Sum", name) for name in ("InputTokens", "CachedTokens", "OutputTokens")],
        ),
        _metric_widget("Duration (ms)", region, [line("Duration", stat, stat) for stat in percentiles]),
        _metric_widget(
            "Time to first token (ms)", region, [line("TimeToFirstToken", stat, stat) for stat in percentiles]
        ),
        _metric_widget("Failed calls by project", region, [by("Project", "Failures")], stacked=True),
    ]


def _metric_widget(
    title: str, region: str, metrics: list[Any], *, period: int = 300, stacked: bool = False
) -> Widget:
    properties = {
        "title": title,
        "region": region,
        "metrics": metrics,
        "period": period,
        "view": "timeSeries",
        "stacked": stacked,
    }
    return {"type": "metric", "properties": properties}


def _log_widget(group: str, region: str, name: str, view: str) -> Widget:
    query = f"SOURCE '{group}' | {QUERIES[name]}"
    return {"type": "log", "properties": {"title": name, "region": region, "query": query, "view": view}}
