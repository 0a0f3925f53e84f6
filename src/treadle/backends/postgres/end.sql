-- Statements that end jobs, and tell those who wait for them.

-- name: ended
INSERT INTO treadle_ended (job, succeeded) SELECT * FROM unnest($1::text[], $2::boolean[])
ON CONFLICT (job) DO UPDATE SET succeeded = excluded.succeeded;

-- name: next_ended
SELECT job, succeeded FROM treadle_ended LIMIT 1;

-- name: told
DELETE FROM treadle_ended WHERE job = $1;

-- name: waiters
SELECT seq FROM treadle_after WHERE job = $1 ORDER BY seq LIMIT $2;

-- name: drop_after
DELETE FROM treadle_after WHERE seq = $1 AND job = $2;

-- name: delete_after
DELETE FROM treadle_after WHERE seq = ANY($1::bigint[]);

-- name: still_waits
SELECT 1 FROM treadle_after WHERE seq = $1 LIMIT 1;

-- name: oldest_failed
SELECT seq FROM treadle_done WHERE failed_task IS NOT NULL ORDER BY finished, seq LIMIT $1;
