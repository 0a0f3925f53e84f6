-- Statements that end attempts and jobs.

-- The plus keeps the planner from looking through all running jobs.
-- name: succeed
UPDATE treadle_job SET state = 4, finished = ?1, until = NULL, expires = NULL,
  keep_until = ?1 + keep, version = version + 1, flags = flags & ?2, ended_fence = fence,
  ended_nonce = nonce
WHERE seq IN (SELECT value FROM json_each(?3)) AND +state = 3 AND nonce = ?4 AND NOT flags & ?5;

-- name: save_results
INSERT INTO treadle_result (seq, data) VALUES /*rows*/ (?, ?);

-- name: ended
INSERT INTO treadle_ended (job, succeeded) VALUES (?, ?)
ON CONFLICT (job) DO UPDATE SET succeeded = excluded.succeeded;

-- name: next_ended
SELECT job, succeeded FROM treadle_ended LIMIT 1;

-- name: told
DELETE FROM treadle_ended WHERE job = ?;

-- name: waiters
SELECT seq FROM treadle_after WHERE job = ? ORDER BY seq LIMIT ?;

-- name: drop_after
DELETE FROM treadle_after WHERE seq = ? AND job = ?;

-- name: still_waits
SELECT 1 FROM treadle_after WHERE seq = ? LIMIT 1;

-- name: failed_total
SELECT n FROM treadle_count WHERE state = 5 AND queue = '';

-- name: oldest_failed
SELECT seq FROM treadle_job WHERE failed_task IS NOT NULL ORDER BY finished, seq LIMIT ?;

-- name: renumber_job
UPDATE treadle_job SET seq = ?1 WHERE seq = ?2;

-- name: renumber_body
UPDATE treadle_body SET seq = ?1 WHERE seq = ?2;

-- name: renumber_facts
UPDATE treadle_facts SET seq = ?1 WHERE seq = ?2;

-- name: running_of
SELECT seq FROM treadle_job WHERE state = 3 AND nonce = ?;

-- name: extending
SELECT id, seq, state, flags, fence, nonce FROM treadle_job
WHERE id IN (SELECT value FROM json_each(?));

-- name: extend
UPDATE treadle_job SET until = ? WHERE seq IN (SELECT value FROM json_each(?));

-- name: start
UPDATE treadle_job SET flags = flags | 256, expires = NULL, version = version + 1
WHERE seq IN (SELECT value FROM json_each(?));
