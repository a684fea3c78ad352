// SPDX-License-Identifier: Apache-2.0
// One cell a shape, two panels a cell: ten shapes in one panel would be twenty lines on top of each
// other. The shaded area under the roof is where no time can be, so its labels never meet data.
#include "tuner/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numbers>
#include <optional>

namespace nvfp4 {
namespace {

constexpr size_t kColumns = 5;  // of cells
constexpr double kLeft = 64;    // of the first column, for tick labels
constexpr double kTop = 116;    // of the first row, for title and legend
constexpr double kBottom = 48;  // for the notes
constexpr double kPanelWidth = 230;
constexpr double kGap = 22;  // between two columns
constexpr double kUsHeight = 220;
constexpr double kFHeight = 110;
constexpr double kFTop = kUsHeight + 12;
constexpr double kCellHeight = kFTop + kFHeight + 76;  // with tick labels and the next cell's name
constexpr double kLeastWidth = 720;                    // of title and legend
constexpr double kTickGap = 13;   // between tick labels that stand above each other
constexpr double kTokenGap = 34;  // and side by side

// Two of Okabe and Ito's colours, which stay apart for the colour-blind and in grey.
constexpr char kOurs[] = "#0072b2";
constexpr char kBaseline[] = "#d55e00";
constexpr char kInk[] = "#222222";
constexpr char kPale[] = "#5a5a5a";
constexpr char kGrid[] = "#e4e4e4";
constexpr char kRoofArea[] = "#f0f0ee";
constexpr char kReadDash[] = "7 3";
constexpr char kTensorDash[] = "2 2.5";

std::string escaped(const std::string& text) {
  std::string out;
  for (char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;  // XML has no others
    }
  }
  return out;
}

class Picture {
 public:
  explicit Picture(const Plot& plot) : plot_(plot), axes_(plot_axes(plot)) {}

