-- SPDX-License-Identifier: Apache-2.0
-- Schema version 2 of the tuning database: user databases and shipped ones alike. Every table starts
-- with its id and ends with a checksum over the id and all columns between (row.h). Rows are
-- read in id order, never by date. Ranges are checked in C++, on writing and on reading, so that one
-- bad row costs itself and not the file. A later version only appends columns and tables; what each
-- earlier one looked like is kept beside this file, and migration.cpp takes a file from there to here.

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
  kind TEXT NOT NULL,                -- dense, grouped
  layout INTEGER NOT NULL,           -- version of the packed weight layout
  n INTEGER NOT NULL,
  k INTEGER NOT NULL,
  act TEXT NOT NULL,
  arch TEXT NOT NULL,                -- what the kernel is compiled for
  experts INTEGER NOT NULL,          -- matrices of a grouped problem; 0: dense
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

-- One invocation of the program. Name and date are labels.
CREATE TABLE run(
  id INTEGER PRIMARY KEY,
  device INTEGER NOT NULL REFERENCES device(id),
  toolchain INTEGER NOT NULL REFERENCES toolchain(id),
  device_name TEXT NOT NULL,
  command TEXT NOT NULL,
  date TEXT NOT NULL,
  seed INTEGER NOT NULL,
  purpose TEXT NOT NULL,             -- tune, bench, import
  source_commit TEXT NOT NULL,       -- of the program; '' unknown
  driver_release TEXT NOT NULL,      -- "580.159.04"; '' unknown
  stream_gbps REAL NOT NULL,         -- read ceiling of this run; 0 unknown
  tensor_tflops REAL NOT NULL,       -- matrix rate that F assumes; 0 unknown
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
  launch_us REAL NOT NULL,           -- one launch that reads these weights, in this run; 0 unknown
  temperature_c REAL NOT NULL,       -- 0 unknown
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

-- The choice for M in m_lo..m_hi; at most one row for (device, problem, policy, provenance, m_tuned,
-- origin).
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
  origin TEXT NOT NULL,              -- tuned; imported: a hint until it is measured here
  checksum INTEGER NOT NULL
) STRICT;

-- A measurement that later ones are held against, by name.
CREATE TABLE baseline(
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  measurement INTEGER NOT NULL REFERENCES measurement(id),
  checksum INTEGER NOT NULL
) STRICT;

-- What one series of measurements, (problem, m, policy), says about two runs.
CREATE TABLE comparison(
  id INTEGER PRIMARY KEY,
  base_run INTEGER NOT NULL REFERENCES run(id),
  run INTEGER NOT NULL REFERENCES run(id),
  problem INTEGER NOT NULL REFERENCES problem(id),
  m INTEGER NOT NULL,
  policy TEXT NOT NULL,
  question TEXT NOT NULL,            -- same_config, best_config
  verdict TEXT NOT NULL,             -- unchanged, same, faster, slower, ambiguous, broken, added, missing
  reason TEXT NOT NULL,              -- one line; '' when there is nothing to add
  base_measurement INTEGER REFERENCES measurement(id),
  measurement INTEGER REFERENCES measurement(id),
  ratio REAL NOT NULL,               -- new median / base median; 0 when there is none
  ratio_lo REAL NOT NULL,
  ratio_hi REAL NOT NULL,
  cycles_ratio REAL NOT NULL,        -- the same in SM clock cycles; 0 unknown
  checksum INTEGER NOT NULL
) STRICT;

-- A step in a series.
CREATE TABLE change_point(
  id INTEGER PRIMARY KEY,
  problem INTEGER NOT NULL REFERENCES problem(id),
  m INTEGER NOT NULL,
  policy TEXT NOT NULL,
  question TEXT NOT NULL,
  run INTEGER NOT NULL REFERENCES run(id),  -- the first one after the step
  ratio REAL NOT NULL,               -- after / before
  p_value REAL NOT NULL,
  checksum INTEGER NOT NULL
) STRICT;

-- The time of something else on the same problem in the same run.
CREATE TABLE rival(
  id INTEGER PRIMARY KEY,
  run INTEGER NOT NULL REFERENCES run(id),
  problem INTEGER NOT NULL REFERENCES problem(id),
  m INTEGER NOT NULL,
  policy TEXT NOT NULL,
  name TEXT NOT NULL,                -- cublas_bf16, marlin, ...
  median_us REAL NOT NULL,
  q1_us REAL NOT NULL,
  q3_us REAL NOT NULL,
  samples INTEGER NOT NULL,
  checksum INTEGER NOT NULL
) STRICT;
