-- The columns of a job, in the order of ``Row``, and how rows are locked and written.

-- name: job_columns
j.seq, j.id, j.state, j.queue, j.rank, j.flags, j.fence, j.nonce, j.tries, j.crashes, j.version,
  j.created, j.due, j.expires, j.started, NULL::float8 AS finished, j.until,
  NULL::float8 AS keep_until, j.keep, j.ended_fence, j.ended_nonce, j.holder, j.line,
  j.line_rank, j.line_units, j.key, j.flow, NULL::text AS failed_task, j.request, j.facts,
  1 AS home, j.seq AS was_seq

-- name: done_columns
d.seq, d.id, d.state, d.queue, d.rank, d.flags, d.fence, d.nonce, d.tries, d.crashes, d.version,
  d.created, d.due, NULL::float8 AS expires, d.started, d.finished, NULL::float8 AS until,
  d.keep_until, d.keep, d.ended_fence, d.ended_nonce, d.holder,
  NULL::text AS line, NULL::int AS line_rank, NULL::int AS line_units, NULL::text AS key, d.flow,
  d.failed_task, NULL::bigint AS request, d.facts, 2 AS home, d.seq AS was_seq

-- A step locks what it reads. What a plain claim or settle has locked is soon free: they wait for
-- nobody.
-- name: jobs_by_id
SELECT /*job_columns*/, i.spec
FROM treadle_id i, LATERAL (SELECT * FROM treadle_job WHERE seq = i.seq FOR UPDATE) AS j
WHERE i.id = ANY($1::text[]);

-- name: done_by_id
SELECT /*done_columns*/, i.spec
FROM treadle_id i, LATERAL (SELECT * FROM treadle_done WHERE seq = i.seq FOR UPDATE) AS d
WHERE i.id = ANY($1::text[]);

-- name: jobs_by_seq
SELECT /*job_columns*/, (SELECT i.spec FROM treadle_id i WHERE i.id = j.id)
FROM treadle_job j WHERE j.seq = ANY($1::bigint[]) ORDER BY j.seq FOR UPDATE OF j;

-- name: done_by_seq
SELECT /*done_columns*/, (SELECT i.spec FROM treadle_id i WHERE i.id = d.id)
FROM treadle_done d WHERE d.seq = ANY($1::bigint[]) ORDER BY d.seq FOR UPDATE OF d;

-- name: insert_jobs
INSERT INTO treadle_job (seq, id, state, queue, rank, flags, fence, nonce, tries, crashes, version,
  created, due, expires, started, until, keep, ended_fence, ended_nonce, request, holder, line,
  line_rank, line_units, key, flow, facts, blocks)
SELECT * FROM unnest($1::bigint[], $2::text[], $3::smallint[], $4::text[], $5::smallint[],
  $6::int[], $7::bigint[], $8::bigint[], $9::int[], $10::int[], $11::int[], $12::float8[],
  $13::float8[], $14::float8[], $15::float8[], $16::float8[], $17::float8[], $18::bigint[],
  $19::bigint[], $20::bigint[], $21::text[], $22::text[], $23::int[], $24::int[], $25::text[],
  $26::text[], $27::bytea[], $28::boolean[]);

-- name: update_jobs
UPDATE treadle_job j SET state = u.state, rank = u.rank, flags = u.flags, fence = u.fence,
  nonce = u.nonce, tries = u.tries, crashes = u.crashes, version = u.version, due = u.due,
  expires = u.expires, started = u.started, until = u.until, ended_fence = u.ended_fence,
  ended_nonce = u.ended_nonce, request = u.request, holder = u.holder, line = u.line,
  line_rank = u.line_rank, line_units = u.line_units, key = u.key, facts = u.facts,
  blocks = u.blocks
FROM unnest($1::bigint[], $2::smallint[], $3::smallint[], $4::int[], $5::bigint[], $6::bigint[],
  $7::int[], $8::int[], $9::int[], $10::float8[], $11::float8[], $12::float8[], $13::float8[],
  $14::bigint[], $15::bigint[], $16::bigint[], $17::text[], $18::text[], $19::int[], $20::int[],
  $21::text[], $22::bytea[], $23::boolean[])
  AS u (seq, state, rank, flags, fence, nonce, tries, crashes, version, due, expires, started,
    until, ended_fence, ended_nonce, request, holder, line, line_rank, line_units, key, facts,
    blocks)
WHERE j.seq = ANY($1::bigint[]) AND j.seq = u.seq;

-- name: insert_done
INSERT INTO treadle_done (seq, id, state, queue, rank, flags, fence, nonce, tries, crashes, version,
  created, due, started, finished, keep_until, keep, ended_fence, ended_nonce, holder, flow,
  failed_task, facts, result)
SELECT * FROM unnest($1::bigint[], $2::text[], $3::smallint[], $4::text[], $5::smallint[],
  $6::int[], $7::bigint[], $8::bigint[], $9::int[], $10::int[], $11::int[], $12::float8[],
  $13::float8[], $14::float8[], $15::float8[], $16::float8[], $17::float8[], $18::bigint[],
  $19::bigint[], $20::text[], $21::text[], $22::text[], $23::bytea[], $24::bytea[]);

-- name: delete_jobs
DELETE FROM treadle_job WHERE seq = ANY($1::bigint[]);

-- name: delete_done
DELETE FROM treadle_done WHERE seq = ANY($1::bigint[]);

-- name: renumber
UPDATE treadle_id i SET seq = u.seq FROM unnest($1::text[], $2::bigint[]) AS u (id, seq)
WHERE i.id = ANY($1::text[]) AND i.id = u.id;

-- name: bury
UPDATE treadle_id i SET seq = NULL, spec = NULL, pushed = u.pushed, of = u.of, state = u.state,
  fence = u.fence, nonce = u.nonce, at = $7, until = $8
FROM unnest($1::text[], $2::text[], $3::text[], $4::smallint[], $5::bigint[], $6::bigint[])
  AS u (id, pushed, of, state, fence, nonce)
WHERE i.id = ANY($1::text[]) AND i.id = u.id;
