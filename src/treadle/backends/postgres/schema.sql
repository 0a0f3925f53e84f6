-- The tables of one namespace. ``treadle_`` becomes the namespace's prefix when the file is loaded.
--
-- ``id`` is written first and stays until the last trace of a job is forgotten: it is what makes a
-- repeated push harmless, it holds what was pushed, and what is left of it is the tombstone. ``job`` holds
-- the live jobs and stays small and hot; ``done`` those that have ended.

CREATE TABLE treadle_meta (
  key text COLLATE "C" PRIMARY KEY,
  value bigint NOT NULL
);

CREATE SEQUENCE treadle_seq;
CREATE SEQUENCE treadle_ticket_seq;
-- How many notices have been sent, which says how sparing each sender has to be.
CREATE SEQUENCE treadle_notice_seq;

-- With ``seq`` it is a job, without it a tombstone.
CREATE TABLE treadle_id (
  id text COLLATE "C" PRIMARY KEY,
  seq bigint,
  spec bytea,
  pushed text COLLATE "C",
  of text COLLATE "C",
  state smallint,
  fence bigint,
  nonce bigint,
  at float8,
  until float8
) WITH (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE treadle_id ALTER COLUMN spec SET STORAGE EXTERNAL;
CREATE INDEX treadle_id_until ON treadle_id (until) WHERE until IS NOT NULL;

-- state: 0 waiting, 1 scheduled, 2 queued, 3 running, 7 queued as a suspect. rank is -priority.
-- flags: see rows.py. Few indexes, and most of them for few rows, because each change of state
-- writes to all that hold the row.
CREATE TABLE treadle_job (
  seq bigint PRIMARY KEY,
  state smallint NOT NULL,
  rank smallint NOT NULL,
  flags integer NOT NULL,
  fence bigint NOT NULL DEFAULT 0,
  nonce bigint,
  created float8 NOT NULL,
  due float8,
  expires float8,
  started float8,
  until float8,          -- the lease
  keep float8,           -- seconds that a success is kept; NULL for ever
  ended_fence bigint,    -- the token that was settled last
  ended_nonce bigint,
  request bigint,        -- the claim of the session that granted it
  tries integer NOT NULL DEFAULT 0,
  crashes integer NOT NULL DEFAULT 0,
  version integer NOT NULL DEFAULT 0,
  line_rank integer,
  line_units integer,    -- how much of the line it wants
  blocks boolean NOT NULL DEFAULT false,  -- holds back later ordered jobs of its key
  id text COLLATE "C" NOT NULL,
  queue text COLLATE "C" NOT NULL,
  holder text COLLATE "C",
  line text COLLATE "C",   -- where it is parked: key:… or limit:…
  key text COLLATE "C",
  flow text COLLATE "C",
  facts bytea
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000,
  autovacuum_vacuum_cost_delay = 0);
CREATE INDEX treadle_job_place ON treadle_job (state, queue, rank, seq) WHERE state <> 3;
CREATE INDEX treadle_job_until ON treadle_job (until) WHERE state = 3;
CREATE INDEX treadle_job_due ON treadle_job (due, seq) WHERE state = 1;
CREATE INDEX treadle_job_expires ON treadle_job (expires) WHERE expires IS NOT NULL AND state <> 3;
CREATE INDEX treadle_job_line ON treadle_job (line, line_rank, seq) WHERE line IS NOT NULL;
CREATE INDEX treadle_job_key ON treadle_job (key, seq) WHERE key IS NOT NULL;
CREATE INDEX treadle_job_flow ON treadle_job (flow, seq) WHERE flow IS NOT NULL;

-- state: 4 succeeded, 5 failed, 6 cancelled.
CREATE TABLE treadle_done (
  seq bigint PRIMARY KEY,
  state smallint NOT NULL,
  rank smallint NOT NULL,
  flags integer NOT NULL,
  fence bigint NOT NULL,
  nonce bigint,
  created float8 NOT NULL,
  due float8,
  started float8,
  finished float8 NOT NULL,
  keep_until float8,
  keep float8,
  ended_fence bigint,
  ended_nonce bigint,
  tries integer NOT NULL,
  crashes integer NOT NULL,
  version integer NOT NULL,
  id text COLLATE "C" NOT NULL,
  queue text COLLATE "C" NOT NULL,
  holder text COLLATE "C",
  flow text COLLATE "C",
  failed_task text COLLATE "C",
  facts bytea,
  result bytea
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE treadle_done ALTER COLUMN result SET STORAGE EXTERNAL;
CREATE INDEX treadle_done_place ON treadle_done (state, queue, seq);
-- Of those that have run out, most go many at once; those of which more is known one by one.
CREATE INDEX treadle_done_keep ON treadle_done (keep_until)
  WHERE keep_until IS NOT NULL AND facts IS NULL;
CREATE INDEX treadle_done_outdated ON treadle_done (keep_until)
  WHERE keep_until IS NOT NULL AND facts IS NOT NULL;
CREATE INDEX treadle_done_flow ON treadle_done (flow, seq) WHERE flow IS NOT NULL;
CREATE INDEX treadle_done_failed ON treadle_done (failed_task, seq) WHERE failed_task IS NOT NULL;
CREATE INDEX treadle_done_oldest_failed ON treadle_done (finished, seq) WHERE failed_task IS NOT NULL;

-- Exact numbers of jobs, each as a sum of slots, one for each connection, so that those who count at
-- a time do not wait for each other. Slot 0 has the sum of those that were put together. The queue '' counts all failed jobs.
CREATE TABLE treadle_count (
  state smallint NOT NULL,
  queue text COLLATE "C" NOT NULL,
  slot integer NOT NULL,
  n bigint NOT NULL,
  PRIMARY KEY (state, queue, slot)
) WITH (fillfactor = 40, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);
CREATE TABLE treadle_failure (
  task text COLLATE "C" PRIMARY KEY,
  n bigint NOT NULL
) WITH (fillfactor = 50);

-- The member of a named queue that was served last.
CREATE TABLE treadle_turn (
  name text COLLATE "C" PRIMARY KEY,
  last text COLLATE "C" NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE treadle_unique (
  key text COLLATE "C" PRIMARY KEY,
  job text COLLATE "C" NOT NULL,
  until float8
);
CREATE INDEX treadle_unique_until ON treadle_unique (until) WHERE until IS NOT NULL;

-- Keys and slots: the bound, and who holds how much. A hold of a permit has a time, a hold
-- of a job lives as long as its lease.
CREATE TABLE treadle_limit (
  name text COLLATE "C" PRIMARY KEY,
  slots bigint NOT NULL,
  held bigint NOT NULL
) WITH (fillfactor = 50);
CREATE TABLE treadle_hold (
  owner text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  units bigint NOT NULL,
  PRIMARY KEY (owner, name)
);
CREATE TABLE treadle_rate (
  key text COLLATE "C" PRIMARY KEY,
  state bytea NOT NULL,
  fades float8 NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX treadle_rate_fades ON treadle_rate (fades);

-- Waiting requests for limits, in line, and what was granted to them.
CREATE TABLE treadle_ticket (
  seq bigint PRIMARY KEY,
  id text COLLATE "C" NOT NULL UNIQUE,
  until float8 NOT NULL
);
CREATE INDEX treadle_ticket_until ON treadle_ticket (until);
CREATE TABLE treadle_ticket_line (
  name text COLLATE "C" NOT NULL,
  seq bigint NOT NULL,
  PRIMARY KEY (name, seq)
);
CREATE INDEX treadle_ticket_line_seq ON treadle_ticket_line (seq);
CREATE TABLE treadle_permit (
  id text COLLATE "C" PRIMARY KEY,
  granted float8 NOT NULL,
  until float8 NOT NULL,
  asks bytea NOT NULL
);
CREATE INDEX treadle_permit_until ON treadle_permit (until);

-- Who waits for whom, and ended jobs whose dependants have not all been told yet.
CREATE TABLE treadle_after (
  seq bigint NOT NULL,
  job text COLLATE "C" NOT NULL,
  PRIMARY KEY (seq, job)
);
CREATE INDEX treadle_after_job ON treadle_after (job, seq);
CREATE TABLE treadle_ended (
  job text COLLATE "C" PRIMARY KEY,
  succeeded boolean NOT NULL
);

-- ``request`` is the last claim that was answered, ``answer`` what it said beside its leases.
-- What was spared after the last outage, see ``treadle_spare``; one row at most.
CREATE TABLE treadle_outage (
  single boolean PRIMARY KEY DEFAULT true CHECK (single),
  since float8 NOT NULL,   -- until then somebody was present
  until float8 NOT NULL    -- the end of the grace
);

CREATE TABLE treadle_session (
  nonce bigint PRIMARY KEY,
  info bytea NOT NULL,
  until float8 NOT NULL,
  request bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

CREATE TABLE treadle_cell (
  key text COLLATE "C" PRIMARY KEY,
  value bytea NOT NULL,
  version bigint NOT NULL,
  until float8
);
CREATE INDEX treadle_cell_until ON treadle_cell (until) WHERE until IS NOT NULL;
