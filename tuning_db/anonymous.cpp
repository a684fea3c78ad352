// SPDX-License-Identifier: Apache-2.0
// Text is cut into words, and each word is judged by its form.
#include "tuning_db/anonymous.h"

#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>

namespace nvfp4 {
namespace {

constexpr std::string_view kBetween = " \t\n\"'=,;()[]{}<>@";
constexpr std::string_view kFileOptions[] = {"--db",   "--cache", "--save",    "--plot",
                                             "--from", "--pack",  "--history", "--model"};
constexpr size_t kSerialDigits =
    10;  // of a card's serial number: 13; no figure of ours has as many

bool all_of(std::string_view text, int (*is)(int)) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [&](unsigned char c) { return is(c) != 0; });
}

/// The parts of "01234567-89ab-...", or of "0000:3b:00.0" with `separator` ':'.
bool hex_groups(std::string_view text, char separator, size_t groups) {
  size_t found = 1;
  for (const char c : text) {
    if (c == separator) {
      ++found;
    } else if (std::isxdigit(static_cast<unsigned char>(c)) == 0 && c != '.') {
      return false;
    }
  }
  return found == groups && text.size() > groups;
}

bool is_uuid(std::string_view text) {
  for (const std::string_view prefix : {"GPU-", "MIG-"}) {
    if (text.starts_with(prefix)) text.remove_prefix(prefix.size());
  }
  const bool plain = text.size() == 32 && all_of(text, std::isxdigit);
  return plain || (text.size() == 36 && hex_groups(text, '-', 5));
}

bool is_path(std::string_view text, bool command) {
  const auto slashes = std::count(text.begin(), text.end(), '/');
  if (slashes == 0) return text.starts_with('~') && text.size() > 1;
  if (command || slashes > 1) return text.size() > 1;
  if (text.starts_with('/')) return text.size() > 1;
  const size_t dot = text.find('.');
  return dot != text.npos && dot + 1 < text.size();
}

}  // namespace

Anonymizer::Anonymizer(std::string host, std::string user)
    : host_(std::move(host)), user_(std::move(user)) {}

Anonymizer Anonymizer::here() {
  std::array<char, 256> host{};
  if (gethostname(host.data(), host.size() - 1) != 0) host[0] = '\0';
  const passwd* const entry = getpwuid(getuid());
  return {host.data(), entry == nullptr ? "" : entry->pw_name};
}

bool Anonymizer::names_someone(std::string_view word) const {
  if (word.empty()) return false;
  const std::string_view machine = std::string_view(host_).substr(0, host_.find('.'));
  return word == user_ || word == host_ || (!machine.empty() && word == machine) ||
         (!machine.empty() && word.starts_with(machine) && word[machine.size()] == '.');
}

std::string Anonymizer::word(std::string_view word, bool command) const {
  // "host:" and "path:12:" end like this; a trailing dot ends a sentence.
  std::string_view tail;
  const size_t end = word.find_last_not_of(".:");
  if (end != word.npos && end + 1 < word.size()) {
    tail = word.substr(end + 1);
    word = word.substr(0, end + 1);
  }
  std::string clean(word);
  if (is_path(word, command)) {
    clean = "PATH";
  } else if (names_someone(word)) {
    clean = "NAME";
  } else if (is_uuid(word) || hex_groups(word, ':', 3) ||
             (word.size() >= kSerialDigits && all_of(word, std::isdigit))) {
    clean = "ID";
  }
  return clean.append(tail);
}

std::string Anonymizer::words(std::string_view text, bool command) const {
  std::string clean;
  bool file_follows = false;
  while (!text.empty()) {
    const size_t length = std::min(text.find_first_of(kBetween), text.size());
    if (length == 0) {
      clean += text.front();
      text.remove_prefix(1);
      continue;
    }
    const std::string_view word = text.substr(0, length);
    clean += file_follows ? "PATH" : this->word(word, command);
    file_follows = command && std::find(std::begin(kFileOptions), std::end(kFileOptions), word) !=
                                  std::end(kFileOptions);
    text.remove_prefix(length);
  }
  return clean;
}

Merger::Rewrite Anonymizer::rewrite() const {
  const Anonymizer self = *this;
  return {.run =
              [self](RunRecord& run) {
                run.command = self.command(run.command);
                run.device_name = self.text(run.device_name);
                run.toolchain.driver = self.text(run.toolchain.driver);
                run.toolchain.nvrtc = self.text(run.toolchain.nvrtc);
                run.driver_release = self.text(run.driver_release);
                run.source_commit = self.text(run.source_commit);
              },
          .measurement =
              [self](Measurement& row) {
                row.text = self.text(row.text);
                row.toolchain.driver = self.text(row.toolchain.driver);
                row.toolchain.nvrtc = self.text(row.toolchain.nvrtc);
              },
          .comparison = [self](Comparison& row) { row.reason = self.text(row.reason); }};
}

}  // namespace nvfp4
