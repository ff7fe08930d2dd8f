-- m006_limits
CREATE TABLE IF NOT EXISTS revision ( id BIGINT NOT NULL, number BIGINT, PRIMARY KEY (id) )
INSERT INTO revision (id, number) SELECT 1, 1 WHERE NOT EXISTS (SELECT 1 FROM revision)
CREATE OR REPLACE FUNCTION raise_revision() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE revision SET number = number + 1; RETURN NULL; END $$
CREATE TABLE IF NOT EXISTS projects ( id VARCHAR(255) COLLATE "C" NOT NULL, name VARCHAR(255) COLLATE "C" NOT NULL, api_key TEXT NOT NULL, active BIGINT NOT NULL, created_at VARCHAR(255) COLLATE "C" NOT NULL, updated_at VARCHAR(255) COLLATE "C" NOT NULL, limits TEXT DEFAULT ('{}') NOT NULL, PRIMARY KEY (id) )
CREATE UNIQUE INDEX idx_projects_name ON projects (name)
CREATE TABLE IF NOT EXISTS tokens ( id VARCHAR(255) COLLATE "C" NOT NULL, sha256 VARCHAR(255) COLLATE "C" NOT NULL, prefix VARCHAR(255) COLLATE "C" NOT NULL, project_id VARCHAR(255) COLLATE "C" NOT NULL, active BIGINT NOT NULL, created_at VARCHAR(255) COLLATE "C" NOT NULL, expires_at VARCHAR(255) COLLATE "C", max_requests BIGINT, request_count BIGINT DEFAULT 0 NOT NULL, last_used_at VARCHAR(255) COLLATE "C", metadata TEXT DEFAULT ('{}') NOT NULL, previous_sha256 VARCHAR(255) COLLATE "C", previous_prefix VARCHAR(255) COLLATE "C", previous_ends_at VARCHAR(255) COLLATE "C", last_used_from VARCHAR(255) COLLATE "C", limits TEXT DEFAULT ('{}') NOT NULL, PRIMARY KEY (id), FOREIGN KEY(project_id) REFERENCES projects (id) )
CREATE UNIQUE INDEX idx_tokens_sha256 ON tokens (sha256)
CREATE INDEX idx_tokens_project_id ON tokens (project_id)
CREATE UNIQUE INDEX idx_tokens_previous_sha256 ON tokens (previous_sha256)
DROP TRIGGER IF EXISTS revision_projects_insert ON projects
CREATE TRIGGER revision_projects_insert AFTER INSERT ON projects FOR EACH ROW EXECUTE FUNCTION raise_revision()
DROP TRIGGER IF EXISTS revision_projects_delete ON projects
CREATE TRIGGER revision_projects_delete AFTER DELETE ON projects FOR EACH ROW EXECUTE FUNCTION raise_revision()
DROP TRIGGER IF EXISTS revision_projects_update ON projects
CREATE TRIGGER revision_projects_update AFTER UPDATE ON projects FOR EACH ROW EXECUTE FUNCTION raise_revision()
DROP TRIGGER IF EXISTS revision_tokens_insert ON tokens
CREATE TRIGGER revision_tokens_insert AFTER INSERT ON tokens FOR EACH ROW EXECUTE FUNCTION raise_revision()
DROP TRIGGER IF EXISTS revision_tokens_delete ON tokens
CREATE TRIGGER revision_tokens_delete AFTER DELETE ON tokens FOR EACH ROW EXECUTE FUNCTION raise_revision()
DROP TRIGGER IF EXISTS revision_tokens_update ON tokens
CREATE TRIGGER revision_tokens_update AFTER UPDATE OF project_id, active, expires_at, max_requests, metadata, sha256, limits ON tokens FOR EACH ROW EXECUTE FUNCTION raise_revision()
CREATE TABLE IF NOT EXISTS holds ( call_id VARCHAR(255) COLLATE "C" NOT NULL, token_id VARCHAR(255) COLLATE "C" NOT NULL, project_id VARCHAR(255) COLLATE "C" NOT NULL, process VARCHAR(255) COLLATE "C" NOT NULL, taken_at BIGINT NOT NULL, hour BIGINT NOT NULL, requests BIGINT NOT NULL, tokens BIGINT NOT NULL, nano_usd BIGINT NOT NULL, counted BIGINT NOT NULL, running BIGINT NOT NULL, expires_at BIGINT NOT NULL, settled_at BIGINT NOT NULL, PRIMARY KEY (call_id) )
CREATE INDEX idx_holds_token_id_settled_at ON holds (token_id, settled_at)
CREATE INDEX idx_holds_project_id_settled_at ON holds (project_id, settled_at)
CREATE INDEX idx_holds_process ON holds (process)
CREATE INDEX idx_holds_settled_at ON holds (settled_at)
CREATE TABLE IF NOT EXISTS spend ( subject VARCHAR(255) COLLATE "C" NOT NULL, period VARCHAR(255) COLLATE "C" NOT NULL, starts_at BIGINT NOT NULL, requests BIGINT NOT NULL, tokens BIGINT NOT NULL, nano_usd BIGINT NOT NULL, assumed BIGINT NOT NULL, PRIMARY KEY (subject, period, starts_at) )
CREATE TABLE IF NOT EXISTS rates ( subject VARCHAR(255) COLLATE "C" NOT NULL, second BIGINT NOT NULL, requests BIGINT NOT NULL, tokens BIGINT NOT NULL, PRIMARY KEY (subject, second) )
CREATE INDEX idx_rates_second ON rates (second)
CREATE TABLE IF NOT EXISTS topups ( id VARCHAR(255) COLLATE "C" NOT NULL, subject VARCHAR(255) COLLATE "C" NOT NULL, unit VARCHAR(255) COLLATE "C" NOT NULL, period VARCHAR(255) COLLATE "C" NOT NULL, amount BIGINT NOT NULL, at BIGINT NOT NULL, PRIMARY KEY (id) )
CREATE INDEX idx_topups_subject ON topups (subject)
CREATE TABLE IF NOT EXISTS rolled ( writer VARCHAR(255) COLLATE "C" NOT NULL, seq BIGINT NOT NULL, PRIMARY KEY (writer) )
-- m008_attribution
ALTER TABLE projects ADD COLUMN metadata TEXT DEFAULT ('{}') NOT NULL
ALTER TABLE projects ADD COLUMN header_metadata TEXT DEFAULT ('[]') NOT NULL
ALTER TABLE tokens ADD COLUMN header_metadata TEXT DEFAULT ('[]') NOT NULL
DROP TRIGGER IF EXISTS revision_tokens_insert ON tokens
CREATE TRIGGER revision_tokens_insert AFTER INSERT ON tokens FOR EACH ROW EXECUTE FUNCTION raise_revision()
DROP TRIGGER IF EXISTS revision_tokens_delete ON tokens
CREATE TRIGGER revision_tokens_delete AFTER DELETE ON tokens FOR EACH ROW EXECUTE FUNCTION raise_revision()
DROP TRIGGER IF EXISTS revision_tokens_update ON tokens
CREATE TRIGGER revision_tokens_update AFTER UPDATE OF project_id, active, expires_at, max_requests, metadata, sha256, limits, header_metadata ON tokens FOR EACH ROW EXECUTE FUNCTION raise_revision()
-- m010_usage_hours
CREATE TABLE IF NOT EXISTS usage_hours ( hour BIGINT NOT NULL, project_id VARCHAR(64) COLLATE "C" NOT NULL, token_id VARCHAR(64) COLLATE "C" NOT NULL, user_id VARCHAR(200) COLLATE "C" NOT NULL, model VARCHAR(200) COLLATE "C" NOT NULL, endpoint VARCHAR(100) COLLATE "C" NOT NULL, calls BIGINT DEFAULT 0 NOT NULL, refused BIGINT DEFAULT 0 NOT NULL, failed BIGINT DEFAULT 0 NOT NULL, unreported BIGINT DEFAULT 0 NOT NULL, unpriced BIGINT DEFAULT 0 NOT NULL, input_tokens BIGINT DEFAULT 0 NOT NULL, cached_tokens BIGINT DEFAULT 0 NOT NULL, output_tokens BIGINT DEFAULT 0 NOT NULL, reasoning_tokens BIGINT DEFAULT 0 NOT NULL, total_tokens BIGINT DEFAULT 0 NOT NULL, milliseconds BIGINT DEFAULT 0 NOT NULL, nano_usd BIGINT DEFAULT 0 NOT NULL, PRIMARY KEY (hour, project_id, user_id, token_id, model, endpoint) )
-- m009_objects
CREATE TABLE IF NOT EXISTS objects ( id VARCHAR(255) COLLATE "C" NOT NULL, kind VARCHAR(255) COLLATE "C" NOT NULL, project_id VARCHAR(255) COLLATE "C", token_id VARCHAR(255) COLLATE "C", parent VARCHAR(255) COLLATE "C", status VARCHAR(255) COLLATE "C", counted_by VARCHAR(255) COLLATE "C", counted_writer VARCHAR(255) COLLATE "C", created_at BIGINT NOT NULL, due BIGINT NOT NULL, expires_at BIGINT, deleted_at BIGINT, counted_at BIGINT, PRIMARY KEY (id) )
CREATE INDEX idx_objects_expires_at ON objects (expires_at)
CREATE INDEX idx_objects_counted_by ON objects (counted_by)
CREATE INDEX idx_objects_due_created_at ON objects (due, created_at) WHERE due = 1
-- m007_audit
CREATE TABLE IF NOT EXISTS audit ( seq BIGINT NOT NULL, version BIGINT NOT NULL, at BIGINT NOT NULL, since BIGINT, action VARCHAR(255) COLLATE "C" NOT NULL, outcome VARCHAR(255) COLLATE "C" NOT NULL, actor VARCHAR(255) COLLATE "C", address VARCHAR(255) COLLATE "C", project_id VARCHAR(255) COLLATE "C", token_id VARCHAR(255) COLLATE "C", reason TEXT, before TEXT, after TEXT, count BIGINT NOT NULL, previous VARCHAR(255) COLLATE "C" NOT NULL, hash VARCHAR(255) COLLATE "C" NOT NULL, PRIMARY KEY (seq) )
CREATE INDEX idx_audit_token_id ON audit (token_id)
CREATE INDEX idx_audit_project_id ON audit (project_id)
CREATE TABLE IF NOT EXISTS audit_head ( id BIGINT NOT NULL, seq BIGINT, hash VARCHAR(255) COLLATE "C", PRIMARY KEY (id) )
INSERT INTO audit_head (id, seq, hash) SELECT 1, 0, '0000000000000000000000000000000000000000000000000000000000000000' WHERE NOT EXISTS (SELECT 1 FROM audit_head)
-- m011_budget_marks
CREATE TABLE IF NOT EXISTS budget_marks ( id VARCHAR(255) COLLATE "C" NOT NULL, subject VARCHAR(255) COLLATE "C" NOT NULL, name VARCHAR(255) COLLATE "C" NOT NULL, event TEXT NOT NULL, starts_at BIGINT NOT NULL, percent BIGINT NOT NULL, at BIGINT NOT NULL, told BIGINT NOT NULL, PRIMARY KEY (id) )
CREATE INDEX idx_budget_marks_subject ON budget_marks (subject)
CREATE INDEX idx_budget_marks_told ON budget_marks (told)
-- m013_prices
CREATE TABLE IF NOT EXISTS price_lists ( number BIGINT NOT NULL, name VARCHAR(255) COLLATE "C" NOT NULL, origin VARCHAR(255) COLLATE "C" NOT NULL, added_at VARCHAR(255) COLLATE "C" NOT NULL, sha256 VARCHAR(255) COLLATE "C" NOT NULL, content TEXT NOT NULL, PRIMARY KEY (number) )
CREATE TABLE IF NOT EXISTS repricings ( call_id VARCHAR(255) COLLATE "C" NOT NULL, nano_usd BIGINT NOT NULL, PRIMARY KEY (call_id) )
-- m014_admin_keys
CREATE TABLE IF NOT EXISTS admin_keys ( project_id VARCHAR(255) COLLATE "C" NOT NULL, api_key TEXT NOT NULL, PRIMARY KEY (project_id) )
-- m015_assumed_charges
CREATE TABLE IF NOT EXISTS assumed_charges ( call_id VARCHAR(255) COLLATE "C" NOT NULL, token_id VARCHAR(255) COLLATE "C" NOT NULL, project_id VARCHAR(255) COLLATE "C" NOT NULL, outcome VARCHAR(255) COLLATE "C" NOT NULL, hour BIGINT NOT NULL, at BIGINT NOT NULL, tokens BIGINT NOT NULL, nano_usd BIGINT NOT NULL, known_tokens BIGINT NOT NULL, known_nano_usd BIGINT NOT NULL, PRIMARY KEY (call_id) )
CREATE INDEX idx_assumed_charges_token_id ON assumed_charges (token_id)
CREATE INDEX idx_assumed_charges_project_id ON assumed_charges (project_id)
CREATE INDEX idx_assumed_charges_outcome ON assumed_charges (outcome)
CREATE INDEX idx_assumed_charges_at ON assumed_charges (at)
-- m016_most_of_holds
ALTER TABLE holds ADD COLUMN most_tokens BIGINT DEFAULT 0 NOT NULL
ALTER TABLE holds ADD COLUMN most_nano_usd BIGINT DEFAULT 0 NOT NULL
-- m017_cache
ALTER TABLE projects ADD COLUMN cache VARCHAR(20) COLLATE "C"
ALTER TABLE tokens ADD COLUMN cache VARCHAR(20) COLLATE "C"
DROP TRIGGER IF EXISTS revision_tokens_insert ON tokens
CREATE TRIGGER revision_tokens_insert AFTER INSERT ON tokens FOR EACH ROW EXECUTE FUNCTION raise_revision()
DROP TRIGGER IF EXISTS revision_tokens_delete ON tokens
CREATE TRIGGER revision_tokens_delete AFTER DELETE ON tokens FOR EACH ROW EXECUTE FUNCTION raise_revision()
DROP TRIGGER IF EXISTS revision_tokens_update ON tokens
CREATE TRIGGER revision_tokens_update AFTER UPDATE OF project_id, active, expires_at, max_requests, metadata, sha256, limits, header_metadata, cache ON tokens FOR EACH ROW EXECUTE FUNCTION raise_revision()
ALTER TABLE usage_hours ADD COLUMN cache_hits BIGINT DEFAULT 0 NOT NULL
ALTER TABLE usage_hours ADD COLUMN saved_tokens BIGINT DEFAULT 0 NOT NULL
ALTER TABLE usage_hours ADD COLUMN saved_nano_usd BIGINT DEFAULT 0 NOT NULL
CREATE TABLE IF NOT EXISTS cache_purges ( number BIGINT NOT NULL, at BIGINT NOT NULL, project_id VARCHAR(255) COLLATE "C", cache_key VARCHAR(255) COLLATE "C", method VARCHAR(255) COLLATE "C", target TEXT, beginning BIGINT DEFAULT 0 NOT NULL, PRIMARY KEY (number) )
