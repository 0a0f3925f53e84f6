-- Statements that look at jobs.

-- name: records
SELECT j.seq, j.id, j.state, j.queue, j.rank, j.flags, j.fence, j.nonce, j.tries, j.crashes,
  j.version, j.created, j.due, j.expires, j.started, j.finished, j.until, j.keep_until, j.keep,
  j.ended_fence, j.ended_nonce, j.holder, j.line, j.line_rank, j.line_units, j.key, j.flow, j.failed_task,
  b.spec, f.data, r.data
FROM treadle_job j
  LEFT JOIN treadle_body b ON b.seq = j.seq
  LEFT JOIN treadle_facts f ON f.seq = j.seq
  LEFT JOIN treadle_result r ON r.seq = j.seq
WHERE j.seq IN (SELECT value FROM json_each(?));

-- name: seqs_of_ids
SELECT seq FROM treadle_job WHERE id IN (SELECT value FROM json_each(?));

-- name: seqs_of_unique
SELECT j.seq FROM treadle_unique u JOIN treadle_job j ON j.id = u.job
WHERE u.key = ? AND (u.until IS NULL OR u.until > ?);

-- name: seqs_up
SELECT seq FROM treadle_job WHERE seq > ? ORDER BY seq LIMIT ?;
-- name: seqs_down
SELECT seq FROM treadle_job WHERE seq < ? ORDER BY seq DESC LIMIT ?;

-- name: flow_up
SELECT seq FROM treadle_job WHERE flow = ? AND seq > ? ORDER BY seq LIMIT ?;
-- name: flow_down
SELECT seq FROM treadle_job WHERE flow = ? AND seq < ? ORDER BY seq DESC LIMIT ?;

-- name: failed_up
SELECT seq FROM treadle_job WHERE failed_task = ? AND seq > ? ORDER BY seq LIMIT ?;
-- name: failed_down
SELECT seq FROM treadle_job WHERE failed_task = ? AND seq < ? ORDER BY seq DESC LIMIT ?;

-- name: place_up
SELECT seq FROM treadle_job WHERE state = +? AND queue = ? AND rank = ? AND seq > ?
ORDER BY seq LIMIT ?;
-- name: place_down
SELECT seq FROM treadle_job WHERE state = +? AND queue = ? AND rank = ? AND seq < ?
ORDER BY seq DESC LIMIT ?;

-- name: next_rank
SELECT min(rank) FROM treadle_job WHERE state = +? AND queue = ? AND rank > ?;

-- name: waits_for
SELECT job FROM treadle_after WHERE seq = ?;

-- name: counts
SELECT state, queue, n FROM treadle_count WHERE queue > '';

-- name: failures
SELECT task, n FROM treadle_failure;

