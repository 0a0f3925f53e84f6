-- The calls of the functions for plain jobs, see ``plain.sql``.

-- name: push_plain
SELECT now, known, earliest
FROM treadle_push($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11);

-- name: claim_plain
SELECT id, fence, tries, crashes, created, started, seq, flags, queue, facts, spec,
  kept, gone
FROM treadle_claim($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16);

-- name: succeed_plain
SELECT place FROM treadle_succeed($1, $2, $3, $4, $5, $6);

-- name: extend_plain
SELECT place, asked, changed FROM treadle_extend($1, $2, $3, $4, $5, $6, $7);

-- It need not reach the disk at once.
-- name: sweep_plain
SELECT kept, gone, kept < t.now OR gone < t.now AS more,
  set_config('synchronous_commit', 'off', true)
FROM (SELECT coalesce($1::float8, extract(epoch FROM clock_timestamp())::float8) AS now
    OFFSET 0) AS t,
  LATERAL treadle_sweep(t.now, $2, $3, $4, $5);
