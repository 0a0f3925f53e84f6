-- Statements that look at jobs. One statement sees one moment, so a job that is just moved from
-- one table to the other is found exactly once.
-- An ended job whose time to be kept is over is not seen, though it may take a while until it is removed.

-- name: records
SELECT /*job_columns*/, NULL::bytea AS result,
  (SELECT i.spec FROM treadle_id i WHERE i.id = j.id) AS spec,
  (SELECT array_agg(a.job) FROM treadle_after a WHERE j.state = 0 AND a.seq = j.seq) AS waits
FROM treadle_job j WHERE j.seq = ANY($1::bigint[])
UNION ALL
SELECT /*done_columns*/, d.result, (SELECT i.spec FROM treadle_id i WHERE i.id = d.id), NULL
FROM treadle_done d WHERE d.seq = ANY($1::bigint[]);

-- name: seqs_of_ids
SELECT seq FROM treadle_id WHERE id = ANY($1::text[]) AND seq IS NOT NULL;

-- name: seqs_of_unique
SELECT seq FROM treadle_id WHERE seq IS NOT NULL AND id = (
  SELECT job FROM treadle_unique WHERE key = $1 AND (until IS NULL OR until > $2));

-- name: seqs_up
(SELECT seq FROM treadle_job WHERE seq > $1 ORDER BY seq LIMIT $2)
UNION ALL (SELECT seq FROM treadle_done WHERE seq > $1
    AND (keep_until IS NULL OR keep_until > $3) ORDER BY seq LIMIT $2)
ORDER BY seq LIMIT $2;
-- name: seqs_down
(SELECT seq FROM treadle_job WHERE seq < $1 ORDER BY seq DESC LIMIT $2)
UNION ALL (SELECT seq FROM treadle_done WHERE seq < $1
    AND (keep_until IS NULL OR keep_until > $3) ORDER BY seq DESC LIMIT $2)
ORDER BY seq DESC LIMIT $2;

-- name: flow_up
(SELECT seq FROM treadle_job WHERE flow = $4 AND seq > $1 ORDER BY seq LIMIT $2)
UNION ALL (SELECT seq FROM treadle_done WHERE flow = $4 AND seq > $1
    AND (keep_until IS NULL OR keep_until > $3) ORDER BY seq LIMIT $2)
ORDER BY seq LIMIT $2;
-- name: flow_down
(SELECT seq FROM treadle_job WHERE flow = $4 AND seq < $1 ORDER BY seq DESC LIMIT $2)
UNION ALL (SELECT seq FROM treadle_done WHERE flow = $4 AND seq < $1
    AND (keep_until IS NULL OR keep_until > $3) ORDER BY seq DESC LIMIT $2)
ORDER BY seq DESC LIMIT $2;

-- name: failed_up
SELECT seq FROM treadle_done WHERE failed_task = $4 AND seq > $1
  AND (keep_until IS NULL OR keep_until > $3) ORDER BY seq LIMIT $2;
-- name: failed_down
SELECT seq FROM treadle_done WHERE failed_task = $4 AND seq < $1
  AND (keep_until IS NULL OR keep_until > $3) ORDER BY seq DESC LIMIT $2;

-- Ranges of the indexes by place: of live jobs by state, queue and rank, of ended ones by state and
-- queue. Each gives its first few, which are merged.
-- name: places_up
WITH running AS MATERIALIZED (SELECT seq, queue FROM treadle_job WHERE state = 3)
(SELECT f.seq FROM unnest($4::smallint[], $5::text[], $6::smallint[]) AS u (state, queue, rank),
  LATERAL (SELECT seq FROM treadle_job j WHERE j.state <> 3 AND j.state = u.state
    AND j.queue = u.queue AND j.rank = u.rank AND j.seq > $1 ORDER BY j.seq LIMIT $2) AS f)
UNION ALL
(SELECT f.seq FROM unnest($7::smallint[], $8::text[]) AS u (state, queue),
  LATERAL (SELECT seq FROM treadle_done d WHERE d.state = u.state AND d.queue = u.queue
    AND d.seq > $1 AND (d.keep_until IS NULL OR d.keep_until > $3)
    ORDER BY d.seq LIMIT $2) AS f)
UNION ALL
(SELECT seq FROM running WHERE $9 AND seq > $1 AND queue >= $10 AND queue < $11
  ORDER BY seq LIMIT $2)
