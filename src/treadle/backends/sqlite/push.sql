-- Statements of a push.

-- name: known_ids
SELECT id FROM treadle_job WHERE id IN (SELECT value FROM json_each(?1))
UNION ALL
SELECT id FROM treadle_gone WHERE id IN (SELECT value FROM json_each(?1)) AND until > ?2;

-- name: any_gone
SELECT 1 FROM treadle_gone LIMIT 1;

-- name: insert_plain
INSERT INTO treadle_job (seq, id, state, queue, rank, flags, created, keep, flow,
  fence, tries, crashes, version)
VALUES /*rows*/ (?, ?, 2, ?, ?, ?, ?, ?, ?, 0, 0, 0, 0)
ON CONFLICT DO NOTHING;

-- name: insert
INSERT INTO treadle_job (seq, id, state, queue, rank, flags, created, due, expires, keep, line,
  line_rank, line_units, key, blocks, flow, fence, tries, crashes, version)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, 0, 0)
ON CONFLICT DO NOTHING;

-- name: insert_body
INSERT INTO treadle_body (seq, spec) VALUES /*rows*/ (?, ?);

-- name: unique_holder
SELECT job, until FROM treadle_unique WHERE key = ?;

-- name: hold_unique
INSERT INTO treadle_unique (key, job, until) VALUES (?, ?, ?)
ON CONFLICT (key) DO UPDATE SET job = excluded.job, until = excluded.until;

-- name: free_unique
DELETE FROM treadle_unique WHERE key = ? AND job = ? AND until IS NULL;

-- name: state_of
SELECT state FROM treadle_job WHERE id = ?;

-- name: await
UPDATE treadle_job SET flags = flags | 4096 WHERE id = ?;

-- name: insert_after
INSERT OR IGNORE INTO treadle_after (seq, job) VALUES (?, ?);

-- name: total
SELECT coalesce((SELECT n FROM treadle_count WHERE state = ?1 AND queue = ?2), 0)
  + coalesce((SELECT sum(n) FROM treadle_count WHERE state = ?1 AND queue > ?3 AND queue < ?4), 0);

-- name: total_of_all
SELECT coalesce(sum(n), 0) FROM treadle_count WHERE state = ? AND queue > '';
