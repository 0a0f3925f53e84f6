-- Keys, slots and rates. A limit is named key:… or limit:…

-- name: limit
SELECT slots, held FROM treadle_limit WHERE name = ?;

-- name: set_slots
INSERT INTO treadle_limit (name, slots, held) VALUES (?, ?, 0)
ON CONFLICT (name) DO UPDATE SET slots = excluded.slots;

-- name: take_units
UPDATE treadle_limit SET held = held + ? WHERE name = ?;

-- name: hold
INSERT INTO treadle_hold (owner, name, units) VALUES (?, ?, ?)
ON CONFLICT DO UPDATE SET units = units + excluded.units;

-- name: holds
SELECT name, units FROM treadle_hold WHERE owner = ?;

-- name: drop_holds
DELETE FROM treadle_hold WHERE owner = ?;

-- name: drop_limit
DELETE FROM treadle_limit WHERE name = ? AND held = 0;

-- name: line
SELECT seq, id, state, queue, rank, flags, fence, nonce, tries, crashes, version, created, due,
  expires, started, finished, until, keep_until, keep, ended_fence, ended_nonce, holder, line,
  line_rank, line_units, key, flow, failed_task
FROM treadle_job WHERE line = ? ORDER BY line_rank, seq LIMIT 1;

-- name: next_line
SELECT min(line) FROM treadle_job INDEXED BY treadle_job_line WHERE line > ?;

-- name: line_busy
SELECT 1 FROM treadle_job WHERE line = ? LIMIT 1;

-- name: key_used
SELECT 1 FROM treadle_job WHERE key = ? LIMIT 1;

-- name: key_first
SELECT min(seq) FROM treadle_job WHERE key = ? AND blocks = 1;

-- name: rate
SELECT state FROM treadle_rate WHERE key = ?;

-- name: save_rate
INSERT INTO treadle_rate (key, state, fades) VALUES (?, ?, ?)
ON CONFLICT (key) DO UPDATE SET state = excluded.state, fades = excluded.fades;
