-- Jobs with nothing special about them: pushed, claimed, renewed and settled with one call for many.
-- Nobody waits here for a row that another has locked, but skips it, so nobody waits in a circle.
-- What is looked up is few rows of large tables that change faster than the server's statistics of
-- them. So no plan is left a choice: tables are asked by subqueries for each row, or by ctid.
-- What is not plain is left to the steps that take turns.

-- Adds jobs. Known ids are given back; nothing is done for them.
CREATE OR REPLACE FUNCTION treadle_push(at float8, ids text[], queues text[], ranks smallint[],
  flags int[], keeps float8[], flows text[], dues float8[], expiries float8[], later boolean[],
  specs bytea[], OUT now float8, OUT known text[], OUT earliest float8)
LANGUAGE plpgsql
  SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
  seqs bigint[] := ARRAY(SELECT nextval('treadle_seq') FROM generate_series(1, cardinality(ids)));
  taken bigint[];
BEGIN
  now := coalesce(at, extract(epoch FROM clock_timestamp())::float8);
  -- Sorted: who pushes the same ids at the same time waits for the other.
  WITH fresh AS (
    INSERT INTO treadle_id (id, seq, spec)
    SELECT u.id, u.seq, u.spec FROM unnest(ids, seqs, specs) AS u (id, seq, spec) ORDER BY u.id
    ON CONFLICT DO NOTHING RETURNING seq
  )
  SELECT array_agg(seq) INTO taken FROM fresh;
  IF coalesce(cardinality(taken), 0) < cardinality(ids) THEN
    known := ARRAY(SELECT u.id FROM unnest(ids, seqs) AS u (id, seq)
      WHERE taken IS NULL OR u.seq <> ALL (taken));
  END IF;
  WITH fresh AS (
    INSERT INTO treadle_job (seq, id, state, queue, rank, flags, created, keep, flow, due, expires)
    SELECT u.seq, u.id, CASE WHEN u.due + u.base > now THEN 1 ELSE 2 END, u.queue,
      u.rank, u.flags, now, u.keep, u.flow, u.due + u.base, u.expires + u.base
    FROM (SELECT *, CASE WHEN later THEN now ELSE 0 END AS base
      FROM unnest(seqs, ids, queues, ranks, flags, keeps, flows, dues, expiries, later)
        AS u (seq, id, queue, rank, flags, keep, flow, due, expires, later)) AS u
    WHERE known IS NULL OR u.seq = ANY (taken)
    RETURNING state, queue, CASE WHEN state = 1 THEN least(due, expires) ELSE expires END AS at
  ), counted AS (
    SELECT state, queue, count(*) AS n, min(at) AS at FROM fresh GROUP BY state, queue
  ), added AS (
    SELECT treadle_add(array_agg(state), array_agg(queue), array_agg(n)) AS done, min(at) AS at
    FROM counted
  )
  SELECT added.at INTO earliest FROM added;
END $$;

-- Whose turn it is: the first of the names that serves a queue, by the longest that covers it.
CREATE OR REPLACE FUNCTION treadle_place(queue text, names text[], excluded text[])
RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
  SELECT place FROM (
    SELECT name, place FROM unnest(names) WITH ORDINALITY AS n (name, place)
    UNION ALL SELECT name, NULL FROM unnest(excluded) AS x (name)
  ) AS all_names
  WHERE name = '*' OR name = queue OR starts_with(queue, name || '.')
  ORDER BY CASE WHEN name = '*' THEN 0 ELSE length(name) END DESC, place NULLS FIRST LIMIT 1
$$;

-- Queues under a name that have jobs to claim, in the order of their turns; 1,000 at most.
CREATE OR REPLACE FUNCTION treadle_members(names text[], excluded text[], nth int, overlap boolean,
  last text)
RETURNS text[] LANGUAGE plpgsql STABLE AS $$
DECLARE
  pattern text := names[nth];
  high text := CASE WHEN pattern = '*' THEN '~' ELSE pattern || '/' END;
  cur text COLLATE "C" := CASE WHEN pattern = '*' THEN '' ELSE pattern || '.' END;
  found text[] := '{}';
