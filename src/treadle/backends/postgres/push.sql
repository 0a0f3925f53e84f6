-- Statements of a push.

-- First of all, and sorted: who pushes the same ids at the same time waits here for the other. An
-- id whose tombstone is past its time is free again.
-- name: take_ids
INSERT INTO treadle_id AS i (id, seq, spec)
SELECT id, seq, spec FROM unnest($1::text[], $2::bigint[], $3::bytea[]) AS u (id, seq, spec)
ORDER BY id
ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, spec = excluded.spec, pushed = NULL, of = NULL,
  state = NULL, fence = NULL, nonce = NULL, at = NULL, until = NULL
  WHERE i.seq IS NULL AND i.until <= $4
RETURNING id;

-- name: retake_id
UPDATE treadle_id SET seq = $2, spec = $3 WHERE id = $1;

-- name: give_back_ids
DELETE FROM treadle_id WHERE id = ANY($1::text[]);

-- name: uniques
SELECT key, job, until FROM treadle_unique WHERE key = ANY($1::text[]);

-- name: hold_uniques
INSERT INTO treadle_unique (key, job, until)
SELECT * FROM unnest($1::text[], $2::text[], $3::float8[])
ON CONFLICT (key) DO UPDATE SET job = excluded.job, until = excluded.until;

-- name: free_uniques
DELETE FROM treadle_unique t USING unnest($1::text[], $2::text[]) AS u (key, job)
WHERE t.key = ANY($1::text[]) AND t.key = u.key AND t.job = u.job AND t.until IS NULL;

-- name: drop_uniques
DELETE FROM treadle_unique WHERE key = ANY($1::text[]);

-- name: insert_after
INSERT INTO treadle_after (seq, job) SELECT * FROM unnest($1::bigint[], $2::text[])
ON CONFLICT DO NOTHING;
