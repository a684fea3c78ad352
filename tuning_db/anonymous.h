// SPDX-License-Identifier: Apache-2.0
// What a database tells about the machine and its user, taken out before it is given away.
#pragma once

#include <string>
#include <string_view>

#include "tuning_db/merge.h"

namespace nvfp4 {

/// Replaces paths, host and user names, UUIDs, PCI addresses and serial numbers in free text.
class Anonymizer {
 public:
  Anonymizer(std::string host, std::string user);

  /// With the names of this machine and this user.
  static Anonymizer here();

  /// A command line: files named by options go too, with a folder or without.
  std::string command(std::string_view text) const { return words(text, true); }

  /// Anything else: "GB/s" is no path, "/tmp/x", "a/b/c" and "a/b.cu" are.
  std::string text(std::string_view text) const { return words(text, false); }

  /// Every text of a database.
  Merger::Rewrite rewrite() const;

 private:
  std::string words(std::string_view text, bool command) const;
  std::string word(std::string_view word, bool command) const;
  bool names_someone(std::string_view word) const;

  std::string host_;
  std::string user_;
};

}  // namespace nvfp4
