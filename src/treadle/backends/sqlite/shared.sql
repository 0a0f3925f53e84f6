-- Statements of the shared state.

-- name: cell
SELECT value, version FROM treadle_cell WHERE key = ?1 AND (until IS NULL OR until > ?2);

-- name: cells
SELECT key, value, version FROM treadle_cell
WHERE key >= ?1 AND substr(key, 1, length(?1)) = ?1 AND key < ?2
  AND (until IS NULL OR until > ?3);

-- name: save_cell
INSERT INTO treadle_cell (key, value, version, until) VALUES (?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = excluded.version,
  until = excluded.until;

-- name: drop_cell
DELETE FROM treadle_cell WHERE key = ?;

-- name: sessions
SELECT nonce, info, until FROM treadle_session WHERE until > ?;

-- name: ticket
SELECT seq, until FROM treadle_ticket WHERE id = ?;

-- name: add_ticket
INSERT INTO treadle_ticket (id, until) VALUES (?, ?);

-- name: renew_ticket
UPDATE treadle_ticket SET until = ? WHERE seq = ?;

-- name: drop_ticket
DELETE FROM treadle_ticket WHERE seq = ?;

-- name: line_up
INSERT OR IGNORE INTO treadle_ticket_line (name, seq) VALUES (?, ?);

-- name: leave_lines
DELETE FROM treadle_ticket_line WHERE seq = ?;

-- name: tickets_ahead
SELECT count(*) FROM
  (SELECT 1 FROM treadle_ticket_line WHERE name = ? AND seq < ? LIMIT ?);

-- name: stale_tickets
SELECT seq FROM treadle_ticket WHERE until <= ? LIMIT 200;

-- name: add_permit
INSERT INTO treadle_permit (id, granted, until, asks) VALUES (?, ?, ?, ?);

-- name: permit
SELECT granted, until, asks FROM treadle_permit WHERE id = ?;

-- name: renew_permit
UPDATE treadle_permit SET until = ? WHERE id = ?;

-- name: drop_permit
DELETE FROM treadle_permit WHERE id = ?;

-- name: stale_permits
SELECT id FROM treadle_permit WHERE until <= ? LIMIT 200;