BEGIN
  IF pattern <> '*' AND EXISTS (SELECT FROM treadle_job j
      WHERE j.state = 2 AND j.state <> 3 AND j.queue = pattern)
    AND (NOT overlap OR treadle_place(pattern, names, excluded) = nth) THEN
    found := ARRAY[pattern];
  END IF;
  LOOP
    SELECT j.queue INTO cur FROM treadle_job j
    WHERE j.state = 2 AND j.state <> 3 AND j.queue > cur AND j.queue < high
    ORDER BY j.queue LIMIT 1;
    EXIT WHEN cur IS NULL OR cardinality(found) > 1000;
    IF NOT overlap OR treadle_place(cur, names, excluded) = nth THEN
      found := found || cur;
    END IF;
  END LOOP;
  IF last IS NULL OR cardinality(found) < 2 THEN
    RETURN found;
  END IF;
  -- Those after the one that was served last come first.
  RETURN ARRAY(SELECT q FROM unnest(found) WITH ORDINALITY AS f (q, ord)
    ORDER BY q COLLATE "C" <= last, ord);
END $$;

-- Takes jobs of one queue, and says whether one of them is not plain, or has expired.
CREATE OR REPLACE FUNCTION treadle_take(now float8, wanted_queue text, after_rank smallint,
  after_seq bigint, wanted int, OUT seqs bigint[], OUT tids tid[], OUT last_rank smallint, OUT last_seq bigint,
  OUT special boolean, OUT once boolean)
LANGUAGE plpgsql AS $$
BEGIN
  WITH found AS MATERIALIZED (
    SELECT ctid AS tid, seq, rank, flags, expires FROM treadle_job
    WHERE state = 2 AND state <> 3 AND queue = wanted_queue
      AND (rank, seq) > (after_rank, after_seq)
    ORDER BY rank, seq LIMIT wanted FOR UPDATE SKIP LOCKED
  )
  SELECT array_agg(seq ORDER BY rank, seq), array_agg(tid), max(rank),
    bool_or(flags & 39 <> 0 OR coalesce(expires <= now, false)), bool_or(flags & 8 <> 0)
  INTO seqs, tids, last_rank, special, once FROM found;
  last_seq := seqs[cardinality(seqs)];
END $$;

-- The session of a foreman, locked. Each claim and each renewal writes it, so it is looked for backwards,
-- see ``treadle_add``.
CREATE OR REPLACE FUNCTION treadle_present(mine bigint)
RETURNS TABLE (tid tid, until float8, request bigint) LANGUAGE plpgsql
  SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY SELECT s.ctid, s.until, s.request FROM treadle_session s
    WHERE s.nonce >= mine AND s.nonce <= mine ORDER BY s.nonce DESC LIMIT 1 FOR UPDATE;
END $$;

-- What the last row of a claim says: how it went (0 well, 1 the step that takes turns has to do it, 2
-- there is no such session) in ``fence``, whether there may be more in ``tries``, when to look again in
-- ``started``, how many microseconds the look from the head took, if it did, in ``crashes``, where the next claim may go on in ``queue``, ``flags`` and ``seq``, and up to when nothing
-- is left that has run out in ``kept`` and ``gone``.
CREATE OR REPLACE FUNCTION treadle_answer(how bigint, more boolean, now float8, next_at float8,
  went text, went_rank smallint, went_seq bigint, cost int, kept float8, gone float8)
RETURNS TABLE (id text, fence bigint, tries int, crashes int, created float8, started float8,
  seq bigint, flags int, queue text, facts bytea, spec bytea, kept float8, gone float8)
LANGUAGE sql IMMUTABLE AS $$
  SELECT NULL::text, how, more::int, cost, now, next_at, went_seq, went_rank::int, went, NULL::bytea,
    NULL::bytea, kept, gone
$$;

-- Grants leases, each a row, and one more row, see above.
--
-- ``since``: what lapsed before has been seen. ``near``, ``near_rank``, ``near_seq``: the only queue that
-- had anything a moment ago, and up to where it has been served. An index keeps what was removed until it
-- is vacuumed, so to begin at its head each time takes longer and longer. ``kept_since``, ``gone_since``:
-- see ``treadle_sweep``.
CREATE OR REPLACE FUNCTION treadle_claim(at float8, since float8, mine bigint, number bigint,
  places int, names text[], excluded text[], overlap boolean, lasting float8, who text,
  forget float8, near text, near_rank smallint, near_seq bigint, kept_since float8,
  gone_since float8)
RETURNS TABLE (id text, fence bigint, tries int, crashes int, created float8, started float8,
  seq bigint, flags int, queue text, facts bytea, spec bytea, kept float8, gone float8)
