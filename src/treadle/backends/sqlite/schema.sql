-- The tables of one namespace. ``treadle_`` becomes the namespace's prefix when the file is
-- loaded. A job is split by how often its parts change: ``job`` is narrow and rewritten at each
-- step of a life, ``body`` is written once, ``result`` and ``facts`` exist where needed.

CREATE TABLE treadle_meta (
  key TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) WITHOUT ROWID;

-- state: 0 waiting, 1 scheduled, 2 queued, 3 running, 4 succeeded, 5 failed, 6 cancelled,
-- 7 queued as a suspect. rank is -priority. flags: see rows.py.
CREATE TABLE treadle_job (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL,
  state INTEGER NOT NULL,
  queue TEXT NOT NULL,
  rank INTEGER NOT NULL,
  flags INTEGER NOT NULL,
  fence INTEGER NOT NULL,
  nonce INTEGER,
  tries INTEGER NOT NULL,
  crashes INTEGER NOT NULL,
  version INTEGER NOT NULL,
  created REAL NOT NULL,
  due REAL,
  expires REAL,
  started REAL,
  finished REAL,
  until REAL,           -- the lease
  keep_until REAL,      -- of a finished job
  keep REAL,            -- seconds that a success is kept; NULL for ever
  ended_fence INTEGER,  -- the token that was settled last
  ended_nonce INTEGER,
  holder TEXT,
  line TEXT,            -- where it is parked: key:… or limit:…
  line_rank INTEGER,
  line_units INTEGER,   -- how much of it it wants
  key TEXT,             -- until it is final
  blocks INTEGER,       -- 1 while it holds back later ordered jobs of its key
  flow TEXT,
  failed_task TEXT      -- of a failed job
);
CREATE UNIQUE INDEX treadle_job_id ON treadle_job (id);
CREATE INDEX treadle_job_place ON treadle_job (state, queue, rank, seq);
CREATE INDEX treadle_job_due ON treadle_job (due) WHERE state = 1;
CREATE INDEX treadle_job_until ON treadle_job (until) WHERE until IS NOT NULL;
CREATE INDEX treadle_job_expires ON treadle_job (expires) WHERE expires IS NOT NULL AND state <> 3;
CREATE INDEX treadle_job_keep ON treadle_job (keep_until) WHERE keep_until IS NOT NULL;
CREATE INDEX treadle_job_line ON treadle_job (line, line_rank, seq) WHERE line IS NOT NULL;
CREATE INDEX treadle_job_key ON treadle_job (key, blocks, seq) WHERE key IS NOT NULL;
CREATE INDEX treadle_job_flow ON treadle_job (flow, seq) WHERE flow IS NOT NULL;
CREATE INDEX treadle_job_failed ON treadle_job (failed_task, seq) WHERE failed_task IS NOT NULL;
CREATE INDEX treadle_job_oldest_failed ON treadle_job (finished, seq) WHERE failed_task IS NOT NULL;

CREATE TABLE treadle_body (seq INTEGER PRIMARY KEY, spec BLOB NOT NULL);
CREATE TABLE treadle_result (seq INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE treadle_facts (seq INTEGER PRIMARY KEY, data BLOB NOT NULL);

-- Exact numbers of jobs; rows at zero are removed, so the rows of state 2 are the queues that
-- have something to claim. The queue '' counts all failed jobs.
CREATE TABLE treadle_count (
  state INTEGER NOT NULL,
  queue TEXT NOT NULL,
  n INTEGER NOT NULL,
  PRIMARY KEY (state, queue)
) WITHOUT ROWID;
CREATE TABLE treadle_failure (task TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;

-- The member of a named queue that was served last.
CREATE TABLE treadle_turn (name TEXT PRIMARY KEY, last TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE treadle_unique (
  key TEXT PRIMARY KEY,
  job TEXT NOT NULL,
  until REAL
) WITHOUT ROWID;
CREATE INDEX treadle_unique_until ON treadle_unique (until) WHERE until IS NOT NULL;

-- Keys and slots: the bound, and who holds how much. A hold of a permit has a time, a hold
-- of a job lives as long as its lease.
CREATE TABLE treadle_limit (
  name TEXT PRIMARY KEY,
  slots INTEGER NOT NULL,
  held INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE treadle_hold (
  owner TEXT NOT NULL,
  name TEXT NOT NULL,
  units INTEGER NOT NULL,
  PRIMARY KEY (owner, name)
) WITHOUT ROWID;
CREATE TABLE treadle_rate (key TEXT PRIMARY KEY, state BLOB NOT NULL, fades REAL NOT NULL)
  WITHOUT ROWID;
CREATE INDEX treadle_rate_fades ON treadle_rate (fades);

-- Waiting requests for limits, in line, and what was granted to them.
CREATE TABLE treadle_ticket (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  until REAL NOT NULL
);
CREATE INDEX treadle_ticket_until ON treadle_ticket (until);
CREATE TABLE treadle_ticket_line (
  name TEXT NOT NULL,
  seq INTEGER NOT NULL,
  PRIMARY KEY (name, seq)
) WITHOUT ROWID;
CREATE INDEX treadle_ticket_line_seq ON treadle_ticket_line (seq);
CREATE TABLE treadle_permit (
  id TEXT PRIMARY KEY,
  granted REAL NOT NULL,
  until REAL NOT NULL,
  asks BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX treadle_permit_until ON treadle_permit (until);

-- Who waits for whom, and ended jobs whose dependants have not all been told yet.
CREATE TABLE treadle_after (
  seq INTEGER NOT NULL,
  job TEXT NOT NULL,
  PRIMARY KEY (seq, job)
) WITHOUT ROWID;
CREATE INDEX treadle_after_job ON treadle_after (job, seq);
CREATE TABLE treadle_ended (job TEXT PRIMARY KEY, succeeded INTEGER NOT NULL) WITHOUT ROWID;

-- Tombstones.
CREATE TABLE treadle_gone (
  id TEXT PRIMARY KEY,
  pushed TEXT NOT NULL,
  of TEXT,
  state INTEGER,
  fence INTEGER,
  nonce INTEGER,
  at REAL NOT NULL,
  until REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX treadle_gone_until ON treadle_gone (until);

CREATE TABLE treadle_session (
  nonce INTEGER PRIMARY KEY,
  info BLOB NOT NULL,
  until REAL NOT NULL
);
CREATE INDEX treadle_session_until ON treadle_session (until);

CREATE TABLE treadle_cell (
  key TEXT PRIMARY KEY,
  value BLOB NOT NULL,
  version INTEGER NOT NULL,
  until REAL
) WITHOUT ROWID;
CREATE INDEX treadle_cell_until ON treadle_cell (until) WHERE until IS NOT NULL;
