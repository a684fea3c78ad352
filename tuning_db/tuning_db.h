// SPDX-License-Identifier: Apache-2.0
// The tuning database: an append-only history of measurements and the winners that follow from it,
// in one SQLite file. Every row carries a checksum and is validated when read: a bad row is a
// warning and a miss, never an error. Tuners write through it; serving reads it once into a
// Snapshot (runtime/lookup.h) and closes it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "tuning_db/records.h"

namespace nvfp4 {

class Transaction;
struct TableColumns;

/// The database cannot be used: a path that cannot be written, a newer schema, another program's
/// file, a full disk. Rows committed before stay.
class DatabaseError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Where the user's database lives, and why not where one would expect it.
struct DatabasePath {
  std::string path;    ///< empty: nowhere, keep it in memory
  std::string reason;  ///< one line when path is empty
};

/// $NVFP4_DB, else $XDG_DATA_HOME/nvfp4/tuning.db, else $HOME/.local/share/nvfp4/tuning.db, else
/// memory. Reads the environment; creates nothing.
DatabasePath default_database_path();

/// "NFS" and the like when the folder of `path` is there and on such a file system; else empty.
std::string network_file_system(const std::string& path);

enum class Access : int {
  read_write,  ///< created if missing, directory 0700 and file 0600; a corrupt file is set aside
  read_only,   ///< must exist; never changed, except that a dead writer's journal is rolled back
  immutable,   ///< a shipped file: no lock is taken and no file is made beside it
  memory,      ///< the path is ignored and nothing is kept
};

/// One connection; use it from one thread at a time. Several processes may write to one file at
/// once.
class TuningDb {
  struct State;

 public:
  /// Opens and checks the whole file. A corrupt, truncated or foreign-format file is renamed to
  /// "<path>.corrupt-<n>" under read_write (see warnings()) and is a DatabaseError otherwise.
  TuningDb(const std::string& path, Access access);
  ~TuningDb();
  TuningDb(TuningDb&&) noexcept;
  TuningDb& operator=(TuningDb&&) noexcept;

  /// Empty for a database in memory.
  const std::string& path() const;

  /// From now on a disk that is full or fails turns this into a database in memory: one warning,
  /// and the work goes on with all rows that were there. For a tuner, whose minutes are worth more.
  void outlive_disk();

  /// False when what is written does not outlive this object.
  bool saved() const;

  /// One line for each thing that was set aside or skipped since opening, oldest first.
  const std::vector<std::string>& warnings() const;

  /// Makes the calls until commit() one transaction: one wait for the disk instead of one each.
  /// Without commit() all of them are undone. Keep it short: other writers wait meanwhile.
  class Batch {
   public:
    explicit Batch(TuningDb& database);
    ~Batch();
    void commit();

   private:
    State& state_;
    std::unique_ptr<Transaction> transaction_;
  };

  /// Lets the reads until its end see one moment of the file, so that what one returns refers to
  /// what another returns, though a tuner writes meanwhile. Keep it short: writers wait.
  class Reading {
   public:
    explicit Reading(TuningDb& database);
    ~Reading();

   private:
    std::unique_ptr<Transaction> transaction_;
  };

  /// Records an invocation of the program and returns its id.
  int64_t add_run(const RunRecord& run);

  /// Valid runs in the order they were added.
  std::vector<RunRecord> runs();

  /// Appends rows, all or none, in one transaction. Returns their ids in order.
  std::vector<int64_t> add(int64_t run, std::span<const Measurement> measurements);
  int64_t add(int64_t run, const Measurement& measurement);

  /// Marks a candidate as in flight before anything of it runs. A marker that is still there in a
  /// later run means that the candidate took its tuner down.
  void start(int64_t run, const Problem& problem, const KernelConfig& config);

  /// Clears every marker of the candidate: its outcome is known (add it first), or it was
  /// interrupted for a reason of its tuner's own.
  void finish(int64_t run, const Problem& problem, const KernelConfig& config);

  /// Candidates whose markers are still there. Read it before starting any.
  std::vector<Suspect> suspects(const DeviceKey& device, const Problem& problem);

  /// Stores a winner in place of the one of the same device, problem, policy, provenance and tuned
  /// M: a tuned one in place of tuned and imported ones, an imported one beside a tuned one. Its
  /// evidence must be a row of this database that agrees with it and is ok, else DatabaseError.
  void store(const Winner& winner);

  /// Every valid winner, in a fixed order.
  std::vector<Winner> winners();
  std::vector<Winner> winners(const DeviceKey& device, const Problem& problem);

  /// Valid measurements in the order they were added, every outcome and toolchain included. A
  /// resumed tuner skips what it finds here with its own toolchain.
  std::vector<Measurement> measurements();
  std::vector<Measurement> measurements(const DeviceKey& device, const Problem& problem);

  /// Appends what was found out by comparing runs, or the time of something else; returns its id.
  /// The runs and measurements that it names must be there, else DatabaseError.
  int64_t add(const Comparison& comparison);
  int64_t add(const ChangePoint& step);
  int64_t add(const Rival& rival);

  /// What an analysis found in all runs of a device, in place of what the one before it found
  /// there.
  void replace_change_points(const DeviceKey& device, std::span<const ChangePoint> steps);

  /// Valid rows in the order they were added.
  std::vector<Comparison> comparisons();
  std::vector<ChangePoint> change_points();
  std::vector<Rival> rivals();

  /// Every undamaged row of every table, by name and id, without checksums and blobs
  /// (columns.h).
  std::vector<TableColumns> columns();

  /// Rows stored, bad ones included.
  struct Counts {
    int64_t runs = 0;
    int64_t measurements = 0;
    int64_t winners = 0;
  };
  Counts counts();

  /// What compact() took away.
  struct Compaction {
    int64_t bytes_before = 0;
    int64_t bytes_after = 0;
    int64_t measurements = 0;  ///< rows that a better-founded one of the same toolchain replaces
    int64_t samples = 0;       ///< rows whose raw samples went; their quartiles stay
    int64_t bad_rows = 0;      ///< rows that nobody could read
    int64_t unused = 0;        ///< runs, kernels, problems, toolchains, devices without a row left
  };

  /// Makes the file smaller without a change to what it answers: winners, their evidence, what is
  /// compared with another run, and the best-founded row of every candidate stay.
  Compaction compact();

 private:
  std::unique_ptr<State> state_;
};

}  // namespace nvfp4
