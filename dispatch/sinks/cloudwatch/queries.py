"""List questions that a log group of calls answers, in Logs Insights QL.

Names with a dot are members within members. Only what `type` names a call is counted. Deliveries may repeat
(at least once), so the questions about money take each `event_id` once: the first `stats` leaves one row for
each event, the second adds them up (a query may have two). `dedup` could not: only `limit` may follow it.
"""

from __future__ import annotations

CALLS = 'filter type = "llm_proxy_usage"'
_ONCE = "stats max(cost_usd) as usd, max(usage.input_tokens) as input, max(usage.output_tokens) as output"
_SUMS = (
    "stats sum(usd) as spend_usd, sum(input) as input_tokens, sum(output) as output_tokens, count(*) as calls"
)


def _spend(field: str) -> str:
    return _query(f"{_ONCE} by event_id, {field}", f"{_SUMS} by {field}", "sort spend_usd desc")


def _query(*commands: str) -> str:
    return "\n| ".join([CALLS, *commands])


QUERIES: dict[str, str] = {
    "Spend by project": _spend("project_name"),
    "Spend by user": _spend("user.id"),
    "Spend by model": _spend("model"),
    "Spend by day": _query(f"{_ONCE} by event_id, bin(1d) as day", f"{_SUMS} by day", "sort day desc"),
    "Calls without a price": _query(
        "filter not ispresent(cost_usd)",
        "stats count(*) as calls by model, outcome, cost.missing",
        "sort calls desc",
    ),
    "Errors": _query(
        "filter failed = 1",
        "stats count_distinct(event_id) as calls by outcome, status, error.code, model, project_name",
        "sort calls desc",
    ),
    "Error ratio": _query("stats 100 * sum(failed) / count(*) as percent, count(*) as calls by bin(5m)"),
    "Latency": _query(
        "filter failed = 0",
        "stats pct(duration_ms, 50) as p50_ms, pct(duration_ms, 95) as p95_ms, "
        "pct(duration_ms, 99) as p99_ms, count(*) as calls by model, endpoint",
        "sort calls desc",
    ),
    "Time to first token": _query(
        "filter ispresent(time_to_first_token_ms)",
        "stats pct(time_to_first_token_ms, 50) as p50_ms, pct(time_to_first_token_ms, 95) as p95_ms, "
        "pct(time_to_first_token_ms, 99) as p99_ms, count(*) as calls by model",
        "sort calls desc",
    ),
    "Cache hits": _query(
        "filter usage.input_tokens > 0",
        "stats sum(usage.input_tokens_details.cached_tokens) as cached_tokens, "
        "sum(usage.input_tokens) as input_tokens, "
        "100 * sum(usage.input_tokens_details.cached_tokens) / sum(usage.input_tokens) as percent by model",
        "sort cached_tokens desc",
    ),
    "Top tokens": _query(
        f"{_ONCE} by event_id, token_id, project_name",
        f"{_SUMS} by token_id, project_name",
        "sort spend_usd desc",
        "limit 50",
    ),
    "Slowest calls": _query(
        "fields @timestamp, event_id, project_name, model, duration_ms, time_to_first_token_ms, outcome",
        "sort duration_ms desc",
        "limit 50",
    ),
    "Completeness by writer": "\n| ".join(
        [
            "filter ispresent(writer)",
            "stats max(last_seq) as said by writer, seq",
            "stats count(seq) as arrived, min(seq) as first, max(seq) as last, max(said) as stated, "
            "max(seq) - min(seq) + 1 - count(seq) as missing by writer",
            "sort missing desc",
        ]
    ),
    "Duplicates": _query(
        "stats count(*) as copies by event_id, writer, seq",
        "filter copies > 1",
        "sort copies desc",
        "limit 1000",
    ),
    "Each event once": _query(
        "fields @timestamp, @message", "sort @timestamp desc", "dedup event_id", "limit 1000"
    ),
}
"""Name -> query."""
