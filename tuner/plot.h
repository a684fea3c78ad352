// SPDX-License-Identifier: Apache-2.0
// A picture of a suite: time over M for each shape against what the card allows, and below it the
// fraction of that reached. One self-contained SVG without scripts or fonts of its own.
#pragma once

#include <string>
#include <vector>

namespace nvfp4 {

/// From values to pixels along one axis.
struct PlotAxis {
  double lo = 0;
  double hi = 1;
  double pixel_lo = 0;  ///< of lo; above pixel_hi on a vertical axis
  double pixel_hi = 1;
  bool log = false;

  double at(double value) const;
};

struct PlotPoint {
  double m = 0;
  double us = 0;
  double f = 0;  ///< 0: unknown, not drawn
};

/// One shape.
struct PlotSeries {
  std::string name;
  std::vector<PlotPoint> points;  ///< ascending by m, values positive
  double read_us = 0;             ///< per-launch read ceiling; 0: unknown
  double us_per_token = 0;        ///< matrix-rate ceiling; 0: unknown
};

struct Plot {
  std::string title;
  std::string note;
  std::vector<PlotSeries> series;
};

/// The axes that the picture of `plot` uses.
struct PlotAxes {
  PlotAxis m;   ///< shared by both panels, log
  PlotAxis us;  ///< upper panel, log
  PlotAxis f;   ///< lower panel, from 0
};
PlotAxes plot_axes(const Plot& plot);

std::string plot_svg(const Plot& plot);

}  // namespace nvfp4