LANGUAGE plpgsql
  SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
  now float8 := coalesce(at, extract(epoch FROM clock_timestamp())::float8);
  present tid;
  known bigint;
  began timestamptz;
  cost int;
  from_head boolean := true;
  members text[];
  left_over text[];
  member text;
  last text;
  served text;
  cursors jsonb := '{}';
  met int := 0;
  quota int;
  free int := places;
  one record;
  chosen bigint[] := '{}';
  chosen_tids tid[] := '{}';
  more boolean := false;
  next_at float8;
  durable text := current_setting('synchronous_commit');
BEGIN
  PERFORM set_config('synchronous_commit', 'off', true);
  SELECT s.tid, s.request INTO present, known FROM treadle_present(mine) s;
  IF known IS NULL THEN
    RETURN QUERY SELECT * FROM treadle_answer(2, false, now, NULL, NULL, NULL, NULL, 0, NULL, NULL);
    RETURN;
  END IF;
  IF number <= known OR treadle_special(now) THEN
    RETURN QUERY SELECT * FROM treadle_answer(1, false, now, NULL, NULL, NULL, NULL, 0, NULL, NULL);
    RETURN;
  END IF;

  IF near IS NOT NULL THEN
    SELECT * INTO one FROM treadle_take(now, near, near_rank, near_seq, places);
    IF cardinality(one.seqs) = places AND NOT one.special THEN
      chosen := one.seqs;
      chosen_tids := one.tids;
      IF one.once THEN
        PERFORM set_config('synchronous_commit', durable, true);
      END IF;
      free := 0;
      more := true;
      from_head := false;
    END IF;
  END IF;

  began := clock_timestamp();
  IF from_head THEN
    IF treadle_due(now, since) THEN
      RETURN QUERY SELECT * FROM treadle_answer(1, false, now, NULL, NULL, NULL, NULL, 0, NULL, NULL);
      RETURN;
    END IF;
    PERFORM treadle_promote(now);
  END IF;
  FOR nth IN 1 .. cardinality(names) LOOP
    EXIT WHEN free <= 0;
    SELECT t.last INTO last FROM treadle_turn t WHERE t.name = names[nth];
    members := treadle_members(names, excluded, nth, overlap, last);
    met := met + cardinality(members);
    served := last;
    near := NULL;
    WHILE cardinality(members) > 0 AND free > 0 LOOP
      quota := (free + cardinality(members) - 1) / cardinality(members);
      left_over := '{}';
      FOREACH member IN ARRAY members LOOP
        IF free <= 0 THEN
          more := true;
          EXIT;
        END IF;
        SELECT * INTO one FROM treadle_take(now, member,
          coalesce((cursors -> member ->> 0)::smallint, -1000::smallint),
          coalesce((cursors -> member ->> 1)::bigint, 0), least(quota, free));
        CONTINUE WHEN one.seqs IS NULL;
        IF one.special THEN
          RETURN QUERY SELECT * FROM treadle_answer(1, false, now, NULL, NULL, NULL, NULL, 0, NULL, NULL);
          RETURN;
        END IF;
        IF one.once THEN
          -- Who runs a job at most once must know of it after a crash of the server.
          PERFORM set_config('synchronous_commit', durable, true);
        END IF;
        chosen := chosen || one.seqs;
        chosen_tids := chosen_tids || one.tids;
        served := member;
        IF cardinality(one.seqs) = least(quota, free) THEN
          left_over := left_over || member;
          cursors := cursors || jsonb_build_object(member,
            jsonb_build_array(one.last_rank, one.last_seq));
          near := member;
        END IF;
        free := free - cardinality(one.seqs);
      END LOOP;
      members := left_over;
    END LOOP;
    -- A hint: who is locked out by another claim leaves it.
    IF served IS NOT NULL AND (last IS NULL OR served <> last COLLATE "C") THEN
      INSERT INTO treadle_turn AS t (name, last) SELECT names[nth], served
      WHERE NOT EXISTS (SELECT FROM treadle_turn x WHERE x.name = names[nth]) ON CONFLICT DO NOTHING;
      UPDATE treadle_turn t SET last = served WHERE t.ctid = (
        SELECT x.ctid FROM treadle_turn x WHERE x.name = names[nth] FOR UPDATE SKIP LOCKED);
    END IF;
    IF free <= 0 AND NOT more THEN
      more := EXISTS (SELECT FROM unnest(left_over) AS m (name) WHERE (
        SELECT true FROM treadle_job j WHERE j.state = 2 AND j.state <> 3 AND j.queue = m.name
          AND (j.rank, j.seq)
            > ((cursors -> m.name ->> 0)::smallint, (cursors -> m.name ->> 1)::bigint)
        ORDER BY j.rank, j.seq LIMIT 1));
      FOR later IN nth + 1 .. cardinality(names) LOOP
        EXIT WHEN more;
        more := cardinality(treadle_members(names, excluded, later, overlap, NULL)) > 0;
      END LOOP;
    END IF;
  END LOOP;
  IF from_head THEN
    SELECT min(j.due) INTO next_at FROM treadle_job j WHERE j.state = 1;
    more := more OR coalesce(next_at <= now, false);
    cost := (extract(epoch FROM clock_timestamp() - began) * 1000000)::int;
  END IF;
  IF near IS NULL OR free > 0 OR met > 1 THEN
    near := NULL;
  ELSE
    near_rank := one.last_rank;
    near_seq := one.last_seq;
  END IF;

  IF cardinality(chosen) > 0 THEN
    RETURN QUERY
    WITH granted AS (
      UPDATE treadle_job j SET state = 3, fence = j.fence + 1, nonce = mine, request = number,
        started = now, until = now + lasting, holder = who, version = j.version + 1
      WHERE j.ctid = ANY (chosen_tids)
      RETURNING j.*
    ), counted AS (
      SELECT queue, count(*) AS n FROM granted GROUP BY queue
    ), added AS (
      SELECT treadle_add(array_agg(state), array_agg(queue), array_agg(n)) FROM (
        SELECT 2::smallint AS state, queue, -n AS n FROM counted
        UNION ALL SELECT 3::smallint, queue, n FROM counted) AS changes
    )
    SELECT g.id, g.fence, g.tries, g.crashes, g.created, g.started, g.seq, g.flags, g.queue,
      g.facts, (SELECT i.spec FROM treadle_id i WHERE i.id = g.id), NULL::float8, NULL::float8
    FROM granted g JOIN unnest(chosen) WITH ORDINALITY AS c (seq, ord) ON c.seq = g.seq
    WHERE (SELECT true FROM added) IS NOT FALSE ORDER BY c.ord;
  END IF;
  UPDATE treadle_session s SET request = number, until = greatest(s.until, now + lasting)
  WHERE s.ctid = present;
  -- Twice what it grants, so that a steady stream of jobs never piles up. Who has nothing to do sweeps more.
  SELECT * INTO kept_since, gone_since
  FROM treadle_sweep(now, forget, greatest(20, 2 * cardinality(chosen)), kept_since, gone_since);
  IF number % 500 = 0 THEN
    PERFORM treadle_fold();
  END IF;

  -- Who has got all that was asked for need not know when the next lease may lapse.
  next_at := least(next_at, CASE WHEN free > 0 THEN treadle_next_lapse(now, since)
    ELSE now + lasting END);
  RETURN QUERY SELECT * FROM treadle_answer(0, more, now, next_at, near, near_rank, near_seq, cost,
    kept_since, gone_since);
