-- Statements that move time forward.

-- The earliest instant of everything that has a time, in the order of ``Horizon``.
-- name: horizon
SELECT
  (SELECT min(due) FROM treadle_job WHERE state = 1) AS due,
  coalesce(
    (SELECT until FROM treadle_job WHERE state = 3 AND until > $2::float8 AND until <= t.now
      ORDER BY until LIMIT 1),
    treadle_next_lapse(t.now, $2::float8)) AS lapse,
  (SELECT min(expires) FROM treadle_job WHERE expires IS NOT NULL AND state <> 3) AS expires,
  (SELECT min(keep_until) FROM treadle_done
    WHERE keep_until IS NOT NULL AND facts IS NULL AND keep_until >= $3::float8) AS keep,
  (SELECT min(until) FROM treadle_id WHERE until IS NOT NULL AND until >= $4::float8) AS gone,
  (SELECT min(until) FROM treadle_session) AS session,
  (SELECT min(until) FROM treadle_unique WHERE until IS NOT NULL) AS uniq,
  (SELECT min(fades) FROM treadle_rate) AS rate,
  (SELECT min(until) FROM treadle_permit) AS permit,
  (SELECT min(until) FROM treadle_ticket) AS ticket,
  (SELECT min(until) FROM treadle_cell WHERE until IS NOT NULL) AS cell,
  (SELECT 1 FROM treadle_ended LIMIT 1) AS ended,
  (SELECT min(keep_until) FROM treadle_done WHERE keep_until IS NOT NULL AND facts IS NOT NULL)
    AS outdated,
  t.now
FROM (SELECT coalesce($1::float8, extract(epoch FROM clock_timestamp())::float8) AS now) AS t;

-- name: spare
SELECT treadle_spare(NULL);

-- A plain claim or settle may be at some of them: they are not waited for.
-- name: due
SELECT seq FROM treadle_job WHERE state = 1 AND due <= $1 ORDER BY due, seq LIMIT $2
FOR UPDATE SKIP LOCKED;

-- name: lapsed
SELECT seq FROM treadle_job WHERE state = 3 AND until <= $1 AND until > $3
ORDER BY until, seq LIMIT $2
FOR UPDATE SKIP LOCKED;

-- name: expired
SELECT seq FROM treadle_job WHERE expires IS NOT NULL AND state <> 3 AND expires <= $1
ORDER BY expires, seq LIMIT $2 FOR UPDATE SKIP LOCKED;

-- Jobs that were kept long enough leave a tombstone. What stands in the facts of a few is the
-- answer to their push, so they are removed one by one.
-- name: outdated
SELECT seq FROM treadle_done WHERE keep_until IS NOT NULL AND keep_until <= $1 AND facts IS NOT NULL
ORDER BY keep_until LIMIT $2;

-- name: sweep_done
SELECT swept, until FROM treadle_sweep_done($1, $2, $3, $4);

-- name: sweep_gone
SELECT treadle_sweep_gone($1, $2, $3);

-- name: sweep_sessions
DELETE FROM treadle_session WHERE until <= $1::float8 - 86400.0;

-- name: sweep_unique
DELETE FROM treadle_unique
WHERE key IN (SELECT key FROM treadle_unique WHERE until IS NOT NULL AND until <= $1 LIMIT $2);

-- name: sweep_rates
DELETE FROM treadle_rate WHERE key IN (SELECT key FROM treadle_rate WHERE fades <= $1 LIMIT $2);

-- name: sweep_cells
DELETE FROM treadle_cell
WHERE key IN (SELECT key FROM treadle_cell WHERE until IS NOT NULL AND until <= $1 LIMIT $2)
RETURNING key;