ORDER BY seq LIMIT $2;
-- name: places_down
WITH running AS MATERIALIZED (SELECT seq, queue FROM treadle_job WHERE state = 3)
(SELECT f.seq FROM unnest($4::smallint[], $5::text[], $6::smallint[]) AS u (state, queue, rank),
  LATERAL (SELECT seq FROM treadle_job j WHERE j.state <> 3 AND j.state = u.state
    AND j.queue = u.queue AND j.rank = u.rank AND j.seq < $1 ORDER BY j.seq DESC LIMIT $2) AS f)
UNION ALL
(SELECT f.seq FROM unnest($7::smallint[], $8::text[]) AS u (state, queue),
  LATERAL (SELECT seq FROM treadle_done d WHERE d.state = u.state AND d.queue = u.queue
    AND d.seq < $1 AND (d.keep_until IS NULL OR d.keep_until > $3)
    ORDER BY d.seq DESC LIMIT $2) AS f)
UNION ALL
(SELECT seq FROM running WHERE $9 AND seq < $1 AND queue >= $10 AND queue < $11
  ORDER BY seq DESC LIMIT $2)
ORDER BY seq DESC LIMIT $2;

-- The ranges that there are, found by leaps. ``$1`` are the states of live jobs, ``$2`` of ended ones.
-- name: ranges
WITH RECURSIVE live AS (
  (SELECT s.state, f.queue, f.rank FROM unnest($1::smallint[]) AS s (state), LATERAL (
    SELECT queue, rank FROM treadle_job j WHERE j.state = s.state AND j.state <> 3
      AND j.queue >= $3 AND j.queue < $4 ORDER BY queue, rank LIMIT 1) AS f)
  UNION ALL
  SELECT l.state, f.queue, f.rank FROM live l, LATERAL (
    SELECT queue, rank FROM treadle_job j WHERE j.state = l.state AND j.state <> 3
      AND (j.queue, j.rank) > (l.queue, l.rank) AND j.queue < $4
    ORDER BY queue, rank LIMIT 1) AS f
), over AS (
  (SELECT s.state, f.queue FROM unnest($2::smallint[]) AS s (state), LATERAL (
    SELECT queue FROM treadle_done d WHERE d.state = s.state AND d.queue >= $3 AND d.queue < $4
    ORDER BY queue LIMIT 1) AS f)
  UNION ALL
  SELECT o.state, f.queue FROM over o, LATERAL (
    SELECT queue FROM treadle_done d WHERE d.state = o.state AND d.queue > o.queue AND d.queue < $4
    ORDER BY queue LIMIT 1) AS f
)
(SELECT state, queue, rank FROM live LIMIT $5)
UNION ALL (SELECT state, queue, NULL FROM over LIMIT $5);

-- name: graves
SELECT i.id, i.seq, i.pushed, i.of, i.state, i.fence, i.nonce, i.at, i.until, d.state AS ended,
  d.ended_fence, d.ended_nonce, d.keep_until, d.facts
FROM treadle_id i
  LEFT JOIN LATERAL (SELECT * FROM treadle_done WHERE seq = i.seq OFFSET 0) AS d ON true
WHERE i.id = ANY($1::text[]);

-- name: counts
SELECT state, queue, sum(n)::bigint AS n FROM (
  SELECT state, queue, n FROM treadle_count WHERE queue > ''
  UNION ALL SELECT state, queue COLLATE "C", -n FROM treadle_outlived($1)) AS kept
GROUP BY state, queue HAVING sum(n) <> 0;

-- name: failures
SELECT task, sum(n)::bigint AS n FROM (
  SELECT task, n FROM treadle_failure
  UNION ALL SELECT task COLLATE "C", -n FROM treadle_outlived($1) WHERE task IS NOT NULL) AS kept
GROUP BY task HAVING sum(n) <> 0;

-- What those see who wait for one job: enough to tell whether to look at it.
-- name: watched
SELECT i.seq, coalesce(j.state, d.state) AS state, coalesce(j.version, d.version) AS version
FROM treadle_id i
  LEFT JOIN LATERAL (SELECT state, version FROM treadle_job WHERE seq = i.seq OFFSET 0) AS j ON true
  LEFT JOIN LATERAL (SELECT state, version FROM treadle_done WHERE seq = i.seq
    AND (keep_until IS NULL OR keep_until > $2) OFFSET 0) AS d ON true
WHERE i.id = $1;
