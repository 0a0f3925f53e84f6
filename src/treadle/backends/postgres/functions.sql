-- What several functions use. In plpgsql where they are called for each batch: a connection plans their
-- statements once, and those of a function in SQL for each call, which takes longer than to carry them out.

-- Adds to the numbers of jobs, in a slot of this connection. Deltas that come to zero are left out.
--
-- A row that is written again and again leaves a version of itself each time, and beside an old snapshot
-- all of them stay. To look for it by its key is to step over them, the oldest first; so it is looked for
-- backwards, by a range, as the order of equal keys would be left out of the plan.
CREATE OR REPLACE FUNCTION treadle_add(states smallint[], queues text[], ns bigint[])
RETURNS void LANGUAGE plpgsql
  SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
  mine int := pg_backend_pid();
  -- In a caller's serializable transaction what is looked for is in conflict with what others insert.
  lone boolean := current_setting('transaction_isolation') = 'read committed';
  one record;
BEGIN
  FOR one IN SELECT state, queue, sum(n) AS n FROM unnest(states, queues, ns) AS u (state, queue, n)
    GROUP BY state, queue HAVING sum(n) <> 0 ORDER BY state, queue
  LOOP
    IF lone THEN
      UPDATE treadle_count c SET n = c.n + one.n WHERE c.ctid = (
        SELECT x.ctid FROM treadle_count x
        WHERE (x.state, x.queue, x.slot) >= (one.state, one.queue, mine)
          AND (x.state, x.queue, x.slot) <= (one.state, one.queue, mine)
        ORDER BY x.state DESC, x.queue DESC, x.slot DESC LIMIT 1);
      CONTINUE WHEN FOUND;
    END IF;
    -- There is none yet, or somebody has put it to the others meanwhile.
    INSERT INTO treadle_count AS c (state, queue, slot, n)
    VALUES (one.state, one.queue, mine, one.n)
    ON CONFLICT (state, queue, slot) DO UPDATE SET n = c.n + excluded.n;
  END LOOP;
END $$;

-- Removes jobs that were kept long enough and of which nothing more is known than how they ended. Says
-- how many, and up to when none is left. ``since``: up to when none was left before. An index keeps what
-- was removed until it is vacuumed, so to begin at its head each time takes longer and longer.
CREATE OR REPLACE FUNCTION treadle_sweep_done(now float8, since float8, forget float8, most int,
  OUT swept int, OUT until float8)
LANGUAGE plpgsql
  SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
  states smallint[];
  queues text[];
  ns bigint[];
BEGIN
  WITH old AS MATERIALIZED (
    SELECT d.ctid AS tid, d.id, d.keep_until FROM treadle_done d
    WHERE d.keep_until IS NOT NULL AND d.facts IS NULL
      AND d.keep_until >= since AND d.keep_until <= now
    ORDER BY d.keep_until LIMIT most FOR UPDATE SKIP LOCKED
  ), both_locked AS MATERIALIZED (
    SELECT o.tid, i.tid AS id_tid FROM old o, LATERAL (
      SELECT i.ctid AS tid FROM treadle_id i WHERE i.id = o.id FOR UPDATE SKIP LOCKED) AS i
  ), dead AS (
    DELETE FROM treadle_done d WHERE d.ctid = ANY (ARRAY(SELECT tid FROM both_locked))
    RETURNING d.id, d.state, d.queue, d.ended_fence, d.ended_nonce
  ), buried AS (
    UPDATE treadle_id i SET seq = NULL, spec = NULL, pushed = 'created', state = dead.state,
      fence = dead.ended_fence, nonce = dead.ended_nonce, at = now,
      until = forget
    FROM dead WHERE i.ctid = ANY (ARRAY(SELECT id_tid FROM both_locked)) AND i.id = dead.id
  ), counted AS (
    SELECT state, queue, -count(*) AS n FROM dead GROUP BY state, queue
  )
  SELECT coalesce(-sum(n), 0), array_agg(state), array_agg(queue), array_agg(n),
    (SELECT CASE WHEN count(*) < most THEN now ELSE max(keep_until) END FROM old)
  INTO swept, states, queues, ns, until FROM counted;
  IF swept > 0 THEN
    PERFORM treadle_add(states, queues, ns);
  END IF;
END $$;

-- Removes tombstones that are past their time; says up to when none is left.
CREATE OR REPLACE FUNCTION treadle_sweep_gone(now float8, since float8, most int)
RETURNS float8 LANGUAGE plpgsql
  SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
  reached float8;
BEGIN
  WITH old AS MATERIALIZED (
    SELECT i.ctid AS tid, i.until FROM treadle_id i
    WHERE i.until IS NOT NULL AND i.until >= since AND i.until <= now
    ORDER BY i.until LIMIT most FOR UPDATE SKIP LOCKED
  ), dead AS (
    DELETE FROM treadle_id i WHERE i.ctid = ANY (ARRAY(SELECT tid FROM old))
  )
  SELECT CASE WHEN count(*) < most THEN now ELSE max(o.until) END INTO reached FROM old o;
  RETURN reached;
END $$;

-- How many ended jobs are still there whose time to be kept is over. Nobody sees them any more.
CREATE OR REPLACE FUNCTION treadle_outlived(now float8)
RETURNS TABLE (state smallint, queue text, task text, n bigint) LANGUAGE plpgsql STABLE
  SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY SELECT d.state, d.queue, d.failed_task, count(*) FROM (
    SELECT state, queue, failed_task FROM treadle_done
    WHERE keep_until IS NOT NULL AND facts IS NULL AND keep_until <= now
    UNION ALL SELECT state, queue, failed_task FROM treadle_done
    WHERE keep_until IS NOT NULL AND facts IS NOT NULL AND keep_until <= now) AS d
  GROUP BY d.state, d.queue, d.failed_task;
END $$;

-- Puts the slots of the numbers together, but for those that somebody is counting in.
CREATE OR REPLACE FUNCTION treadle_fold()
RETURNS void LANGUAGE sql AS $$
  WITH old AS (
    DELETE FROM treadle_count WHERE (state, queue, slot) IN (
      SELECT state, queue, slot FROM treadle_count WHERE slot <> 0
      ORDER BY state, queue, slot LIMIT 1000 FOR UPDATE SKIP LOCKED)
    RETURNING state, queue, n
  )
  INSERT INTO treadle_count AS c (state, queue, slot, n)
  SELECT state, queue, 0, sum(n) FROM old GROUP BY state, queue HAVING sum(n) <> 0
  ORDER BY state, queue
  ON CONFLICT (state, queue, slot) DO UPDATE SET n = c.n + excluded.n;
  DELETE FROM treadle_count WHERE (state, queue, slot) IN (
    SELECT state, queue, slot FROM treadle_count WHERE slot = 0 AND n = 0 FOR UPDATE SKIP LOCKED)
$$;
