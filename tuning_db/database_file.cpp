// SPDX-License-Identifier: Apache-2.0
// The order of checks matters: nothing of a file's contents is used before its application id,
// version and whole schema are known to be ours, and no byte of a file that is not ours is changed.
// The file itself is never opened here by hand: closing such a descriptor would drop SQLite's
// locks.
#include "tuning_db/database_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <thread>

#include "tuning_db/migration.h"
#include "tuning_db/schema.h"

namespace nvfp4 {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

/// The file is no usable database of ours; `what()` says why. Ends as a renamed file or an error.
class CorruptDatabase : public DatabaseError {
 public:
  using DatabaseError::DatabaseError;
};

[[noreturn]] void fail(const std::string& path, std::string_view doing, int error) {
  throw DatabaseError(fmt::format("database {}: cannot {}: {}", path, doing, std::strerror(error)));
}

/// Held while a file is recognised, created or set aside, so that of many openers one acts and the
/// others find its result. The lock is on the directory: it leaves no file behind.
class DirectoryLock {
 public:
  explicit DirectoryLock(const std::string& path) {
    const std::string directory = fs::path(path).parent_path();
    fd_ = open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd_ < 0) fail(path, "open its directory", errno);
    const auto deadline = Clock::now() + std::chrono::seconds(30);
    while (flock(fd_, LOCK_EX | LOCK_NB) != 0) {
      // A file system without flock still has SQLite's own exclusive lock round creation.
      if (errno != EWOULDBLOCK && errno != EINTR) return;
      if (Clock::now() > deadline) {
        close(fd_);
        throw DatabaseError(fmt::format("database {}: its directory stayed locked for 30 s", path));
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }
  ~DirectoryLock() { close(fd_); }
  DirectoryLock(const DirectoryLock&) = delete;
  DirectoryLock& operator=(const DirectoryLock&) = delete;

 private:
  int fd_ = -1;
};

/// mkdir -p with 0700 for what is made; SQLite's locks and the history are this user's alone.
void make_directories(const std::string& path, const fs::path& directory) {
  struct stat info;
  if (stat(directory.c_str(), &info) == 0) return;  // a non-directory fails when it is opened
  if (directory.has_parent_path() && directory != directory.parent_path()) {
    make_directories(path, directory.parent_path());
  }
  if (mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
    fail(path, fmt::format("create directory {}", directory.string()), errno);
  }
}

bool exists(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) {
    if (errno == ENOENT) return false;
    fail(path, "look at it", errno);
  }
  if (S_ISDIR(info.st_mode)) throw DatabaseError(fmt::format("database {}: is a directory", path));
  if (!S_ISREG(info.st_mode)) {
    throw DatabaseError(fmt::format("database {}: is not a regular file", path));
  }
  return true;
}

void create_empty(const std::string& path) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) fail(path, "create it", errno);
  close(fd);
}

/// SQLite loses databases where POSIX locks are unreliable.
void refuse_network(const std::string& path) {
  if (const std::string name = network_file_system(path); !name.empty()) {
    throw DatabaseError(
        fmt::format("database {}: is on {}, where file locks cannot be trusted; give a local path",
                    path, name));
  }
}

/// Everything SQLite knows about tables and indexes, as one text.
std::string schema_listing(Connection& connection) {
  Statement statement(connection,
                      "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name");
  std::string listing;
  for (int objects = 0; objects < 100 && statement.step(); ++objects) {
    for (const Value& value : statement.row()) {
      if (const auto* text = std::get_if<std::string>(&value)) listing += *text;
      listing += '\x1f';
    }
  }
  return listing;
}

/// What schema_listing() says of a sound file of each version.
const std::string& expected_schema(int64_t version) {
  // Never destroyed: a program may open databases from its own destructors.
  static const std::vector<std::string>& listings = *new std::vector<std::string>([] {
    std::vector<std::string> made;
    for (const char* schema : kSchemas) {
      Connection connection("", Access::memory);
      connection.execute(schema);
      made.push_back(schema_listing(connection));
    }
    return made;
  }());
  return listings[static_cast<size_t>(version - 1)];
}

/// The version of a file of ours; 0 for an empty one. Throws for any other file.
int64_t recognise(Connection& connection) {
  const int64_t application = connection.query_integer("PRAGMA application_id").value_or(0);
  const int64_t version = connection.query_integer("PRAGMA user_version").value_or(0);
  const int64_t objects =
      connection.query_integer("SELECT count(*) FROM sqlite_schema").value_or(0);
  if (application == 0 && version == 0 && objects == 0) return 0;
  if (application != kApplicationId) {
    throw DatabaseError(
        fmt::format("database {}: belongs to another program (application id {:#x}, ours is {:#x})",
                    connection.path(), application, kApplicationId));
  }
  if (version > kSchemaVersion) {
    throw DatabaseError(
        fmt::format("database {}: schema version {} is newer than {}, which this program reads",
                    connection.path(), version, kSchemaVersion));
  }
  if (version < 1) {
    throw CorruptDatabase(
        fmt::format("database {}: schema version {} does not exist", connection.path(), version));
  }
  return version;
}