  std::string text() {
    const size_t count = std::max<size_t>(plot_.series.size(), 1);
    const auto columns = static_cast<double>(std::min(count, kColumns));
    const auto rows = static_cast<double>((count + kColumns - 1) / kColumns);
    const double width = std::max(kLeastWidth, kLeft + columns * (kPanelWidth + kGap) + 8);
    const double height = kTop + rows * kCellHeight + kBottom - 28;
    add(R"(<svg xmlns="http://www.w3.org/2000/svg" width="{0}" height="{1}" viewBox="0 0 {0} {1}" )"
        R"(font-family="Helvetica, Arial, sans-serif" font-size="12" fill="{2}">)",
        width, height, kInk);
    add(R"(<rect width="{}" height="{}" fill="#ffffff"/>)", width, height);
    label(16, 32, "start", plot_.title, R"( font-size="19" font-weight="bold")");
    legend();
    for (size_t i = 0; i < plot_.series.size(); ++i) cell(plot_.series[i], i);
    for (size_t i = 0; i < plot_.notes.size(); ++i) {
      const double y = height - 16 * static_cast<double>(plot_.notes.size() - i);
      label(16, y, "start", plot_.notes[i], R"( font-size="11" fill="#5a5a5a")");
    }
    svg_ += "</svg>\n";
    return std::move(svg_);
  }

 private:
  template <class... Values>
  void add(fmt::format_string<Values...> format, Values&&... values) {
    fmt::format_to(std::back_inserter(svg_), format, std::forward<Values>(values)...);
    svg_ += '\n';
  }

  void label(double x, double y, const char* anchor, const std::string& text,
             const std::string& more = "") {
    add(R"(<text x="{:.1f}" y="{:.1f}" text-anchor="{}"{}>{}</text>)", x, y, anchor, more,
        escaped(text));
  }

  void line(double x1, double y1, double x2, double y2, const char* stroke, const char* more = "") {
    add(R"(<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" stroke="{}"{}/>)", x1, y1, x2, y2,
        stroke, more);
  }

  void dashed(const char* name, double x1, double y1, double x2, double y2, const char* dash) {
    line(
        x1, y1, x2, y2, kPale,
        fmt::format(R"( class="{}" stroke-width="1.4" stroke-dasharray="{}")", name, dash).c_str());
  }

  // Flat up to the knee, straight from there to the right edge; in a panel's pixels.
  struct Roof {
    double knee_x;
    double knee_y;
    double right_y;
  };

  bool any_baseline() const;
  void legend();
  void cell(const PlotSeries& series, size_t index);
  void frame(double top, double height);
  void grid_m(double top, double height, bool labels);
  void grid(const PlotAxis& axis, const std::vector<double>& ticks, double top, bool labels);
  std::optional<Roof> roof_of(const PlotSeries& series) const;
  void draw_ceilings(const Roof& roof);
  void curve(const PlotSeries& series, const char* name, double PlotPoint::*value,
             const PlotAxis& axis, double top, const char* colour);

  const Plot& plot_;
  PlotAxes axes_;
  std::string svg_;
};

bool Picture::any_baseline() const {
  for (const PlotSeries& series : plot_.series) {
    for (const PlotPoint& point : series.points) {
      if (point.us_baseline > 0) return true;
    }
  }
  return false;
}

void Picture::legend() {
  constexpr double y = 62;
  double x = 16;
  const auto entry = [&](const std::string& text, double width) {
    label(x + 32, y + 4, "start", text);
    x += width;
  };
  line(x, y, x + 26, y, kOurs, R"( stroke-width="2")");
  add(R"(<circle cx="{}" cy="{}" r="3.5" fill="{}"/>)", x + 13, y, kOurs);
  entry("NVFP4 W4A16", 136);
  if (any_baseline()) {
    line(x, y, x + 26, y, kBaseline, R"( stroke-width="2")");
    add(R"(<rect x="{}" y="{}" width="6" height="6" fill="{}"/>)", x + 10, y - 3, kBaseline);
    entry("cuBLASLt bf16", 140);
  }
  dashed("key", x, y, x + 26, y, kReadDash);
  entry("read ceiling", 124);
  dashed("key", x, y, x + 26, y, kTensorDash);
  entry("tensor-core ceiling", 160);
  label(x + 8, y + 4, "start", "shaded: beyond the card", fmt::format(" fill=\"{}\"", kPale));
}

void Picture::cell(const PlotSeries& series, size_t index) {
  const double x = kLeft + static_cast<double>(index % kColumns) * (kPanelWidth + kGap);
  const double y = kTop + static_cast<double>(index / kColumns) * kCellHeight;
  const bool first = index % kColumns == 0;
  add(R"x(<g transform="translate({},{})">)x", x, y);
  label(0, -8, "start", series.name, R"( font-size="13" font-weight="bold")");
  const std::optional<Roof> roof = roof_of(series);
  if (roof) {
    add(R"(<polygon class="roof" points="0,{0} 0,{2:.1f} {1:.1f},{2:.1f} {3},{4:.1f} {3},{0}" )"
        R"(fill="{5}"/>)",
        kUsHeight, roof->knee_x, roof->knee_y, kPanelWidth, roof->right_y, kRoofArea);
  }
  grid_m(0, kUsHeight, false);
  grid(axes_.us, decade_ticks(axes_.us, kTickGap), 0, first);
  grid_m(kFTop, kFHeight, true);
  grid(axes_.f, share_ticks(axes_.f, kTickGap), kFTop, first);
  // F = 1: as fast as the card can.
  line(0, kFTop + axes_.f.at(1), kPanelWidth, kFTop + axes_.f.at(1), kPale,
       R"( class="one" stroke-width="1.4")");
  frame(0, kUsHeight);
  frame(kFTop, kFHeight);
  if (first) {
    const auto upright = [](double x, double y) {
      return fmt::format(R"x( transform="rotate(-90 {:.1f} {:.1f})")x", x, y);
    };
    label(-44, kUsHeight / 2, "middle", "microseconds", upright(-44, kUsHeight / 2));
    label(-44, kFTop + kFHeight / 2, "middle", "F", upright(-44, kFTop + kFHeight / 2));
  }
  label(kPanelWidth / 2, kFTop + kFHeight + 34, "middle", "M, tokens");
  if (roof) draw_ceilings(*roof);
  curve(series, "baseline", &PlotPoint::us_baseline, axes_.us, 0, kBaseline);
  curve(series, "us", &PlotPoint::us, axes_.us, 0, kOurs);
  curve(series, "f", &PlotPoint::f, axes_.f, kFTop, kOurs);
  svg_ += "</g>\n";
}

void Picture::frame(double top, double height) {
  add(R"(<rect y="{}" width="{}" height="{}" fill="none" stroke="#888888"/>)", top, kPanelWidth,
      height);
}

void Picture::grid_m(double top, double height, bool labels) {
  for (double m : binary_ticks(axes_.m, kTokenGap)) {
    const double x = axes_.m.at(m);
    line(x, top, x, top + height, kGrid);
    if (labels) label(x, top + height + 16, "middle", fmt::format("{:.7g}", m));
  }
}

void Picture::grid(const PlotAxis& axis, const std::vector<double>& ticks, double top,
                   bool labels) {
  for (double value : ticks) {
    const double y = top + axis.at(value);
    line(0, y, kPanelWidth, y, kGrid);
    if (labels) label(-7, y + 4, "end", fmt::format("{:.7g}", value));
  }
}

// max(read, tensor): flat while the weights decide, rising once the products do.
std::optional<Picture::Roof> Picture::roof_of(const PlotSeries& series) const {
  if (series.read_us <= 0 || series.us_per_token <= 0) return std::nullopt;
  const PlotAxis& m = axes_.m;
  const auto y = [&](double tokens) {
    return axes_.us.at(std::max(series.read_us, series.us_per_token * tokens));
  };
  const double knee = std::clamp(series.read_us / series.us_per_token, m.lo, m.hi);
  return Roof{.knee_x = m.at(knee), .knee_y = y(knee), .right_y = y(m.hi)};
}

void Picture::draw_ceilings(const Roof& roof) {
  const std::string small = fmt::format(R"( font-size="10.5" fill="{}")", kPale);
  if (roof.knee_x > 0) dashed("read", 0, roof.knee_y, roof.knee_x, roof.knee_y, kReadDash);
  if (roof.knee_x > 96) label(6, roof.knee_y + 13, "start", "read ceiling", small);
  const double run = kPanelWidth - roof.knee_x;
  if (run <= 0) return;
  dashed("tensor", roof.knee_x, roof.knee_y, kPanelWidth, roof.right_y, kTensorDash);
  if (run < 90) return;
  // Along the line and below it, its end a little before the panel's.
  const double slope = (roof.knee_y - roof.right_y) / run;
  const double x = kPanelWidth - 4;
  const double y = roof.right_y + 4 * slope + 15 * std::hypot(1, slope);
  label(x, y, "end", "tensor ceiling",
        small + fmt::format(R"x( transform="rotate({:.1f} {:.1f} {:.1f})")x",
                            -std::atan(slope) * 180 / std::numbers::pi, x, y));
}

void Picture::curve(const PlotSeries& series, const char* name, double PlotPoint::*value,
                    const PlotAxis& axis, double top, const char* colour) {
  std::string points;
  std::string marks;
  for (const PlotPoint& point : series.points) {
    if (point.*value <= 0) continue;
    const double x = axes_.m.at(point.m);
    const double y = top + axis.at(point.*value);
    points += fmt::format("{:.1f},{:.1f} ", x, y);
    // A pointer that rests on a mark shows its numbers.
    const std::string title = fmt::format("<title>M = {}: {:.4g}</title>", point.m, point.*value);
    marks +=
        colour == kBaseline
            ? fmt::format(R"(<rect x="{:.1f}" y="{:.1f}" width="6" height="6" fill="{}">{}</rect>)",
                          x - 3, y - 3, colour, title)
            : fmt::format(R"(<circle cx="{:.1f}" cy="{:.1f}" r="3.5" fill="{}">{}</circle>)", x, y,
                          colour, title);
    marks += '\n';
  }
  if (points.empty()) return;
  add(R"(<polyline class="{}" points="{}" fill="none" stroke="{}" stroke-width="2"/>)", name,
      points, colour);
  svg_ += marks;
}

}  // namespace

double PlotAxis::at(double value) const {
  return pixel_lo + std::log(value / lo) / std::log(hi / lo) * (pixel_hi - pixel_lo);
}

PlotAxes plot_axes(const Plot& plot) {
  // Beside the first and the last value: even when they are the same, a power of two and one of 1,
  // 2, 5 then lie between.
  constexpr double kAir = 1.6;
  constexpr double kRoofAir = 1.2;  // more below the roof, for its label
  struct Range {
    double lo = HUGE_VAL;
    double hi = 0;
    void add(double value) {
      if (value <= 0) return;
      lo = std::min(lo, value);
      hi = std::max(hi, value);
    }
  };
  Range m;
  Range us;
  Range f;
  for (const PlotSeries& series : plot.series) {
    for (const PlotPoint& point : series.points) {
      m.add(point.m);
      us.add(point.us);
      us.add(point.us_baseline);
      us.add(std::max(series.read_us, series.us_per_token * point.m) / kRoofAir);
      f.add(point.f);
    }
  }
  // Nothing to draw.
  for (Range* range : {&m, &us}) {
    if (range->hi == 0) range->add(1);
  }
  // Half is low and 1 is full, whatever else was reached.
  for (double value : {0.5, 1.0}) f.add(value);
  return {.m = {m.lo / kAir, m.hi * kAir, 0, kPanelWidth},
          .us = {us.lo / kAir, us.hi * kAir, kUsHeight, 0},
          .f = {f.lo / 1.15, f.hi * 1.15, kFHeight, 0}};
}

std::vector<double> decade_ticks(const PlotAxis& axis, double gap) {
  const double decade = std::abs(axis.pixel_hi - axis.pixel_lo) / std::log10(axis.hi / axis.lo);
  const bool fine = decade * std::log10(2) >= gap;
  // Where even powers of ten are too close, only some of them.
  const int stride = std::max(1, static_cast<int>(std::ceil(gap / decade)));
  std::vector<double> ticks;
  const int last = static_cast<int>(std::ceil(std::log10(axis.hi)));
  for (int e = static_cast<int>(std::floor(std::log10(axis.lo))); e <= last; ++e) {
    for (int step : {1, 2, 5}) {
      const double value = step * std::pow(10, e);
      const bool wanted = fine || (step == 1 && e % stride == 0);
      if (wanted && value >= axis.lo && value <= axis.hi) ticks.push_back(value);
    }
  }
  return ticks;
}

std::vector<double> binary_ticks(const PlotAxis& axis, double gap) {
  const double octave = std::abs(axis.pixel_hi - axis.pixel_lo) / std::log2(axis.hi / axis.lo);
  const int stride = std::max(1, static_cast<int>(std::ceil(gap / octave)));
  std::vector<double> ticks;
  for (int e = 0; std::ldexp(1, e) <= axis.hi; e += stride) {
    if (std::ldexp(1, e) >= axis.lo) ticks.push_back(std::ldexp(1, e));
  }
  return ticks;
}

std::vector<double> share_ticks(const PlotAxis& axis, double gap) {
  if (axis.lo < 0.1) return decade_ticks(axis, gap);
  std::vector<double> ticks;
  double last = HUGE_VAL;
  // From 1, which is the one that matters, in both directions.
  for (int tenth = 10; tenth >= 1; --tenth) {
    const double value = tenth / 10.0;
    if (value < axis.lo || std::abs(axis.at(value) - last) < gap) continue;
    last = axis.at(value);
    ticks.insert(ticks.begin(), value);
  }
  for (double value = 2; value <= axis.hi; value *= 2) ticks.push_back(value);
  return ticks;
}

std::string plot_svg(const Plot& plot) { return Picture(plot).text(); }

}  // namespace nvfp4
