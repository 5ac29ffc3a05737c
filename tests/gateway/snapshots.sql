-- The store as opensandbox-server 1.1.1 makes it.
PRAGMA journal_mode = WAL;
CREATE TABLE snapshots (
    id TEXT PRIMARY KEY,
    source_sandbox_id TEXT NOT NULL,
    namespace TEXT DEFAULT NULL,
    name TEXT,
    description TEXT,
    restore_config TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    message TEXT,
    last_transition_at TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
);
CREATE INDEX idx_snapshots_source_sandbox_id ON snapshots(source_sandbox_id);
CREATE INDEX idx_snapshots_state ON snapshots(state);
CREATE INDEX idx_snapshots_created_at ON snapshots(created_at DESC);
CREATE INDEX idx_snapshots_name_namespace ON snapshots(name, namespace);