END $$;

-- Whether there is something that only a step can do that takes turns: what is in tables of few rows.
CREATE OR REPLACE FUNCTION treadle_special(now float8)
RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN EXISTS (SELECT FROM treadle_job WHERE state = 7 AND state <> 3)
    OR EXISTS (SELECT FROM treadle_cell WHERE key >= 'queue:' AND key < 'queue;')
    OR EXISTS (SELECT FROM treadle_permit WHERE until <= now)
    OR EXISTS (SELECT FROM treadle_ended);
END $$;

-- The same of what a time has come for, which is looked for from the head of an index.
CREATE OR REPLACE FUNCTION treadle_due(now float8, since float8)
RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN EXISTS (SELECT FROM (SELECT until FROM treadle_job
      WHERE state = 3 AND until > since AND until <= now ORDER BY until LIMIT 1) AS lapsed)
    OR EXISTS (SELECT FROM (SELECT expires FROM treadle_job
      WHERE expires IS NOT NULL AND state <> 3 AND expires <= now ORDER BY expires LIMIT 1) AS e)
    OR EXISTS (SELECT FROM (SELECT flags FROM treadle_job WHERE state = 1 AND due <= now
      ORDER BY due, seq LIMIT 50) AS d WHERE flags & 2049 <> 0);
END $$;

