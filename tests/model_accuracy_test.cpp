// SPDX-License-Identifier: Apache-2.0
#include "tests/model_accuracy.h"

#include <doctest/doctest.h>

#include <cmath>

using namespace nvfp4;

TEST_SUITE("model_accuracy") {
  TEST_CASE("the best's place counts in the predicted order, whatever order rows come in") {
    const Accuracy found = accuracy({{.us = 8, .predicted = 3},
                                     {.us = 12, .predicted = 1},
                                     {.us = 9, .predicted = 2},
                                     {.us = 20, .predicted = 4}});
    CHECK(found.rows == 4);
    CHECK(found.rank == 3);
    CHECK(found.regret == 0.5);
  }

  TEST_CASE("what is within one percent of the fastest is as good, and what is beyond is not") {
    CHECK(accuracy({{.us = 101, .predicted = 1}, {.us = 100, .predicted = 2}}).rank == 1);
    CHECK(accuracy({{.us = 101, .predicted = 1}, {.us = 100, .predicted = 2}}).regret ==
          doctest::Approx(0.01));
    CHECK(accuracy({{.us = 102, .predicted = 1}, {.us = 100, .predicted = 2}}).rank == 2);
  }

  TEST_CASE("half and twice the measured time are the same error") {
    const Accuracy found = accuracy({{.us = 4, .predicted = 2}, {.us = 4, .predicted = 8}});
    CHECK(found.error == doctest::Approx(std::log(2.0)));
    CHECK(accuracy({{.us = 4, .predicted = 4}}).error == 0);
  }
}
