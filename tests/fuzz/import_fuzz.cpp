// SPDX-License-Identifier: Apache-2.0
// Any bytes as what somebody sent to db import, a text or a database: refused in a line, or what is
// taken can be read back, answers nothing, and leaves the winner of one's own alone.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <string_view>

#include "tests/tuning_db_fixture.h"
#include "tuning_db/import.h"

using namespace nvfp4;

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

void import_bytes(TuningDb& into, std::string_view bytes) {
  if (!bytes.starts_with("SQLite format 3")) {
    import_winners(into, bytes, "sent.csv");
    return;
  }
  const int file = memfd_create("sent.db", MFD_CLOEXEC);
  require(file >= 0 &&
          write(file, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  const std::string path = "/proc/self/fd/" + std::to_string(file);
  try {
    TuningDb from(path, Access::immutable);
    import_winners(into, from);
  } catch (...) {
    close(file);
    throw;
  }
  close(file);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  TuningDb own("", Access::memory);
  const Winner winner =
      add_winner(own, own.add_run(run_on(h100())), h100(), measurement_of(config_of(64), 64, 12.5));
  try {
    import_bytes(own, {reinterpret_cast<const char*>(data), size});
  } catch (const DatabaseError& error) {
    require(std::string_view(error.what()).find('\n') == std::string_view::npos);
  }
  int tuned = 0;
  for (const Winner& stored : own.winners()) {
    require(!record_error(stored));
    if (stored.origin == WinnerOrigin::imported) continue;
    ++tuned;
    require(stored == winner);
  }
  require(tuned == 1 && own.warnings().empty());
  return 0;
}