-- Queues plain jobs whose time has come.
CREATE OR REPLACE FUNCTION treadle_promote(now float8)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  states smallint[];
  queues text[];
  ns bigint[];
BEGIN
  IF coalesce((SELECT min(due) FROM treadle_job WHERE state = 1) > now, true) THEN
    RETURN;
  END IF;
  WITH due AS MATERIALIZED (
    SELECT ctid AS tid FROM treadle_job WHERE state = 1 AND due <= now ORDER BY due, seq LIMIT 50
    FOR UPDATE SKIP LOCKED
  ), moved AS (
    UPDATE treadle_job j SET state = 2, version = version + 1
    WHERE j.ctid = ANY (ARRAY(SELECT tid FROM due)) AND j.flags & 2049 = 0 RETURNING j.queue
  ), counted AS (
    SELECT queue, count(*) AS n FROM moved GROUP BY queue
  )
  SELECT array_agg(state), array_agg(queue), array_agg(n) INTO states, queues, ns FROM (
    SELECT 1::smallint AS state, queue, -n AS n FROM counted
    UNION ALL SELECT 2::smallint, queue, n FROM counted) AS changes;
  IF states IS NOT NULL THEN
    PERFORM treadle_add(states, queues, ns);
  END IF;
END $$;

-- Removes what is past its time, no more than somebody who claims can be asked for. ``kept`` and ``gone``
-- say up to when no job and no tombstone is left, and up to when none was left before.
CREATE OR REPLACE FUNCTION treadle_sweep(now float8, forget float8, most int,
  INOUT kept float8, INOUT gone float8)
LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM treadle_done d WHERE d.keep_until IS NOT NULL AND d.facts IS NULL
      AND d.keep_until >= kept AND d.keep_until <= now) THEN
    SELECT s.until INTO kept FROM treadle_sweep_done(now, kept, now + forget, most) s;
  ELSE
    kept := now;
  END IF;
  IF EXISTS (SELECT FROM treadle_id i WHERE i.until IS NOT NULL
      AND i.until >= gone AND i.until <= now) THEN
    gone := treadle_sweep_gone(now, gone, 2 * most);
  ELSE
    gone := now;
  END IF;
END $$;

-- When a lease may lapse next. Exactly by the leases where ``since`` says that nothing is known; else by
-- the sessions, which are few, and renewed together with their leases, and after an outage by the end of
-- the grace, in which those may lapse that nobody renews.
CREATE OR REPLACE FUNCTION treadle_next_lapse(now float8, since float8)
RETURNS float8 LANGUAGE plpgsql STABLE
  SET enable_seqscan = off AS $$
BEGIN
  RETURN CASE WHEN since = '-infinity'
    THEN (SELECT min(until) FROM treadle_job WHERE state = 3)
    ELSE least((SELECT min(until) FROM treadle_session WHERE until > now),
      (SELECT until FROM treadle_outage WHERE single AND until > now)) END;
END $$;

-- Ends jobs well. The sum keeps the planner from looking through all that run. Gives back those that it has ended, by their place in the arrays.
CREATE OR REPLACE FUNCTION treadle_succeed(at float8, numbers bigint[], ids text[], fences bigint[],
  nonces bigint[], results bytea[])
RETURNS TABLE (place bigint) LANGUAGE plpgsql
  SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
  now float8 := coalesce(at, extract(epoch FROM clock_timestamp())::float8);
