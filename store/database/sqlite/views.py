"""Define views of a SQLite store, for Datasette and SQL shells. No secret, and no hash of one, is in them.

A store has those of the version that it was brought up to date by: with a change here comes a version in
:mod:`store.database.schema`.
"""

from __future__ import annotations

SUMS = """
    SUM(calls) AS calls, SUM(refused) AS refused, SUM(failed) AS failed,
    SUM(input_tokens) AS input_tokens, SUM(cached_tokens) AS cached_tokens,
    SUM(output_tokens) AS output_tokens, SUM(nano_usd) / 1e9 AS usd,
    SUM(unpriced) AS unpriced, SUM(unreported) AS unreported,
    SUM(lower_bound) AS lower_bound, SUM(approximate) AS approximate
"""

_NAMED = "FROM usage_hours LEFT JOIN projects ON projects.id = usage_hours.project_id"

VIEWS = {
    "usage_by_day": f"""
        SELECT date(hour * 3600, 'unixepoch') AS day, projects.name AS project, model, {SUMS}
        {_NAMED} GROUP BY day, usage_hours.project_id, model ORDER BY day DESC, usd DESC
    """,
    "usage_by_project": f"""
        SELECT strftime('%Y-%m', hour * 3600, 'unixepoch') AS month, projects.name AS project, {SUMS}
        {_NAMED} GROUP BY month, usage_hours.project_id ORDER BY month DESC, usd DESC
    """,
    "usage_by_model": f"""
        SELECT strftime('%Y-%m', hour * 3600, 'unixepoch') AS month, model, endpoint, {SUMS}
        {_NAMED} GROUP BY month, model, endpoint ORDER BY month DESC, usd DESC
    """,
    "usage_by_user": f"""
        SELECT strftime('%Y-%m', hour * 3600, 'unixepoch') AS month, projects.name AS project, user_id,
        {SUMS}
        {_NAMED} GROUP BY month, usage_hours.project_id, user_id ORDER BY month DESC, usd DESC
    """,
    "tokens_in_use": """
        SELECT tokens.id, tokens.prefix, projects.name AS project,
            tokens.active AND projects.active AS active, tokens.created_at, tokens.expires_at,
            tokens.last_used_at, tokens.request_count, tokens.metadata,
            coalesce(month.usd, 0.0) AS usd_30_days
        FROM tokens JOIN projects ON projects.id = tokens.project_id
        LEFT JOIN (
            SELECT token_id, SUM(nano_usd) / 1e9 AS usd FROM usage_hours
            WHERE hour >= strftime('%s', 'now', '-30 days') / 3600 GROUP BY token_id
        ) AS month ON month.token_id = tokens.id
        ORDER BY tokens.last_used_at DESC
    """,
    "budgets": """
        WITH subjects (side, subject, project_id, name, limits) AS (
            SELECT 'project', id, id, name, limits FROM projects
            UNION ALL SELECT 'token', id, project_id, prefix, limits FROM tokens WHERE active = 1
        ),
        periods (period, starts_at, ends_at) AS (VALUES
            ('hour', strftime('%s', 'now') / 3600 * 3600, strftime('%s', 'now') / 3600 * 3600 + 3600),
            ('day', strftime('%s', 'now', 'start of day') + 0, strftime('%s', 'now', 'start of day') + 86400),
            ('week', strftime('%s', 'now', 'start of day', '-6 days', 'weekday 1') + 0,
                strftime('%s', 'now', 'start of day', '-6 days', 'weekday 1') + 7 * 86400),
            ('month', strftime('%s', 'now', 'start of month') + 0,
                strftime('%s', 'now', 'start of month', '+1 month') + 0),
            ('total', 0, NULL)
        ),
        budgets (side, subject, project_id, name, unit, period, amount, starts_at, ends_at) AS (
            SELECT side, subject, project_id, name, units.key, amounts.key, amounts.value, starts_at, ends_at
            FROM subjects, json_each(limits, '$.budgets') AS units, json_each(units.value) AS amounts, periods
            WHERE periods.period = amounts.key
        ),
        sums AS (
            SELECT *,
                coalesce((SELECT SUM(amount) FROM topups WHERE topups.subject = budgets.subject
                    AND topups.unit = budgets.unit AND topups.period = budgets.period
                    AND at >= starts_at AND (ends_at IS NULL OR at < ends_at)), 0) AS topped_up,
                coalesce((SELECT CASE unit WHEN 'usd' THEN nano_usd ELSE tokens END FROM spend
                    WHERE spend.subject = budgets.subject AND spend.period = budgets.period
                    AND spend.starts_at = budgets.starts_at), 0) AS spent,
                coalesce((SELECT SUM(CASE unit WHEN 'usd' THEN nano_usd ELSE tokens END) FROM holds
                    WHERE CASE side WHEN 'token' THEN token_id ELSE holds.project_id END = budgets.subject
                    AND settled_at = 0 AND expires_at > strftime('%s', 'now') + 0
                    AND (ends_at IS NULL OR hour BETWEEN starts_at / 3600 AND ends_at / 3600 - 1)), 0)
                    AS held,
                CASE unit WHEN 'usd' THEN 1e9 ELSE 1 END AS one
            FROM budgets
        )
        SELECT side, subject, projects.name AS project, sums.name, unit || '/' || period AS budget,
            CASE unit WHEN 'usd' THEN amount + topped_up / one ELSE amount + topped_up END AS allowed,
            CASE unit WHEN 'usd' THEN spent / one ELSE spent END AS used,
            CASE unit WHEN 'usd' THEN held / one ELSE held END AS held,
            round(100.0 * spent / one / (amount + topped_up / one), 1) AS percent,
            datetime(ends_at, 'unixepoch') AS resets_at
        FROM sums LEFT JOIN projects ON projects.id = sums.project_id ORDER BY percent DESC
    """,
}
