-- Keys, slots and rates. A limit is named key:… or limit:…

-- name: limits
SELECT name, slots, held FROM treadle_limit WHERE name = ANY($1::text[]);

-- name: save_limits
INSERT INTO treadle_limit (name, slots, held)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[])
ON CONFLICT (name) DO UPDATE SET slots = excluded.slots, held = excluded.held;

-- name: drop_limits
DELETE FROM treadle_limit WHERE name = ANY($1::text[]);

-- name: save_holds
INSERT INTO treadle_hold (owner, name, units)
SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[]);

-- name: holds
SELECT owner, name, units FROM treadle_hold WHERE owner = ANY($1::text[]);

-- name: drop_holds
DELETE FROM treadle_hold WHERE owner = ANY($1::text[]);

-- name: line
SELECT seq FROM treadle_job WHERE line = $1 ORDER BY line_rank, seq LIMIT 1;

-- name: next_line
SELECT min(line) FROM treadle_job WHERE line > $1;

-- name: lines_busy
SELECT name FROM unnest($1::text[]) AS u (name)
WHERE (SELECT seq FROM treadle_job WHERE line = u.name LIMIT 1) IS NOT NULL;

-- name: keys_used
SELECT key FROM unnest($1::text[]) AS u (key)
WHERE (SELECT seq FROM treadle_job j WHERE j.key = u.key LIMIT 1) IS NOT NULL;

-- name: key_first
SELECT min(seq) FROM treadle_job WHERE key = $1 AND blocks;

-- name: rate
SELECT state FROM treadle_rate WHERE key = $1;

-- name: save_rate
INSERT INTO treadle_rate (key, state, fades) VALUES ($1, $2, $3)
ON CONFLICT (key) DO UPDATE SET state = excluded.state, fades = excluded.fades;
