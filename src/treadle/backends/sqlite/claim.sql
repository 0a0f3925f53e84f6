-- Statements of a claim and of sessions.

-- The plus before a bound state: else the statement is planned anew for each value, in case one of
-- the partial indexes serves it.
-- name: candidates
SELECT j.seq, j.id, j.rank, j.flags, j.fence, j.tries, j.crashes, j.created, b.spec
FROM treadle_job j LEFT JOIN treadle_body b ON b.seq = j.seq
WHERE j.state = +? AND j.queue = ? AND (j.rank, j.seq) > (?, ?)
ORDER BY j.rank, j.seq LIMIT ?;

-- name: named
SELECT j.queue, j.seq, j.id, j.rank, j.flags, j.fence, j.tries, j.crashes, j.created, b.spec
FROM json_each(?) JOIN treadle_job j ON j.id = json_each.value
  LEFT JOIN treadle_body b ON b.seq = j.seq
WHERE j.state = 2 ORDER BY json_each.key;

-- name: first_place
SELECT rank, seq FROM treadle_job WHERE state = +? AND queue = ? ORDER BY rank, seq LIMIT 1;

-- name: grant
UPDATE treadle_job SET state = 3, fence = fence + 1, nonce = ?, started = ?, until = ?,
  holder = ?, version = version + 1
WHERE seq IN (SELECT value FROM json_each(?));

-- name: mark
UPDATE treadle_job SET flags = ? WHERE seq = ?;

-- name: forget_count
DELETE FROM treadle_count WHERE state = ? AND queue = ?;

-- name: occupied
SELECT queue, n FROM treadle_count WHERE state = ? AND queue > ? ORDER BY queue LIMIT ?;

-- name: occupied_under
SELECT queue, n FROM treadle_count WHERE state = ? AND queue > ? AND queue < ?
ORDER BY queue LIMIT ?;

-- name: occupied_one
SELECT n FROM treadle_count WHERE state = ? AND queue = ?;

-- name: turn
SELECT last FROM treadle_turn WHERE name = ?;

-- name: save_turn
INSERT INTO treadle_turn (name, last) VALUES (?, ?)
ON CONFLICT (name) DO UPDATE SET last = excluded.last;

-- name: open_session
INSERT INTO treadle_session (nonce, info, until) VALUES (?, ?, ?);

-- name: session
SELECT until FROM treadle_session WHERE nonce = ?;

-- name: renew_session
UPDATE treadle_session SET until = max(until, ?) WHERE nonce = ?;

-- name: close_session
DELETE FROM treadle_session WHERE nonce = ?;
