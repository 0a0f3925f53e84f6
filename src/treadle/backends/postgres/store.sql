-- Statements that every step uses.

-- Steps that are not plain take turns. The lock ends with the transaction, so it is safe behind a
-- pooler, and the time is read after it was taken.
-- name: begin
SELECT pg_advisory_xact_lock($1::bigint),
  set_config('synchronous_commit', CASE WHEN $3::boolean THEN current_setting('synchronous_commit')
    ELSE 'off' END, true),
  coalesce($2::float8, extract(epoch FROM clock_timestamp())::float8) AS now;

-- name: sync
SELECT set_config('synchronous_commit', reset_val, true) FROM pg_settings
WHERE name = 'synchronous_commit';

-- name: now
SELECT coalesce($1::float8, extract(epoch FROM clock_timestamp())::float8) AS now;

-- Sorted, because others count too.
-- name: count
SELECT treadle_add($1::smallint[], $2::text[], $3::bigint[]);

-- name: count_failures
INSERT INTO treadle_failure (task, n)
SELECT task, n FROM unnest($1::text[], $2::bigint[]) AS u (task, n) ORDER BY task
ON CONFLICT (task) DO UPDATE SET n = treadle_failure.n + excluded.n;

-- name: uncount_failures
DELETE FROM treadle_failure WHERE task = ANY($1::text[]) AND n = 0;

-- name: numbers
SELECT array_agg(nextval('treadle_seq')) FROM generate_series(1, $1::int);

-- name: rules
SELECT key, value, until FROM treadle_cell WHERE key >= 'queue:' AND key < 'queue;';

-- name: gone
SELECT id, pushed, of, state, fence, nonce FROM treadle_id
WHERE id = ANY($1::text[]) AND seq IS NULL AND until > $2;

-- name: total
SELECT coalesce(sum(n), 0)::bigint FROM treadle_count
WHERE state = ANY($1::smallint[]) AND (queue = $2 OR (queue > $3 AND queue < $4));

-- name: total_of_all
SELECT coalesce(sum(n), 0)::bigint FROM treadle_count
WHERE state = ANY($1::smallint[]) AND queue > '';

-- name: all_jobs
SELECT coalesce(sum(n), 0)::bigint FROM treadle_count WHERE queue > '';

-- Also counts the notice. Alone in its transaction it need not reach the disk, and nobody who notifies
-- shall wait for the disk behind it.
-- name: notify
SELECT nextval('treadle_notice_seq') AS number, pg_notify($1, $2),
  CASE WHEN $3::boolean THEN set_config('synchronous_commit', 'off', true) END;

-- name: meta
SELECT key, value FROM treadle_meta;

-- name: server
SELECT current_setting('server_version') AS version,
  current_setting('synchronous_commit') AS synchronous_commit, current_setting('fsync') AS fsync,
  current_setting('full_page_writes') AS full_page_writes,
  current_setting('default_transaction_isolation') AS isolation,
  current_setting('autovacuum') AS autovacuum, current_setting('track_counts') AS track_counts,
  current_setting('synchronous_standby_names') AS standbys,
  (SELECT count(*) FROM pg_stat_replication) AS replicas;

-- name: sizes
SELECT pg_total_relation_size('treadle_job') + pg_total_relation_size('treadle_done')
    + pg_total_relation_size('treadle_id') AS bytes,
  (SELECT coalesce(sum(n_dead_tup), 0)::bigint FROM pg_stat_user_tables
    WHERE relid IN ('treadle_job'::regclass, 'treadle_done'::regclass, 'treadle_id'::regclass))
    AS dead_rows;

-- What keeps vacuum from removing anything that was deleted since: the snapshot that is the oldest.
-- name: oldest_snapshot
SELECT pid, age(backend_xmin) AS age,
  extract(epoch FROM clock_timestamp() - xact_start)::float8 AS seconds
FROM pg_stat_activity
WHERE backend_xmin IS NOT NULL AND datname = current_database() AND pid <> pg_backend_pid()
  AND backend_type <> 'autovacuum worker'
ORDER BY age(backend_xmin) DESC LIMIT 1;

-- name: outlived
SELECT coalesce(sum(n), 0)::bigint FROM treadle_outlived($1);

-- Which database this is, and which tables of the namespace the search_path finds there.
-- name: place
SELECT (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint AS started,
  current_database()::text AS database, found.oid::bigint AS job,
  (SELECT relnamespace::regnamespace::text FROM pg_class WHERE pg_class.oid = found.oid) AS schema,
  host(inet_server_addr()) AS host, inet_server_port() AS port
FROM (SELECT to_regclass('treadle_job')::oid AS oid) AS found;
