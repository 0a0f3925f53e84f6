-- Statements that move time forward.

-- The earliest instant of everything that has a time, in the order of ``Horizon``.
-- name: horizon
SELECT
  (SELECT min(due) FROM treadle_job INDEXED BY treadle_job_due WHERE state = 1),
  (SELECT min(until) FROM treadle_job INDEXED BY treadle_job_until
    WHERE until IS NOT NULL),
  (SELECT min(expires) FROM treadle_job INDEXED BY treadle_job_expires
    WHERE expires IS NOT NULL AND state <> 3),
  (SELECT min(keep_until) FROM treadle_job INDEXED BY treadle_job_keep
    WHERE keep_until IS NOT NULL),
  (SELECT min(until) FROM treadle_gone),
  (SELECT min(until) FROM treadle_session),
  (SELECT min(until) FROM treadle_unique WHERE until IS NOT NULL),
  (SELECT min(fades) FROM treadle_rate),
  (SELECT min(until) FROM treadle_permit),
  (SELECT min(until) FROM treadle_ticket),
  (SELECT min(until) FROM treadle_cell WHERE until IS NOT NULL),
  (SELECT 1 FROM treadle_ended LIMIT 1);

-- The same, and of one job what those see who wait for it; at the end because it may be gone.
-- name: watched
/*horizon*/,
  (SELECT state FROM treadle_job WHERE id = ?1),
  (SELECT version FROM treadle_job WHERE id = ?1);

-- name: due
SELECT seq
FROM treadle_job INDEXED BY treadle_job_due WHERE state = 1 AND due <= ? ORDER BY due, seq LIMIT ?;

-- name: lapsed
SELECT seq
FROM treadle_job INDEXED BY treadle_job_until WHERE until IS NOT NULL AND until <= ? ORDER BY until, seq LIMIT ?;

-- name: spare_leases
UPDATE treadle_job SET until = ? WHERE until IS NOT NULL AND until > ? AND until <= ?;

-- name: spare_permits
UPDATE treadle_permit SET until = ? WHERE until > ? AND until <= ?;

-- name: expired
SELECT seq
FROM treadle_job INDEXED BY treadle_job_expires WHERE expires IS NOT NULL AND state <> 3 AND expires <= ?
ORDER BY expires, seq LIMIT ?;

-- name: outdated
SELECT seq, queue, state, failed_task FROM treadle_job INDEXED BY treadle_job_keep
WHERE keep_until IS NOT NULL AND keep_until <= ? ORDER BY keep_until LIMIT ?;

-- name: bury_many
INSERT INTO treadle_gone (id, pushed, of, state, fence, nonce, at, until)
SELECT id, 'created', NULL, state, ended_fence, ended_nonce, ?1, ?2 FROM treadle_job
WHERE seq IN (SELECT value FROM json_each(?3)) AND NOT flags & 64
ON CONFLICT (id) DO NOTHING;

-- name: with_facts
SELECT seq FROM treadle_job WHERE seq IN (SELECT value FROM json_each(?)) AND flags & 64;

-- name: delete_jobs
DELETE FROM treadle_job WHERE seq IN (SELECT value FROM json_each(?));

-- name: delete_bodies
DELETE FROM treadle_body WHERE seq IN (SELECT value FROM json_each(?));

-- name: delete_results
DELETE FROM treadle_result WHERE seq IN (SELECT value FROM json_each(?));

-- name: sweep_gone
DELETE FROM treadle_gone
WHERE id IN (SELECT id FROM treadle_gone WHERE until <= ? ORDER BY until LIMIT ?);

-- name: sweep_sessions
DELETE FROM treadle_session WHERE until <= ? - 86400.0;

-- name: sweep_unique
DELETE FROM treadle_unique
WHERE key IN (SELECT key FROM treadle_unique WHERE until IS NOT NULL AND until <= ? LIMIT ?);

-- name: sweep_rates
DELETE FROM treadle_rate WHERE key IN (SELECT key FROM treadle_rate WHERE fades <= ? LIMIT ?);

-- name: sweep_cells
DELETE FROM treadle_cell
WHERE key IN (SELECT key FROM treadle_cell WHERE until IS NOT NULL AND until <= ? LIMIT ?)
RETURNING key;
