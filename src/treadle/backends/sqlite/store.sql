-- Statements that every step uses.

-- name: row_by_id
SELECT seq, id, state, queue, rank, flags, fence, nonce, tries, crashes, version, created, due,
  expires, started, finished, until, keep_until, keep, ended_fence, ended_nonce, holder, line,
  line_rank, line_units, key, flow, failed_task
FROM treadle_job WHERE id = ?;

-- name: row_by_seq
SELECT seq, id, state, queue, rank, flags, fence, nonce, tries, crashes, version, created, due,
  expires, started, finished, until, keep_until, keep, ended_fence, ended_nonce, holder, line,
  line_rank, line_units, key, flow, failed_task
FROM treadle_job WHERE seq = ?;

-- name: save
UPDATE treadle_job SET state = ?, rank = ?, flags = ?, fence = ?, nonce = ?, tries = ?,
  crashes = ?, version = ?, due = ?, expires = ?, started = ?, finished = ?, until = ?,
  keep_until = ?, ended_fence = ?, ended_nonce = ?, holder = ?, line = ?, line_rank = ?,
  line_units = ?, key = ?,
  blocks = ?, failed_task = ?
WHERE seq = ?;

-- name: body
SELECT spec FROM treadle_body WHERE seq = ?;

-- name: facts
SELECT data FROM treadle_facts WHERE seq = ?;

-- name: save_facts
INSERT INTO treadle_facts (seq, data) VALUES (?, ?)
ON CONFLICT (seq) DO UPDATE SET data = excluded.data;

-- name: drop_facts
DELETE FROM treadle_facts WHERE seq = ?;

-- name: count
INSERT INTO treadle_count (state, queue, n) VALUES /*rows*/ (?, ?, ?)
ON CONFLICT DO UPDATE SET n = n + excluded.n
RETURNING state, queue, n;

-- name: uncount
DELETE FROM treadle_count WHERE state = ? AND queue = ? AND n = 0;

-- name: count_failures
INSERT INTO treadle_failure (task, n) VALUES (?, ?)
ON CONFLICT (task) DO UPDATE SET n = n + excluded.n;

-- name: uncount_failures
DELETE FROM treadle_failure WHERE task = ? AND n = 0;

-- name: sequence
SELECT value FROM treadle_meta WHERE key = 'sequence';

-- name: save_sequence
UPDATE treadle_meta SET value = ? WHERE key = 'sequence';

-- name: rules
SELECT key, value, until FROM treadle_cell WHERE key >= 'queue:' AND key < 'queue;';

-- name: gone
SELECT pushed, of, state, fence, nonce, at FROM treadle_gone WHERE id = ? AND until > ?;

-- name: bury
INSERT INTO treadle_gone (id, pushed, of, state, fence, nonce, at, until)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET pushed = excluded.pushed, of = excluded.of,
  state = excluded.state, fence = excluded.fence, nonce = excluded.nonce, at = excluded.at,
  until = excluded.until;

-- name: delete_job
DELETE FROM treadle_job WHERE seq = ?;

-- name: delete_body
DELETE FROM treadle_body WHERE seq = ?;

-- name: delete_result
DELETE FROM treadle_result WHERE seq = ?;

-- name: delete_after
DELETE FROM treadle_after WHERE seq = ?;

-- name: schema_version
SELECT value FROM treadle_meta WHERE key = 'version';

-- name: all_jobs
SELECT coalesce(sum(n), 0) FROM treadle_count WHERE queue > '';
