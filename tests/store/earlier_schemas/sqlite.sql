-- m001_projects_and_tokens
CREATE TABLE "projects" ( "id" TEXT PRIMARY KEY, "name" TEXT NOT NULL, "api_key" TEXT NOT NULL, "active" INTEGER NOT NULL, "created_at" TEXT NOT NULL, "updated_at" TEXT NOT NULL ) STRICT
CREATE UNIQUE INDEX "idx_projects_name" ON "projects" ("name")
CREATE TABLE "tokens" ( "id" TEXT PRIMARY KEY, "sha256" TEXT NOT NULL, "prefix" TEXT NOT NULL, "project_id" TEXT NOT NULL REFERENCES "projects"("id"), "active" INTEGER NOT NULL, "created_at" TEXT NOT NULL, "expires_at" TEXT, "max_requests" INTEGER, "request_count" INTEGER NOT NULL DEFAULT 0, "last_used_at" TEXT ) STRICT
CREATE UNIQUE INDEX "idx_tokens_sha256" ON "tokens" ("sha256")
CREATE INDEX "idx_tokens_project_id" ON "tokens" ("project_id")
-- m002_token_metadata
ALTER TABLE "tokens" ADD COLUMN "metadata" TEXT NOT NULL DEFAULT '{}'
-- m003_revision
CREATE TABLE "revision" ( "id" INTEGER PRIMARY KEY, "number" INTEGER ) STRICT
INSERT INTO "revision" ("id", "number") VALUES (1, 1)
CREATE TRIGGER revision_token_inserted AFTER INSERT ON tokens BEGIN UPDATE revision SET number = number + 1; END
CREATE TRIGGER revision_token_deleted AFTER DELETE ON tokens BEGIN UPDATE revision SET number = number + 1; END
CREATE TRIGGER revision_token_updated AFTER UPDATE OF project_id, active, expires_at, max_requests, metadata, sha256 ON tokens BEGIN UPDATE revision SET number = number + 1; END
CREATE TRIGGER revision_project_inserted AFTER INSERT ON projects BEGIN UPDATE revision SET number = number + 1; END
CREATE TRIGGER revision_project_deleted AFTER DELETE ON projects BEGIN UPDATE revision SET number = number + 1; END
CREATE TRIGGER revision_project_updated AFTER UPDATE ON projects BEGIN UPDATE revision SET number = number + 1; END
-- m004_key_schemes
UPDATE projects SET api_key = 'plain:' || api_key
-- m005_token_rotation
ALTER TABLE "tokens" ADD COLUMN "previous_sha256" TEXT
ALTER TABLE "tokens" ADD COLUMN "previous_prefix" TEXT
ALTER TABLE "tokens" ADD COLUMN "previous_ends_at" TEXT
ALTER TABLE "tokens" ADD COLUMN "last_used_from" TEXT
CREATE UNIQUE INDEX "idx_tokens_previous_sha256" ON "tokens" ("previous_sha256")
-- m006_limits
ALTER TABLE "projects" ADD COLUMN "limits" TEXT NOT NULL DEFAULT '{}'
ALTER TABLE "tokens" ADD COLUMN "limits" TEXT NOT NULL DEFAULT '{}'
DROP TRIGGER revision_token_updated
CREATE TRIGGER revision_token_updated AFTER UPDATE OF project_id, active, expires_at, max_requests, metadata, sha256, limits ON tokens BEGIN UPDATE revision SET number = number + 1; END
CREATE TABLE "holds" ( "call_id" TEXT PRIMARY KEY NOT NULL, "token_id" TEXT NOT NULL, "project_id" TEXT NOT NULL, "process" TEXT NOT NULL, "taken_at" INTEGER NOT NULL, "hour" INTEGER NOT NULL, "requests" INTEGER NOT NULL, "tokens" INTEGER NOT NULL, "nano_usd" INTEGER NOT NULL, "counted" INTEGER NOT NULL, "running" INTEGER NOT NULL, "expires_at" INTEGER NOT NULL, "settled_at" INTEGER NOT NULL ) STRICT
CREATE INDEX "idx_holds_token_id_settled_at" ON "holds" ("token_id", "settled_at")
CREATE INDEX "idx_holds_project_id_settled_at" ON "holds" ("project_id", "settled_at")
CREATE INDEX "idx_holds_process" ON "holds" ("process")
CREATE INDEX "idx_holds_settled_at" ON "holds" ("settled_at")
CREATE TABLE "spend" ( "subject" TEXT NOT NULL, "period" TEXT NOT NULL, "starts_at" INTEGER NOT NULL, "requests" INTEGER NOT NULL, "tokens" INTEGER NOT NULL, "nano_usd" INTEGER NOT NULL, "assumed" INTEGER NOT NULL, PRIMARY KEY ("subject", "period", "starts_at") ) STRICT
CREATE TABLE "rates" ( "subject" TEXT NOT NULL, "second" INTEGER NOT NULL, "requests" INTEGER NOT NULL, "tokens" INTEGER NOT NULL, PRIMARY KEY ("subject", "second") ) STRICT
CREATE INDEX "idx_rates_second" ON "rates" ("second")
CREATE TABLE "topups" ( "id" TEXT PRIMARY KEY NOT NULL, "subject" TEXT NOT NULL, "unit" TEXT NOT NULL, "period" TEXT NOT NULL, "amount" INTEGER NOT NULL, "at" INTEGER NOT NULL ) STRICT
CREATE INDEX "idx_topups_subject" ON "topups" ("subject")
CREATE TABLE "rolled" ( "writer" TEXT PRIMARY KEY NOT NULL, "seq" INTEGER NOT NULL ) STRICT
-- m007_audit
CREATE TABLE "audit" ( "seq" INTEGER PRIMARY KEY, "version" INTEGER NOT NULL, "at" INTEGER NOT NULL, "since" INTEGER, "action" TEXT NOT NULL, "outcome" TEXT NOT NULL, "actor" TEXT, "address" TEXT, "project_id" TEXT, "token_id" TEXT, "reason" TEXT, "before" TEXT, "after" TEXT, "count" INTEGER NOT NULL, "previous" TEXT NOT NULL, "hash" TEXT NOT NULL ) STRICT
CREATE INDEX "idx_audit_token_id" ON "audit" ("token_id")
CREATE INDEX "idx_audit_project_id" ON "audit" ("project_id")
CREATE TABLE "audit_head" ( "id" INTEGER PRIMARY KEY, "seq" INTEGER, "hash" TEXT ) STRICT
INSERT INTO "audit_head" ("hash", "id", "seq") VALUES ('0000000000000000000000000000000000000000000000000000000000000000', 1, 0)
-- m008_attribution
ALTER TABLE "projects" ADD COLUMN "metadata" TEXT NOT NULL DEFAULT '{}'
ALTER TABLE "projects" ADD COLUMN "header_metadata" TEXT NOT NULL DEFAULT '[]'
ALTER TABLE "tokens" ADD COLUMN "header_metadata" TEXT NOT NULL DEFAULT '[]'
CREATE TRIGGER revision_token_header_metadata AFTER UPDATE OF header_metadata ON tokens BEGIN UPDATE revision SET number = number + 1; END
-- m010_usage_hours
CREATE TABLE usage_hours ( hour INTEGER NOT NULL, project_id TEXT NOT NULL, token_id TEXT NOT NULL, user_id TEXT NOT NULL, model TEXT NOT NULL, endpoint TEXT NOT NULL, calls INTEGER NOT NULL DEFAULT 0, refused INTEGER NOT NULL DEFAULT 0, failed INTEGER NOT NULL DEFAULT 0, unreported INTEGER NOT NULL DEFAULT 0, unpriced INTEGER NOT NULL DEFAULT 0, input_tokens INTEGER NOT NULL DEFAULT 0, cached_tokens INTEGER NOT NULL DEFAULT 0, output_tokens INTEGER NOT NULL DEFAULT 0, reasoning_tokens INTEGER NOT NULL DEFAULT 0, total_tokens INTEGER NOT NULL DEFAULT 0, milliseconds INTEGER NOT NULL DEFAULT 0, nano_usd INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (hour, project_id, user_id, token_id, model, endpoint) ) STRICT, WITHOUT ROWID
-- m009_objects
CREATE TABLE "objects" ( "id" TEXT PRIMARY KEY NOT NULL, "kind" TEXT NOT NULL, "project_id" TEXT, "token_id" TEXT, "parent" TEXT, "status" TEXT, "counted_by" TEXT, "counted_writer" TEXT, "created_at" INTEGER NOT NULL, "expires_at" INTEGER, "deleted_at" INTEGER, "due" INTEGER NOT NULL, "counted_at" INTEGER ) STRICT
CREATE INDEX "idx_objects_expires_at" ON "objects" ("expires_at")
CREATE INDEX "idx_objects_counted_by" ON "objects" ("counted_by")
CREATE INDEX idx_objects_due ON objects (due, created_at) WHERE due = 1
-- m011_budget_marks
CREATE TABLE "budget_marks" ( "id" TEXT PRIMARY KEY NOT NULL, "subject" TEXT NOT NULL, "name" TEXT NOT NULL, "event" TEXT NOT NULL, "starts_at" INTEGER NOT NULL, "percent" INTEGER NOT NULL, "at" INTEGER NOT NULL, "told" INTEGER NOT NULL ) STRICT
CREATE INDEX "idx_budget_marks_subject" ON "budget_marks" ("subject")
CREATE INDEX "idx_budget_marks_told" ON "budget_marks" ("told")
-- m012_views
CREATE VIEW "usage_by_day" AS SELECT date(hour * 3600, 'unixepoch') AS day, projects.name AS project, model, SUM(calls) AS calls, SUM(refused) AS refused, SUM(failed) AS failed, SUM(input_tokens) AS input_tokens, SUM(cached_tokens) AS cached_tokens, SUM(output_tokens) AS output_tokens, SUM(nano_usd) / 1e9 AS usd, SUM(unpriced) AS unpriced, SUM(unreported) AS unreported FROM usage_hours LEFT JOIN projects ON projects.id = usage_hours.project_id GROUP BY day, usage_hours.project_id, model ORDER BY day DESC, usd DESC
CREATE VIEW "usage_by_project" AS SELECT strftime('%Y-%m', hour * 3600, 'unixepoch') AS month, projects.name AS project, SUM(calls) AS calls, SUM(refused) AS refused, SUM(failed) AS failed, SUM(input_tokens) AS input_tokens, SUM(cached_tokens) AS cached_tokens, SUM(output_tokens) AS output_tokens, SUM(nano_usd) / 1e9 AS usd, SUM(unpriced) AS unpriced, SUM(unreported) AS unreported FROM usage_hours LEFT JOIN projects ON projects.id = usage_hours.project_id GROUP BY month, usage_hours.project_id ORDER BY month DESC, usd DESC
CREATE VIEW "usage_by_model" AS SELECT strftime('%Y-%m', hour * 3600, 'unixepoch') AS month, model, endpoint, SUM(calls) AS calls, SUM(refused) AS refused, SUM(failed) AS failed, SUM(input_tokens) AS input_tokens, SUM(cached_tokens) AS cached_tokens, SUM(output_tokens) AS output_tokens, SUM(nano_usd) / 1e9 AS usd, SUM(unpriced) AS unpriced, SUM(unreported) AS unreported FROM usage_hours LEFT JOIN projects ON projects.id = usage_hours.project_id GROUP BY month, model, endpoint ORDER BY month DESC, usd DESC
CREATE VIEW "usage_by_user" AS SELECT strftime('%Y-%m', hour * 3600, 'unixepoch') AS month, projects.name AS project, user_id, SUM(calls) AS calls, SUM(refused) AS refused, SUM(failed) AS failed, SUM(input_tokens) AS input_tokens, SUM(cached_tokens) AS cached_tokens, SUM(output_tokens) AS output_tokens, SUM(nano_usd) / 1e9 AS usd, SUM(unpriced) AS unpriced, SUM(unreported) AS unreported FROM usage_hours LEFT JOIN projects ON projects.id = usage_hours.project_id GROUP BY month, usage_hours.project_id, user_id ORDER BY month DESC, usd DESC
CREATE VIEW "tokens_in_use" AS SELECT tokens.id, tokens.prefix, projects.name AS project, tokens.active AND projects.active AS active, tokens.created_at, tokens.expires_at, tokens.last_used_at, tokens.request_count, tokens.metadata, coalesce(month.usd, 0.0) AS usd_30_days FROM tokens JOIN projects ON projects.id = tokens.project_id LEFT JOIN ( SELECT token_id, SUM(nano_usd) / 1e9 AS usd FROM usage_hours WHERE hour >= strftime('%s', 'now', '-30 days') / 3600 GROUP BY token_id ) AS month ON month.token_id = tokens.id ORDER BY tokens.last_used_at DESC
CREATE VIEW "budgets" AS WITH subjects (side, subject, project_id, name, limits) AS ( SELECT 'project', id, id, name, limits FROM projects UNION ALL SELECT 'token', id, project_id, prefix, limits FROM tokens WHERE active = 1 ), periods (period, starts_at, ends_at) AS (VALUES ('hour', strftime('%s', 'now') / 3600 * 3600, strftime('%s', 'now') / 3600 * 3600 + 3600), ('day', strftime('%s', 'now', 'start of day') + 0, strftime('%s', 'now', 'start of day') + 86400), ('week', strftime('%s', 'now', 'start of day', '-6 days', 'weekday 1') + 0, strftime('%s', 'now', 'start of day', '-6 days', 'weekday 1') + 7 * 86400), ('month', strftime('%s', 'now', 'start of month') + 0, strftime('%s', 'now', 'start of month', '+1 month') + 0), ('total', 0, NULL) ), budgets (side, subject, project_id, name, unit, period, amount, starts_at, ends_at) AS ( SELECT side, subject, project_id, name, units.key, amounts.key, amounts.value, starts_at, ends_at FROM subjects, json_each(limits, '$.budgets') AS units, json_each(units.value) AS amounts, periods WHERE periods.period = amounts.key ), sums AS ( SELECT *, coalesce((SELECT SUM(amount) FROM topups WHERE topups.subject = budgets.subject AND topups.unit = budgets.unit AND topups.period = budgets.period AND at >= starts_at AND (ends_at IS NULL OR at < ends_at)), 0) AS topped_up, coalesce((SELECT CASE unit WHEN 'usd' THEN nano_usd ELSE tokens END FROM spend WHERE spend.subject = budgets.subject AND spend.period = budgets.period AND spend.starts_at = budgets.starts_at), 0) AS spent, coalesce((SELECT SUM(CASE unit WHEN 'usd' THEN nano_usd ELSE tokens END) FROM holds WHERE CASE side WHEN 'token' THEN token_id ELSE holds.project_id END = budgets.subject AND settled_at = 0 AND expires_at > strftime('%s', 'now') + 0 AND (ends_at IS NULL OR hour BETWEEN starts_at / 3600 AND ends_at / 3600 - 1)), 0) AS held, CASE unit WHEN 'usd' THEN 1e9 ELSE 1 END AS one FROM budgets ) SELECT side, subject, projects.name AS project, sums.name, unit || '/' || period AS budget, CASE unit WHEN 'usd' THEN amount + topped_up / one ELSE amount + topped_up END AS allowed, CASE unit WHEN 'usd' THEN spent / one ELSE spent END AS used, CASE unit WHEN 'usd' THEN held / one ELSE held END AS held, round(100.0 * spent / one / (amount + topped_up / one), 1) AS percent, datetime(ends_at, 'unixepoch') AS resets_at FROM sums LEFT JOIN projects ON projects.id = sums.project_id ORDER BY percent DESC
-- m013_prices
CREATE TABLE "price_lists" ( "number" INTEGER PRIMARY KEY NOT NULL, "name" TEXT NOT NULL, "origin" TEXT NOT NULL, "added_at" TEXT NOT NULL, "sha256" TEXT NOT NULL, "content" TEXT NOT NULL ) STRICT
CREATE TABLE "repricings" ( "call_id" TEXT PRIMARY KEY NOT NULL, "nano_usd" INTEGER NOT NULL ) STRICT
-- m014_admin_keys
CREATE TABLE "admin_keys" ( "project_id" TEXT PRIMARY KEY NOT NULL, "api_key" TEXT NOT NULL ) STRICT
-- m015_assumed_charges
CREATE TABLE "assumed_charges" ( "call_id" TEXT PRIMARY KEY NOT NULL, "token_id" TEXT NOT NULL, "project_id" TEXT NOT NULL, "outcome" TEXT NOT NULL, "hour" INTEGER NOT NULL, "at" INTEGER NOT NULL, "tokens" INTEGER NOT NULL, "nano_usd" INTEGER NOT NULL, "known_tokens" INTEGER NOT NULL, "known_nano_usd" INTEGER NOT NULL ) STRICT
CREATE INDEX "idx_assumed_charges_token_id" ON "assumed_charges" ("token_id")
CREATE INDEX "idx_assumed_charges_project_id" ON "assumed_charges" ("project_id")
CREATE INDEX "idx_assumed_charges_outcome" ON "assumed_charges" ("outcome")
CREATE INDEX "idx_assumed_charges_at" ON "assumed_charges" ("at")
-- m016_most_of_holds
ALTER TABLE "holds" ADD COLUMN "most_tokens" INTEGER NOT NULL DEFAULT 0
ALTER TABLE "holds" ADD COLUMN "most_nano_usd" INTEGER NOT NULL DEFAULT 0
-- m017_cache
ALTER TABLE "projects" ADD COLUMN "cache" TEXT
ALTER TABLE "tokens" ADD COLUMN "cache" TEXT
CREATE TRIGGER revision_token_cache AFTER UPDATE OF cache ON tokens BEGIN UPDATE revision SET number = number + 1; END
ALTER TABLE "usage_hours" ADD COLUMN "cache_hits" INTEGER NOT NULL DEFAULT 0
ALTER TABLE "usage_hours" ADD COLUMN "saved_tokens" INTEGER NOT NULL DEFAULT 0
ALTER TABLE "usage_hours" ADD COLUMN "saved_nano_usd" INTEGER NOT NULL DEFAULT 0
CREATE TABLE "cache_purges" ( "number" INTEGER PRIMARY KEY NOT NULL, "at" INTEGER NOT NULL, "project_id" TEXT, "cache_key" TEXT, "method" TEXT, "target" TEXT, "beginning" INTEGER NOT NULL ) STRICT
