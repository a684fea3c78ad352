// SPDX-License-Identifier: Apache-2.0
// Axes, ticks, and the picture as text: what is drawn, where, and that it is well-formed.
#include "tuner/plot.h"

#include <doctest/doctest.h>

#include <cmath>
#include <string>

#include "tests/xml.h"

using namespace nvfp4;

namespace {

Plot sample() {
  return {.title = "A card",
          .notes = {"driver 1", "commit abc"},
          .series = {{.name = "4096 x 4096",
                      .points = {{.m = 1, .us = 5, .f = 0.9, .us_baseline = 12},
                                 {.m = 64, .us = 9, .f = 0.5, .us_baseline = 13}},
                      .read_us = 4.5,
                      .us_per_token = 0.05},
                     {.name = "64 x 128", .points = {{.m = 64, .us = 2, .f = 0.25}}}}};
}

int count(const std::string& text, const std::string& part) {
  int found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

}  // namespace

TEST_SUITE("plot") {
  TEST_CASE("an axis is logarithmic between its ends") {
    const PlotAxis axis{.lo = 1, .hi = 100, .pixel_lo = 200, .pixel_hi = 0};
    CHECK(axis.at(1) == 200);
    CHECK(axis.at(100) == 0);
    CHECK(axis.at(10) == doctest::Approx(100));
  }

  TEST_CASE("all that is drawn lies on the axes, with air around it") {
    const PlotAxes axes = plot_axes(sample());
    CHECK(axes.m.lo < 1);
    CHECK(axes.m.hi > 64);
    CHECK(axes.us.lo < 2);
    CHECK(axes.us.hi > 13);
    CHECK(axes.f.lo < 0.25);
    CHECK(axes.f.hi > 1);
    CHECK(axes.us.pixel_lo > axes.us.pixel_hi);  // up is slower
    // The roof is on the axis too, the tensor ceiling below it is not.
    Plot roof{.series = {{.points = {{.m = 1, .us = 100}}, .read_us = 2, .us_per_token = 1e-4}}};
    CHECK(plot_axes(roof).us.lo < 2);
    CHECK(plot_axes(roof).us.lo > 0.5);
  }

  TEST_CASE("ticks are 1, 2, 5 where there is room and powers of ten where not") {
    const PlotAxis roomy{.lo = 3, .hi = 60, .pixel_lo = 200, .pixel_hi = 0};
    CHECK(decade_ticks(roomy, 13) == std::vector<double>{5, 10, 20, 50});
    const PlotAxis tight{.lo = 0.5, .hi = 2e6, .pixel_lo = 200, .pixel_hi = 0};
    CHECK(decade_ticks(tight, 13) == std::vector<double>{1, 10, 100, 1e3, 1e4, 1e5, 1e6});
    const PlotAxis crowded{.lo = 1e-6, .hi = 1e12, .pixel_lo = 100, .pixel_hi = 0};
    CHECK(decade_ticks(crowded, 13).size() <= 8);
    CHECK(decade_ticks(crowded, 13).size() >= 4);
  }

  TEST_CASE("tokens are labelled at powers of two, F at tenths from 1 down") {
    const PlotAxis few{.lo = 0.7, .hi = 80, .pixel_lo = 0, .pixel_hi = 230};
    CHECK(binary_ticks(few, 30) == std::vector<double>{1, 2, 4, 8, 16, 32, 64});
    CHECK(binary_ticks(few, 34) == std::vector<double>{1, 4, 16, 64});
    const PlotAxis f{.lo = 0.435, .hi = 1.15, .pixel_lo = 110, .pixel_hi = 0};
    CHECK(share_ticks(f, 13) == std::vector<double>{0.5, 0.6, 0.7, 0.8, 1});
    const PlotAxis low{.lo = 0.004, .hi = 1.2, .pixel_lo = 110, .pixel_hi = 0};
    CHECK(share_ticks(low, 13) == std::vector<double>{0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1});
  }

  TEST_CASE("a single token count still has a tick of each axis") {
    for (int64_t m : {1, 3, 48, 482, 1'048'576}) {
      const Plot plot{.series = {{.points = {{.m = static_cast<double>(m), .us = 3.3, .f = 0.7}}}}};
      const PlotAxes axes = plot_axes(plot);
      CHECK_FALSE(binary_ticks(axes.m, 34).empty());
      CHECK_FALSE(decade_ticks(axes.us, 13).empty());
      CHECK_FALSE(share_ticks(axes.f, 13).empty());
    }
  }

  TEST_CASE("the picture has a cell a shape, both ceilings, and is well-formed") {
    const std::string svg = plot_svg(sample());
    CHECK(xml_fault(svg) == "");
    CHECK(count(svg, "<g transform") == 2);
    CHECK(count(svg, "class=\"us\"") == 2);
    CHECK(count(svg, "class=\"f\"") == 2);
    CHECK(count(svg, "class=\"baseline\"") == 1);
    CHECK(count(svg, "class=\"read\"") == 1);  // the second shape's are unknown
    CHECK(count(svg, "class=\"tensor\"") == 1);
    CHECK(count(svg, "class=\"roof\"") == 1);
    CHECK(count(svg, ">cuBLASLt bf16<") == 1);
    CHECK(count(svg, ">4096 x 4096<") == 1);
    CHECK(count(svg, ">commit abc<") == 1);
    CHECK(count(svg, "<title>M = 64: 9</title>") == 1);
  }

  TEST_CASE("what is unknown is not drawn and not in the legend") {
    Plot plot = sample();
    for (PlotPoint& point : plot.series[0].points) point = {.m = point.m, .f = point.f};
    const std::string svg = plot_svg(plot);
    CHECK(count(svg, "class=\"us\"") == 1);
    CHECK(count(svg, "cuBLASLt") == 0);
    CHECK(svg.find("nan") == std::string::npos);
    CHECK(svg.find("inf") == std::string::npos);
  }

  TEST_CASE("text from a file cannot become markup") {
    Plot plot = sample();
    plot.title = "<script>\"&'\x01\x1b[2J";
    const std::string svg = plot_svg(plot);
    CHECK(xml_fault(svg) == "");
    CHECK(count(svg, "<script") == 0);
    CHECK(count(svg, "&lt;script&gt;&quot;&amp;") == 1);
  }

  TEST_CASE("no shape, and shapes of absurd size, still make a picture") {
    CHECK(xml_fault(plot_svg({})) == "");
    const Plot absurd{
        .series = {{.points = {{.m = 1, .us = 1e-6, .f = 1e-18}, {.m = 1e6, .us = 1e12, .f = 1e18}},
                    .read_us = 1e12,
                    .us_per_token = 1e-12}}};
    const std::string svg = plot_svg(absurd);
    CHECK(xml_fault(svg) == "");
    CHECK(svg.size() < 100'000);
  }

  TEST_CASE("the checker of this test finds faults") {
    CHECK(xml_fault("<a><b></a>") != "");
    CHECK(xml_fault("<a x=1/>") != "");
    CHECK(xml_fault("<a>&nbsp;</a>") != "");
    CHECK(xml_fault("<a/><b/>") != "");
    CHECK(xml_fault("<a b=\"c\">d &amp; e</a>\n") == "");
  }
}