void check_contents(Connection& connection, int64_t version) {
  if (schema_listing(connection) != expected_schema(version)) {
    throw CorruptDatabase(fmt::format("database {}: its tables are not those of version {}",
                                      connection.path(), version));
  }
  const auto verdict = connection.query_text("PRAGMA quick_check(1)");
  if (verdict != "ok") {
    throw CorruptDatabase(fmt::format("database {}: {}", connection.path(),
                                      verdict.value_or("quick_check gave no answer")));
  }
}

/// Brings an empty or older file to the current version, whole or not at all.
void make_current(Connection& connection) {
  connection.execute("PRAGMA foreign_keys=OFF");
  {
    Transaction transaction(connection, Transaction::Kind::exclusive);
    const int64_t version = recognise(connection);  // another process may have been faster
    if (version == 0) create_tables(connection);
    if (version > 0 && version < kSchemaVersion) {
      check_contents(connection, version);
      migrate(connection, version);
    }
    transaction.commit();
  }
  connection.execute("PRAGMA foreign_keys=ON");
}

Connection open_writable(const std::string& path) {
  Connection connection(path, Access::read_write);
  const int64_t version = recognise(connection);
  if (connection.read_only()) {
    throw DatabaseError(fmt::format("database {}: not writable", path));
  }
  if (connection.query_text("PRAGMA journal_mode=DELETE") != "delete") {
    throw DatabaseError(fmt::format("database {}: cannot leave its journal mode", path));
  }
  connection.execute("PRAGMA synchronous=FULL");
  if (version < kSchemaVersion) make_current(connection);
  check_contents(connection, kSchemaVersion);
  return connection;
}

Connection open_readable(const std::string& path, Access access) {
  const auto checked = [&](bool recover) {
    Connection connection(path, access, recover);
    const int64_t version = recognise(connection);
    if (version == 0) throw CorruptDatabase(fmt::format("database {}: is empty", path));
    Transaction transaction(connection, Transaction::Kind::read);
    check_contents(connection, version);
    if (version < kSchemaVersion) return migrated_copy(connection, version);
    transaction.commit();
    return connection;
  };
  try {
    return checked(false);
  } catch (const SqliteError& error) {
    if (access != Access::read_only || !error.needs_recovery()) throw;
    return checked(true);
  }
}

/// Renames the file and its journal: a new file must never meet an old journal.
std::string set_aside(const std::string& path) {
  for (int n = 1;; ++n) {
    const std::string target = fmt::format("{}.corrupt-{}", path, n);
    struct stat info;
    if (lstat(target.c_str(), &info) == 0) continue;
    if (rename(path.c_str(), target.c_str()) != 0) fail(path, "set it aside", errno);
    for (const char* suffix : {"-journal", "-wal", "-shm"}) {
      rename((path + suffix).c_str(), (target + suffix).c_str());  // rarely there
    }
    return target;
  }
}

Connection open_or_create(const std::string& path, std::vector<std::string>& warnings) {
  const std::string directory = fs::path(path).parent_path();
  make_directories(path, directory);
  refuse_network(path);
  const DirectoryLock lock(path);
  if (access(directory.c_str(), W_OK | X_OK) != 0) fail(path, "write to its directory", errno);
  if (!exists(path)) create_empty(path);
  std::string reason;
  try {
    return open_writable(path);
  } catch (const CorruptDatabase& error) {
    reason = error.what();
  } catch (const SqliteError& error) {
    if (!error.is_corrupt()) throw;
    reason = error.what();
  }
  warnings.push_back(fmt::format("{}; set aside as {}", reason, set_aside(path)));
  create_empty(path);
  return open_writable(path);
}

}  // namespace

std::string network_file_system(const std::string& path) {
  struct statfs info;
  if (statfs(fs::path(path).parent_path().c_str(), &info) != 0) return {};
  constexpr struct {
    uint32_t magic;
    const char* name;
  } kNetwork[] = {{0x6969, "NFS"},        {0x0bd00bd0, "Lustre"}, {0x47504653, "GPFS"},
                  {0xff534d42, "CIFS"},   {0xfe534d42, "SMB2"},   {0x517b, "SMB"},
                  {0x19830326, "BeeGFS"}, {0x00c36400, "Ceph"},   {0x5346414f, "AFS"}};
  for (const auto& system : kNetwork) {
    if (static_cast<uint32_t>(info.f_type) == system.magic) return system.name;
  }
  return {};
}

DatabasePath default_database_path() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  if (const std::string path = variable("NVFP4_DB"); !path.empty()) return {path, ""};
  // The XDG specification ignores a relative path.
  if (const std::string data = variable("XDG_DATA_HOME"); data.starts_with('/')) {
    return {data + "/nvfp4/tuning.db", ""};
  }
  if (const std::string home = variable("HOME"); home.starts_with('/')) {
    return {home + "/.local/share/nvfp4/tuning.db", ""};
  }
  return {"", "neither NVFP4_DB, XDG_DATA_HOME nor HOME is set: results stay in memory"};
}

Connection open_database(const std::string& path, Access access,
                         std::vector<std::string>& warnings) {
  if (access == Access::memory) {
    Connection connection("", access);
    create_tables(connection);
    return connection;
  }
  if (path.empty()) throw DatabaseError("database path is empty");
  const std::string absolute = fs::absolute(path).lexically_normal();
  if (access == Access::read_write) return open_or_create(absolute, warnings);
  if (!exists(absolute)) throw DatabaseError(fmt::format("database {}: does not exist", absolute));
  return open_readable(absolute, access);
}

}  // namespace nvfp4
