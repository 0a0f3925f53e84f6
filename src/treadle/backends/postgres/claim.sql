-- Statements of a claim and of sessions.

-- name: candidates
WITH found AS MATERIALIZED (
  SELECT * FROM treadle_job
  WHERE state = $1 AND state <> 3 AND queue = $2 AND (rank, seq) > ($3::smallint, $4::bigint)
  ORDER BY rank, seq LIMIT $5 FOR UPDATE SKIP LOCKED
)
SELECT /*job_columns*/, (SELECT i.spec FROM treadle_id i WHERE i.id = j.id) FROM found j
ORDER BY j.rank, j.seq;

-- name: named
WITH found AS MATERIALIZED (
  SELECT j.*, n.at AS n_at FROM unnest($1::text[]) WITH ORDINALITY n(id, at)
  JOIN treadle_id i ON i.id = n.id JOIN treadle_job j ON j.seq = i.seq
  WHERE j.state = 2 FOR UPDATE OF j SKIP LOCKED
)
SELECT /*job_columns*/, (SELECT i.spec FROM treadle_id i WHERE i.id = j.id) FROM found j
ORDER BY j.n_at;

-- name: first_place
SELECT rank, seq FROM treadle_job WHERE state = $1 AND state <> 3 AND queue = $2
ORDER BY rank, seq LIMIT 1;

-- Queues with jobs in a state, by name, found by leaps over the index.
-- name: occupied
WITH RECURSIVE found AS (
  (SELECT queue FROM treadle_job
    WHERE state = $1 AND state <> 3 AND queue > $2 AND queue < $3 ORDER BY queue LIMIT 1)
  UNION ALL
  SELECT (SELECT j.queue FROM treadle_job j
    WHERE j.state = $1 AND j.state <> 3 AND j.queue > f.queue AND j.queue < $3
    ORDER BY j.queue LIMIT 1)
  FROM found f WHERE f.queue IS NOT NULL
)
SELECT queue FROM found WHERE queue IS NOT NULL LIMIT $4;

-- name: occupied_one
SELECT 1 FROM treadle_job WHERE state = $1 AND state <> 3 AND queue = $2 LIMIT 1;

-- name: any_suspect
SELECT 1 FROM treadle_job WHERE state = 7 LIMIT 1;

-- name: turn
SELECT last FROM treadle_turn WHERE name = $1;

-- name: save_turn
INSERT INTO treadle_turn (name, last) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET last = excluded.last;

-- name: open_session
INSERT INTO treadle_session (nonce, info, until) VALUES ($1, $2, $3);

-- name: session
SELECT until, request FROM treadle_present($1);

-- name: renew_session
UPDATE treadle_session SET until = greatest(until, $2)
WHERE ctid = (SELECT tid FROM treadle_present($1));

-- name: claimed_session
UPDATE treadle_session SET until = greatest(until, $2), request = $3
WHERE ctid = (SELECT tid FROM treadle_present($1));

-- name: close_session
DELETE FROM treadle_session WHERE nonce = $1;

-- What an earlier claim granted, and is still held.
-- name: granted
SELECT /*job_columns*/, (SELECT i.spec FROM treadle_id i WHERE i.id = j.id) FROM treadle_job j
WHERE j.state = 3 AND j.nonce = $1 AND j.request = $2 ORDER BY j.rank, j.seq;

-- name: running_of
SELECT seq FROM treadle_job WHERE state = 3 AND nonce = $1 ORDER BY seq;
