// SPDX-License-Identifier: Apache-2.0
// The commands of nvfp4-tune: what each is called, what it says of itself and where it stands in
// the help. Sets of them say which commands an option means something to.
#pragma once

#include <cstdint>
#include <span>
#include <stdexcept>

namespace nvfp4 {

/// A command line that means nothing; exit code 2.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

enum class Command {
  tune,  ///< when no other is named
  lookup,
  emit,
  bench,
  regret,
  compare,
  inspect,
  doctor,
  db_path,
  db_info,
  db_list,
  db_show,
  db_export,
  db_import,
  db_merge,
  db_diff,
  db_verify,
  db_compact,
  db_build,
  dashboard,
  help,
  version,
  worker  ///< of another process of this program
};

class Commands {
 public:
  constexpr Commands(Command command) : bits_(uint32_t{1} << static_cast<int>(command)) {}

  static constexpr Commands all_but(Command command) { return Commands(~Commands(command).bits_); }

  constexpr bool contains(Command command) const { return (bits_ & Commands(command).bits_) != 0; }

  friend constexpr Commands operator|(Commands a, Commands b) {
    return Commands(a.bits_ | b.bits_);
  }

 private:
  explicit constexpr Commands(uint32_t bits) : bits_(bits) {}

  uint32_t bits_;
};
constexpr Commands operator|(Command a, Command b) { return Commands(a) | Commands(b); }

/// A word that further words stand behind.
struct CommandGroup {
  const char* name;
  const char* summary;
};

struct CommandSpec {
  Command command;
  const CommandGroup* group;  ///< null: it is a word of its own
  const char* name;
  const char* summary;
  const char* operands = nullptr;  ///< what the words after it are; null: there are none
  int fewest = 0;
  int most = 0;
};

/// Every command that is a word, in the order of the help.
std::span<const CommandSpec> command_specs();

}  // namespace nvfp4
