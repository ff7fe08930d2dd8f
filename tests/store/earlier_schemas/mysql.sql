-- m006_limits
CREATE TABLE IF NOT EXISTS revision ( id BIGINT NOT NULL, number BIGINT, PRIMARY KEY (id) )ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_nopad_bin
INSERT INTO revision (id, number) SELECT 1, 1 WHERE NOT EXISTS (SELECT 1 FROM revision)
CREATE TABLE IF NOT EXISTS store_locks ( name VARCHAR(255) NOT NULL, PRIMARY KEY (name) )ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_nopad_bin
CREATE TABLE IF NOT EXISTS projects ( id VARCHAR(255) NOT NULL, name VARCHAR(255) NOT NULL, api_key TEXT(16777215) NOT NULL, active BIGINT NOT NULL, created_at VARCHAR(255) NOT NULL, updated_at VARCHAR(255) NOT NULL, limits TEXT(16777215) NOT NULL DEFAULT ('{}'), PRIMARY KEY (id) )ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_nopad_bin
CREATE UNIQUE INDEX idx_projects_name ON projects (name)
CREATE TABLE IF NOT EXISTS tokens ( id VARCHAR(255) NOT NULL, sha256 VARCHAR(255) NOT NULL, prefix VARCHAR(255) NOT NULL, project_id VARCHAR(255) NOT NULL, active BIGINT NOT NULL, created_at VARCHAR(255) NOT NULL, expires_at VARCHAR(255), max_requests BIGINT, request_count BIGINT NOT NULL DEFAULT 0, last_used_at VARCHAR(255), metadata TEXT(16777215) NOT NULL DEFAULT ('{}'), previous_sha256 VARCHAR(255), previous_prefix VARCHAR(255), previous_ends_at VARCHAR(255), last_used_from VARCHAR(255), limits TEXT(16777215) NOT NULL DEFAULT ('{}'), PRIMARY KEY (id), FOREIGN KEY(project_id) REFERENCES projects (id) )ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_nopad_bin
CREATE UNIQUE INDEX idx_tokens_sha256 ON tokens (sha256)
CREATE INDEX idx_tokens_project_id ON tokens (project_id)
CREATE UNIQUE INDEX idx_tokens_previous_sha256 ON tokens (previous_sha256)
DROP TRIGGER IF EXISTS revision_projects_insert
CREATE TRIGGER revision_projects_insert AFTER INSERT ON projects FOR EACH ROW UPDATE revision SET number = number + 1
DROP TRIGGER IF EXISTS revision_projects_delete
CREATE TRIGGER revision_projects_delete AFTER DELETE ON projects FOR EACH ROW UPDATE revision SET number = number + 1
DROP TRIGGER IF EXISTS revision_projects_update
CREATE TRIGGER revision_projects_update AFTER UPDATE ON projects FOR EACH ROW UPDATE revision SET number = number + 1
DROP TRIGGER IF EXISTS revision_tokens_insert
CREATE TRIGGER revision_tokens_insert AFTER INSERT ON tokens FOR EACH ROW UPDATE revision SET number = number + 1
DROP TRIGGER IF EXISTS revision_tokens_delete
CREATE TRIGGER revision_tokens_delete AFTER DELETE ON tokens FOR EACH ROW UPDATE revision SET number = number + 1
DROP TRIGGER IF EXISTS revision_tokens_update
CREATE TRIGGER revision_tokens_update AFTER UPDATE ON tokens FOR EACH ROW IF NOT (OLD.project_id <=> NEW.project_id AND OLD.active <=> NEW.active AND OLD.expires_at <=> NEW.expires_at AND OLD.max_requests <=> NEW.max_requests AND OLD.metadata <=> NEW.metadata AND OLD.sha256 <=> NEW.sha256 AND OLD.limits <=> NEW.limits) THEN UPDATE revision SET number = number + 1; END IF
CREATE TABLE IF NOT EXISTS holds ( call_id VARCHAR(255) NOT NULL, token_id VARCHAR(255) NOT NULL, project_id VARCHAR(255) NOT NULL, process VARCHAR(255) NOT NULL, taken_at BIGINT NOT NULL, hour BIGINT NOT NULL, requests BIGINT NOT NULL, tokens BIGINT NOT NULL, nano_usd BIGINT NOT NULL, counted BIGINT NOT NULL, running BIGINT NOT NULL, expires_at BIGINT NOT NULL, settled_at BIGINT NOT NULL, PRIMARY KEY (call_id) )ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_nopad_bin
CREATE INDEX idx_holds_token_id_settled_at ON holds (token_id, settled_at)
CREATE INDEX idx_holds_project_id_settled_at ON holds (project_id, settled_at)
CREATE INDEX idx_holds_process ON holds (process)
CREATE INDEX idx_holds_settled_at ON holds (settled_at)
CREATE TABLE IF NOT EXISTS spend ( subject VARCHAR(255) NOT NULL, period VARCHAR(255) NOT NULL, starts_at BIGINT NOT NULL, requests BIGINT NOT NULL, tokens BIGINT NOT NULL, nano_usd BIGINT NOT NULL, assumed BIGINT NOT NULL, PRIMARY KEY (subject, period, starts_at) )ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_nopad_bin
CREATE TABLE IF NOT EXISTS rates ( subject VARCHAR(255) NOT NULL, second BIGINT NOT NULL, requests BIGINT NOT NULL, tokens BIGINT NOT NULL, PRIMARY KEY (subject, second) )ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_nopad_bin
CREATE INDEX idx_rates_second ON rates (second)
CREATE TABLE IF NOT EXISTS topups ( id VARCHAR(255) NOT NULL, subject VARCHAR(255) NOT NULL, unit VARCHAR(255) NOT NULL, period VARCHAR(255) NOT NULL, amount BIGINT NOT NULL, at BIGINT NOT NULL, PRIMARY KEY (id) )ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_nopad_bin
CREATE INDEX idx_topups_subject ON topups (subject)
CREATE TABLE IF NOT EXISTS rolled ( writer VARCHAR(255) NOT NULL, seq BIGINT NOT NULL, PRIMARY KEY (writer) )ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_nopad_bin
-- m008_attribution
ALTER TABLE projects ADD COLUMN metadata TEXT(16777215) NOT NULL DEFAULT ('{}')
ALTER TABLE projects ADD COLUMN header_metadata TEXT(16777215) NOT NULL DEFAULT ('[]')
ALTER TABLE tokens ADD COLUMN header_metadata TEXT(16777215) NOT NULL DEFAULT ('[]')
DROP TRIGGER IF EXISTS revision_tokens_insert
CREATE TRIGGER revision_tokens_insert AFTER INSERT ON tokens FOR EACH ROW UPDATE revision SET number = number + 1
DROP TRIGGER IF EXISTS revision_tokens_delete
CREATE TRIGGER revision_tokens_delete AFTER DELETE ON tokens FOR EACH ROW UPDATE revision SET number = number + 1
DROP TRIGGER IF EXISTS revision_tokens_update
CREATE TRIGGER revision_tokens_update AFTER UPDATE ON tokens FOR EACH ROW IF NOT (OLD.project_id <=> NEW.project_id AND OLD.active <=> NEW.active AND OLD.expires_at <=> NEW.expires_at AND OLD.max_requests <=> NEW.max_requests AND OLD.metadata <=> NEW.metadata AND OLD.sha256 <=> NEW.sha256 AND OLD.limits <=> NEW.limits AND OLD.header_metadata <=> NEW.header_metadata) THEN UPDATE revision SET number = number + 1; END IF
-- m010_usage_hours
CREATE TABLE IF NOT EXISTS usage_hours ( hour BIGINT NOT NULL, project_id VARCHAR(64) NOT NULL, token_id VARCHAR(64) NOT NULL, user_id VARCHAR(200) NOT NULL, model VARCHAR(200) NOT NULL, endpoint VARCHAR(100) NOT NULL, calls BIGINT NOT NULL DEFAULT 0, refused BIGINT NOT NULL DEFAULT 0, failed BIGINT NOT NULL DEFAULT 0, unreported BIGINT NOT NULL DEFAULT 0, unpriced BIGINT NOT NULL DEFAULT 0, input_tokens BIGINT NOT NULL DEFAULT 0, cached_tokens BIGINT NOT NULL DEFAULT 0, output_tokens BIGINT NOT NULL DEFAULT 0, reasoning_tokens BIGINT NOT NULL DEFAULT 0, total_tokens BIGINT NOT NULL DEFAULT 0, milliseconds BIGINT NOT NULL DEFAULT 0, nano_usd BIGINT NOT NULL DEFAULT 0, PRIMARY KEY (hour, project_id, user_id, token_id, model, endpoint) )ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_nopad_bin
-- m009_objects
CREATE TABLE IF NOT EXISTS objects ( id VARCHAR(255) NOT NULL, kind VARCHAR(255) NOT NULL, project_id VARCHAR(255), token_id VARCHAR(255), parent VARCHAR(255), status VARCHAR(255), counted_by VARCHAR(255), counted_writer VARCHAR(255), created_at BIGINT NOT NULL, due BIGINT NOT NULL, expires_at BIGINT, deleted_at BIGINT, counted_at BIGINT, PRIMARY KEY (id) )ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_nopad_bin
CREATE INDEX idx_objects_expires_at ON objects (expires_at)
CREATE INDEX idx_objects_counted_by ON objects (counted_by)
CREATE INDEX idx_objects_due_created_at ON objects (due, created_at)
-- m007_audit
CREATE TABLE IF NOT EXISTS audit ( seq BIGINT NOT NULL, version BIGINT NOT NULL, at BIGINT NOT NULL, since BIGINT, action VARCHAR(255) NOT NULL, outcome VARCHAR(255) NOT NULL, actor VARCHAR(255), address VARCHAR(255), project_id VARCHAR(255), token_id VARCHAR(255), reason TEXT(16777215), "before" TEXT(16777215), after TEXT(16777215), count BIGINT NOT NULL, previous VARCHAR(255) NOT NULL, hash VARCHAR(255) NOT NULL, PRIMARY KEY (seq) )ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_nopad_bin
CREATE INDEX idx_audit_token_id ON audit (token_id)
CREATE INDEX idx_audit_project_id ON audit (project_id)
CREATE TABLE IF NOT EXISTS audit_head ( id BIGINT NOT NULL, seq BIGINT, hash VARCHAR(255), PRIMARY KEY (id) )ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_nopad_bin
INSERT INTO audit_head (id, seq, hash) SELECT 1, 0, '0000000000000000000000000000000000000000000000000000000000000000' WHERE NOT EXISTS (SELECT 1 FROM audit_head)
-- m011_budget_marks
CREATE TABLE IF NOT EXISTS budget_marks ( id VARCHAR(255) NOT NULL, subject VARCHAR(255) NOT NULL, name VARCHAR(255) NOT NULL, event TEXT(16777215) NOT NULL, starts_at BIGINT NOT NULL, percent BIGINT NOT NULL, at BIGINT NOT NULL, told BIGINT NOT NULL, PRIMARY KEY (id) )ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_nopad_bin
CREATE INDEX idx_budget_marks_subject ON budget_marks (subject)
CREATE INDEX idx_budget_marks_told ON budget_marks (told)
-- m013_prices
CREATE TABLE IF NOT EXISTS price_lists ( number BIGINT NOT NULL, name VARCHAR(255) NOT NULL, origin VARCHAR(255) NOT NULL, added_at VARCHAR(255) NOT NULL, sha256 VARCHAR(255) NOT NULL, content TEXT(16777215) NOT NULL, PRIMARY KEY (number) )ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_nopad_bin
CREATE TABLE IF NOT EXISTS repricings ( call_id VARCHAR(255) NOT NULL, nano_usd BIGINT NOT NULL, PRIMARY KEY (call_id) )ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_nopad_bin
-- m014_admin_keys
CREATE TABLE IF NOT EXISTS admin_keys ( project_id VARCHAR(255) NOT NULL, api_key TEXT(16777215) NOT NULL, PRIMARY KEY (project_id) )ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_nopad_bin
-- m015_assumed_charges
CREATE TABLE IF NOT EXISTS assumed_charges ( call_id VARCHAR(255) NOT NULL, token_id VARCHAR(255) NOT NULL, project_id VARCHAR(255) NOT NULL, outcome VARCHAR(255) NOT NULL, hour BIGINT NOT NULL, at BIGINT NOT NULL, tokens BIGINT NOT NULL, nano_usd BIGINT NOT NULL, known_tokens BIGINT NOT NULL, known_nano_usd BIGINT NOT NULL, PRIMARY KEY (call_id) )ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_nopad_bin
CREATE INDEX idx_assumed_charges_token_id ON assumed_charges (token_id)
CREATE INDEX idx_assumed_charges_project_id ON assumed_charges (project_id)
CREATE INDEX idx_assumed_charges_outcome ON assumed_charges (outcome)
CREATE INDEX idx_assumed_charges_at ON assumed_charges (at)
-- m016_most_of_holds
ALTER TABLE holds ADD COLUMN most_tokens BIGINT NOT NULL DEFAULT 0
ALTER TABLE holds ADD COLUMN most_nano_usd BIGINT NOT NULL DEFAULT 0
-- m017_cache
ALTER TABLE projects ADD COLUMN cache VARCHAR(20)
ALTER TABLE tokens ADD COLUMN cache VARCHAR(20)
DROP TRIGGER IF EXISTS revision_tokens_insert
CREATE TRIGGER revision_tokens_insert AFTER INSERT ON tokens FOR EACH ROW UPDATE revision SET number = number + 1
DROP TRIGGER IF EXISTS revision_tokens_delete
CREATE TRIGGER revision_tokens_delete AFTER DELETE ON tokens FOR EACH ROW UPDATE revision SET number = number + 1
DROP TRIGGER IF EXISTS revision_tokens_update
CREATE TRIGGER revision_tokens_update AFTER UPDATE ON tokens FOR EACH ROW IF NOT (OLD.project_id <=> NEW.project_id AND OLD.active <=> NEW.active AND OLD.expires_at <=> NEW.expires_at AND OLD.max_requests <=> NEW.max_requests AND OLD.metadata <=> NEW.metadata AND OLD.sha256 <=> NEW.sha256 AND OLD.limits <=> NEW.limits AND OLD.header_metadata <=> NEW.header_metadata AND OLD.cache <=> NEW.cache) THEN UPDATE revision SET number = number + 1; END IF
ALTER TABLE usage_hours ADD COLUMN cache_hits BIGINT NOT NULL DEFAULT 0
ALTER TABLE usage_hours ADD COLUMN saved_tokens BIGINT NOT NULL DEFAULT 0
ALTER TABLE usage_hours ADD COLUMN saved_nano_usd BIGINT NOT NULL DEFAULT 0
CREATE TABLE IF NOT EXISTS cache_purges ( number BIGINT NOT NULL, at BIGINT NOT NULL, project_id VARCHAR(255), cache_key VARCHAR(255), method VARCHAR(255), target TEXT(16777215), beginning BIGINT NOT NULL DEFAULT 0, PRIMARY KEY (number) )ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_nopad_bin
