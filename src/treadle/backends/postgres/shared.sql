-- Statements of the shared state.

-- name: cell
SELECT value, version FROM treadle_cell WHERE key = $1 AND (until IS NULL OR until > $2);

-- name: cells
SELECT key, value, version FROM treadle_cell
WHERE key >= $1 AND starts_with(key, $1) AND (until IS NULL OR until > $2);

-- name: save_cell
INSERT INTO treadle_cell (key, value, version, until) VALUES ($1, $2, $3, $4)
ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = excluded.version,
  until = excluded.until;

-- name: drop_cell
DELETE FROM treadle_cell WHERE key = $1;

-- name: sessions
SELECT nonce, info, until FROM treadle_session WHERE until > $1;

-- name: ticket
SELECT seq, until FROM treadle_ticket WHERE id = $1;

-- name: add_ticket
INSERT INTO treadle_ticket (seq, id, until) VALUES (nextval('treadle_ticket_seq'), $1, $2)
RETURNING seq;

-- name: renew_ticket
UPDATE treadle_ticket SET until = $1 WHERE seq = $2;

-- name: drop_ticket
DELETE FROM treadle_ticket WHERE seq = $1;

-- name: line_up
INSERT INTO treadle_ticket_line (name, seq) SELECT name, $2 FROM unnest($1::text[]) AS u (name)
ON CONFLICT DO NOTHING;

-- name: leave_lines
DELETE FROM treadle_ticket_line WHERE seq = $1;

-- name: tickets_ahead
SELECT count(*) FROM
  (SELECT 1 FROM treadle_ticket_line WHERE name = $1 AND seq < $2 LIMIT $3) AS ahead;

-- name: stale_tickets
SELECT seq FROM treadle_ticket WHERE until <= $1 ORDER BY until LIMIT 200;

-- name: add_permit
INSERT INTO treadle_permit (id, granted, until, asks) VALUES ($1, $2, $3, $4);

-- name: permit
SELECT granted, until, asks FROM treadle_permit WHERE id = $1;

-- name: renew_permit
UPDATE treadle_permit SET until = $1 WHERE id = $2;

-- name: drop_permit
DELETE FROM treadle_permit WHERE id = $1;

-- name: stale_permits
SELECT id FROM treadle_permit WHERE until <= $1 ORDER BY until LIMIT 200;
