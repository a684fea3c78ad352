// SPDX-License-Identifier: Apache-2.0
// The main function of a test whose code starts workers: they are this program, started again.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <string_view>

#include "tuner/worker_roles.h"

int main(int argc, char** argv) {
  if (argc == 3 && std::string_view(argv[1]) == "--worker") return nvfp4::serve_role(argv[2]);
  return doctest::Context(argc, argv).run();
}
