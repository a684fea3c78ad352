// SPDX-License-Identifier: Apache-2.0
// A picture of a suite: for each shape the time over M against what the card allows, and below it
// the fraction of that reached, F. One self-contained SVG without scripts or fonts of its own.
#pragma once

#include <string>
#include <vector>

namespace nvfp4 {

struct PlotPoint {
  double m = 0;
  double us = 0;  ///< 0: unknown, not drawn; the rest likewise
  double f = 0;
  double us_baseline = 0;  ///< cuBLASLt's bf16 product
};

/// One shape.
struct PlotSeries {
  std::string name;
  std::vector<PlotPoint> points = {};  ///< ascending by m
  double read_us = 0;                  ///< per-launch read ceiling; 0: unknown
  double us_per_token = 0;             ///< tensor-core ceiling; 0: unknown
};

struct Plot {
  std::string title;
  std::vector<std::string> notes;  ///< small lines below
  std::vector<PlotSeries> series;
};

/// From values to pixels along one logarithmic axis.
struct PlotAxis {
  double lo = 1;
  double hi = 10;
  double pixel_lo = 0;  ///< of lo; above pixel_hi on a vertical axis
  double pixel_hi = 1;

  double at(double value) const;
};

/// The axes that all shapes share, in the pixels of one shape's panels.
struct PlotAxes {
  PlotAxis m;
  PlotAxis us;
  PlotAxis f;
};
PlotAxes plot_axes(const Plot& plot);

/// Values to label on an axis: 1, 2, 5 times powers of ten, or powers of ten where the former would
/// stand closer than `gap` pixels.
std::vector<double> decade_ticks(const PlotAxis& axis, double gap);

/// Likewise powers of two, or of four, eight, ..
std::vector<double> binary_ticks(const PlotAxis& axis, double gap);

/// For shares of 1 that seldom span a decade: tenths, as many as have room.
std::vector<double> share_ticks(const PlotAxis& axis, double gap);

std::string plot_svg(const Plot& plot);

}  // namespace nvfp4
