-- The calls of the functions for plain jobs, see ``plain.sql``.

-- name: push_plain
SELECT now, known, earliest
FROM treadle_push($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11);

-- name: claim_plain
SELECT id, fence, tries, crashes, created, started, seq, flags, queue, facts, spec
FROM treadle_claim($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14);

-- name: succeed_plain
SELECT place FROM treadle_succeed($1, $2, $3, $4, $5, $6);

-- name: extend_plain
SELECT place, asked, changed FROM treadle_extend($1, $2, $3, $4, $5, $6, $7);