BEGIN
  RETURN QUERY
  WITH mine AS MATERIALIZED (
    SELECT u.seq, u.result, u.ord, j.tid
    FROM unnest(numbers, ids, fences, nonces, results) WITH ORDINALITY
      AS u (seq, id, fence, nonce, result, ord),
    LATERAL (SELECT j.ctid AS tid FROM treadle_job j
      WHERE j.seq = u.seq AND j.state + 0 = 3 AND j.id = u.id AND j.fence = u.fence
        AND j.nonce = u.nonce AND j.flags & 12337 = 0 AND j.facts IS NULL
        AND (j.keep IS NULL OR j.keep > 0)
      FOR UPDATE SKIP LOCKED) AS j
  ), gone AS (
    DELETE FROM treadle_job j WHERE j.ctid = ANY (ARRAY(SELECT tid FROM mine)) RETURNING j.*
  ), over AS MATERIALIZED (
    SELECT g.*, m.result, m.ord FROM gone g JOIN mine m ON m.seq = g.seq
  ), kept AS (
    INSERT INTO treadle_done (seq, id, state, queue, rank, flags, fence, nonce, tries, crashes,
      version, created, due, started, finished, keep_until, keep, ended_fence, ended_nonce, holder,
      flow, result)
    SELECT seq, id, 4, queue, rank, flags & ~3840, fence, nonce, tries, crashes, version + 1,
      created, due, started, now, now + keep, keep, fence, nonce, holder, flow, result FROM over
  ), counted AS (
    SELECT queue, count(*) AS n FROM over GROUP BY queue
  ), added AS (
    SELECT treadle_add(array_agg(state), array_agg(queue), array_agg(n)) FROM (
      SELECT 3::smallint AS state, queue, -n AS n FROM counted
      UNION ALL SELECT 4::smallint, queue, n FROM counted) AS changes
  )
  SELECT ord FROM over WHERE (SELECT true FROM added) IS NOT FALSE;
END $$;

-- After an outage: where no foreman at all has been present for a while, none could renew what it holds.
-- Whoever comes first would else take all of it for lost, a moment before those arrive who hold it; so
-- once for each time that nobody was left, what has lapsed gets five seconds more. To be asked before
-- anybody is made present, which is what it is seen by, and by who has its own session, if any, locked.
-- The clock of a test stands still while nobody is asked, and has no outages.
CREATE OR REPLACE FUNCTION treadle_spare(at float8)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  now float8 := extract(epoch FROM clock_timestamp())::float8;
  last float8;
BEGIN
  SELECT max(until) INTO last FROM treadle_session;
  IF at IS NOT NULL OR last IS NULL OR last > now THEN
    RETURN false;
  END IF;
  INSERT INTO treadle_outage (since, until) VALUES (last, now + 5)
  ON CONFLICT (single) DO UPDATE SET since = excluded.since, until = excluded.until
    WHERE treadle_outage.since <> excluded.since;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  UPDATE treadle_job SET until = now + 5 WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM treadle_job WHERE state = 3 AND until <= now FOR UPDATE SKIP LOCKED));
  RETURN true;
END $$;

-- Renews leases; gives back those that it has renewed, by their place in the arrays.
CREATE OR REPLACE FUNCTION treadle_extend(at float8, mine bigint, lasting float8, ids text[],
  fences bigint[], nonces bigint[], begun boolean[])
RETURNS TABLE (place bigint, asked boolean, changed boolean)
LANGUAGE plpgsql
  SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
  now float8 := coalesce(at, extract(epoch FROM clock_timestamp())::float8);
  present record;
BEGIN
  PERFORM set_config('synchronous_commit', 'off', true);
  SELECT * INTO present FROM treadle_present(mine);
  IF present.until <= now THEN
    PERFORM treadle_spare(at);
  END IF;
  UPDATE treadle_session s SET until = greatest(s.until, now + lasting) WHERE s.ctid = present.tid;
  RETURN QUERY
  WITH held AS MATERIALIZED (
    SELECT j.seq, j.tid, u.ord, u.begun AND j.flags & 256 = 0 AS begins
    FROM unnest(ids, fences, nonces, begun) WITH ORDINALITY AS u (id, fence, nonce, begun, ord),
    LATERAL (SELECT j.ctid AS tid, j.seq, j.flags FROM treadle_job j
      WHERE j.seq = (SELECT i.seq FROM treadle_id i WHERE i.id = u.id) AND j.state + 0 = 3
        AND j.fence = u.fence AND j.nonce = u.nonce
      FOR UPDATE SKIP LOCKED) AS j
  )
  UPDATE treadle_job j SET until = now + lasting,
    flags = CASE WHEN held.begins THEN j.flags | 256 ELSE j.flags END,
    expires = CASE WHEN held.begins THEN NULL ELSE j.expires END,
    version = CASE WHEN held.begins THEN j.version + 1 ELSE j.version END
  FROM held WHERE j.ctid = ANY (ARRAY(SELECT tid FROM held)) AND j.seq = held.seq
  RETURNING held.ord, j.flags & 512 <> 0, held.begins;
END $$;
