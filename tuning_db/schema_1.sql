-- SPDX-License-Identifier: Apache-2.0
-- Schema version 1 of the tuning database: user databases and shipped ones alike. Every table starts
-- with its id and ends with a checksum over the id and all columns between (row.h). Rows are
-- read in id order, never by date. Ranges are checked in C++, on writing and on reading, so that one
-- bad row costs itself and not the file.

-- The physical facts that key everything below; no two rows agree.
CREATE TABLE device(
  id INTEGER PRIMARY KEY,
  arch TEXT NOT NULL,                -- "sm_90a"
  sm_count INTEGER NOT NULL,
  l2_bytes INTEGER NOT NULL,
  smem_per_block INTEGER NOT NULL,   -- opt-in maximum
  bandwidth_class INTEGER NOT NULL,  -- peak, in 100 GB/s
  emulated INTEGER NOT NULL,         -- 0 or 1
  checksum INTEGER NOT NULL
) STRICT;

CREATE TABLE toolchain(
  id INTEGER PRIMARY KEY,
  nvrtc TEXT NOT NULL,
  driver TEXT NOT NULL,
  template_digest TEXT NOT NULL,
  checksum INTEGER NOT NULL
) STRICT;

CREATE TABLE problem(
  id INTEGER PRIMARY KEY,
  kind TEXT NOT NULL,                -- "dense"
  layout INTEGER NOT NULL,           -- version of the packed weight layout
  n INTEGER NOT NULL,
  k INTEGER NOT NULL,
  act TEXT NOT NULL,
  arch TEXT NOT NULL,                -- what the kernel is compiled for
  checksum INTEGER NOT NULL
) STRICT;

-- A config and what the compiler made of it.
CREATE TABLE kernel(
  id INTEGER PRIMARY KEY,
  config TEXT NOT NULL,              -- canonical text: all that a row can make us run
  source_hash TEXT NOT NULL,
  code_hash TEXT NOT NULL,           -- machine code and resource facts; '' when not compiled
  registers INTEGER NOT NULL,
  spill_bytes INTEGER NOT NULL,
  smem_bytes INTEGER NOT NULL,
  checksum INTEGER NOT NULL
) STRICT;
-- Finds an equal kernel while writing; never used to read results.
CREATE INDEX kernel_by_config ON kernel(config);

-- One invocation of the tuner. Name and date are labels.
CREATE TABLE run(
  id INTEGER PRIMARY KEY,
  device INTEGER NOT NULL REFERENCES device(id),
  toolchain INTEGER NOT NULL REFERENCES toolchain(id),
  device_name TEXT NOT NULL,
  command TEXT NOT NULL,
  date TEXT NOT NULL,
  seed INTEGER NOT NULL,
  checksum INTEGER NOT NULL
) STRICT;

-- Append-only: one row for each candidate at one (problem, m, policy), failures too.
CREATE TABLE measurement(
  id INTEGER PRIMARY KEY,
  run INTEGER NOT NULL REFERENCES run(id),
  kernel INTEGER NOT NULL REFERENCES kernel(id),
  problem INTEGER NOT NULL REFERENCES problem(id),
  m INTEGER NOT NULL,
  policy TEXT NOT NULL,              -- graph, graph+pdl, eager
  provenance TEXT NOT NULL,          -- measured, modelled
  verdict TEXT NOT NULL,             -- ok, or the class of the failure
  text TEXT NOT NULL,
  median_us REAL NOT NULL,
  q1_us REAL NOT NULL,
  q3_us REAL NOT NULL,
  samples INTEGER NOT NULL,
  gbps REAL NOT NULL,
  pct_ceiling REAL NOT NULL,
  tflops REAL NOT NULL,
  f REAL NOT NULL,
  clock_mhz REAL NOT NULL,
  throttled INTEGER NOT NULL,
  samples_us BLOB NOT NULL,          -- float32, little-endian
  checksum INTEGER NOT NULL
) STRICT;

-- A candidate in flight. A row that outlives its run names the candidate that ended it.
CREATE TABLE attempt(
  id INTEGER PRIMARY KEY,
  run INTEGER NOT NULL REFERENCES run(id),
  problem INTEGER NOT NULL REFERENCES problem(id),
  config TEXT NOT NULL,
  checksum INTEGER NOT NULL
) STRICT;

-- The choice for M in m_lo..m_hi; at most one row for (device, problem, policy, provenance, m_tuned).
CREATE TABLE winner(
  id INTEGER PRIMARY KEY,
  device INTEGER NOT NULL REFERENCES device(id),
  problem INTEGER NOT NULL REFERENCES problem(id),
  policy TEXT NOT NULL,
  provenance TEXT NOT NULL,
  m_lo INTEGER NOT NULL,
  m_hi INTEGER NOT NULL,
  m_tuned INTEGER NOT NULL,
  config TEXT NOT NULL,
  runner_up TEXT,                    -- NULL: there was no second
  regret_bound REAL,                 -- NULL: the inside of the interval was not probed
  evidence INTEGER NOT NULL REFERENCES measurement(id),
  checksum INTEGER NOT NULL
) STRICT;

-- A measurement that later ones are held against, by name.
CREATE TABLE baseline(
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  measurement INTEGER NOT NULL REFERENCES measurement(id),
  checksum INTEGER NOT NULL
) STRICT;
