// SPDX-License-Identifier: Apache-2.0
// Axes, then the two panels, then the legend, as text.
#include "tuner/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <set>

namespace nvfp4 {
namespace {

constexpr double kWidth = 1040;
constexpr double kHeight = 860;
constexpr double kLeft = 80;
constexpr double kRight = 840;  // the legend stands beyond
constexpr double kUsTop = 70;
constexpr double kUsBottom = 470;
constexpr double kFTop = 530;
constexpr double kFBottom = 780;
constexpr double kLabelGap = 30;  // pixels between two labels of the M axis

// Ten hues of similar weight that stay apart on white, for the ten shapes of the suite.
constexpr std::array<const char*, 10> kColours = {"#4477aa", "#cc3311", "#228833", "#aa3377",
                                                  "#ee7733", "#0099aa", "#997700", "#332288",
                                                  "#dd5599", "#555555"};

const char* colour(size_t index) { return kColours[index % kColours.size()]; }

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
        out += c;
    }
  }
  return out;
}

// "8", "482", "4k" would hide what was measured: numbers stand as they are.
std::string number(double value) { return fmt::format("{:g}", value); }

class Picture {
 public:
  explicit Picture(const Plot& plot) : plot_(plot), axes_(plot_axes(plot)) {}

  std::string text() {
    add(R"(<svg xmlns="http://www.w3.org/2000/svg" width="{0}" height="{1}" viewBox="0 0 {0} {1}" )"
        R"(font-family="sans-serif" font-size="12" fill="#222222">)",
        kWidth, kHeight);
    add(R"(<rect width="{}" height="{}" fill="#ffffff"/>)", kWidth, kHeight);
    label(kLeft, 30, "start", plot_.title, R"( font-size="17" font-weight="bold")");
    label(kLeft, 50, "start", "microseconds a GEMM; dashed: what the card allows");
    label(kLeft, kFTop - 12, "start", "F, the share of it that is reached; dashed: F = 1");
    label((kLeft + kRight) / 2, kFBottom + 36, "middle", "M, tokens");
    label(kLeft, kHeight - 14, "start", plot_.note, R"( font-size="11" fill="#666666")");
    frame_m(kUsTop, kUsBottom);
    frame_m(kFTop, kFBottom);
    frame_us();
    frame_f();
    for (size_t i = 0; i < plot_.series.size(); ++i) draw(plot_.series[i], i);
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
             const char* more = "") {
    add(R"(<text x="{:.1f}" y="{:.1f}" text-anchor="{}"{}>{}</text>)", x, y, anchor, more,
        escaped(text));
  }

  void line(double x1, double y1, double x2, double y2, const char* stroke) {
    add(R"(<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" stroke="{}"/>)", x1, y1, x2, y2,
        stroke);
  }

  void frame_m(double top, double bottom);
  void frame_us();
  void frame_f();
  void draw(const PlotSeries& series, size_t index);
  void draw_ceiling(const PlotSeries& series, size_t index);

  const Plot& plot_;
  PlotAxes axes_;
  std::string svg_;
};

// The Ms that were measured, thinned out where their labels would touch.
void Picture::frame_m(double top, double bottom) {
  add(R"(<rect x="{}" y="{}" width="{}" height="{}" fill="none" stroke="#888888"/>)", kLeft, top,
      kRight - kLeft, bottom - top);
  std::set<double> tokens;
  for (const PlotSeries& series : plot_.series) {
    for (const PlotPoint& point : series.points) tokens.insert(point.m);
  }
  double last = -kLabelGap;
  for (double m : tokens) {
    const double x = axes_.m.at(m);
    line(x, top, x, bottom, "#eeeeee");
    if (x - last < kLabelGap) continue;
    label(x, bottom + 16, "middle", number(m));
    last = x;
  }
}

void Picture::frame_us() {
  for (double decade = std::pow(10, std::floor(std::log10(axes_.us.lo))); decade <= axes_.us.hi;
       decade *= 10) {
    for (double step : {1.0, 2.0, 5.0}) {
      const double value = decade * step;
      if (value < axes_.us.lo * 0.999 || value > axes_.us.hi * 1.001) continue;
      const double y = axes_.us.at(value);
      line(kLeft, y, kRight, y, step == 1 ? "#cccccc" : "#eeeeee");
      label(kLeft - 8, y + 4, "end", number(value));
    }
  }
}

void Picture::frame_f() {
  for (int tenth = 0; tenth * 0.1 <= axes_.f.hi + 1e-9; tenth += 2) {
    const double y = axes_.f.at(tenth * 0.1);
    line(kLeft, y, kRight, y, "#eeeeee");
    label(kLeft - 8, y + 4, "end", fmt::format("{:.1f}", tenth * 0.1));
  }
  add(R"(<polyline class="one" points="{:.1f},{:.1f} {:.1f},{:.1f}" fill="none" stroke="#222222" )"
      R"(stroke-dasharray="6 4"/>)",
      kLeft, axes_.f.at(1), kRight, axes_.f.at(1));
}

// max(read, matrix) as one bent line: flat while the weights decide, rising once the products do.
void Picture::draw_ceiling(const PlotSeries& series, size_t index) {
  std::vector<double> corners = {axes_.m.lo, axes_.m.hi};
  if (series.us_per_token > 0 && series.read_us > 0) {
    const double knee = series.read_us / series.us_per_token;
    if (knee > axes_.m.lo && knee < axes_.m.hi) corners.insert(corners.begin() + 1, knee);
  }
  std::string points;
  for (double m : corners) {
    const double us = std::max(series.read_us, series.us_per_token * m);
    if (us <= 0) return;
    points += fmt::format("{:.1f},{:.1f} ", axes_.m.at(m), axes_.us.at(us));
  }
  add(R"(<polyline class="ceiling" points="{}" fill="none" stroke="{}" stroke-dasharray="4 4" )"
      R"(stroke-opacity="0.6"/>)",
      points, colour(index));
}

void Picture::draw(const PlotSeries& series, size_t index) {
  draw_ceiling(series, index);
  std::string us;
  std::string f;
  std::string dots;
  for (const PlotPoint& point : series.points) {
    const double x = axes_.m.at(point.m);
    const auto dot = [&](const PlotAxis& axis, double value, std::string& points) {
      points += fmt::format("{:.1f},{:.1f} ", x, axis.at(value));
      dots += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\" fill=\"{}\"/>\n", x,
                          axis.at(value), colour(index));
    };
    dot(axes_.us, point.us, us);
    if (point.f > 0) dot(axes_.f, point.f, f);
  }
  for (const std::string* points : {&us, &f}) {
    if (points->empty()) continue;
    add(R"(<polyline class="{}" points="{}" fill="none" stroke="{}" stroke-width="1.8"/>)",
        points == &us ? "us" : "f", *points, colour(index));
  }
  svg_ += dots;
  const double y = kUsTop + 14 + 20 * static_cast<double>(index);
  add(R"(<line x1="{0}" y1="{2:.1f}" x2="{1}" y2="{2:.1f}" stroke="{3}" stroke-width="3"/>)",
      kRight + 16, kRight + 40, y - 4, colour(index));
  label(kRight + 48, y, "start", series.name);
}

}  // namespace

double PlotAxis::at(double value) const {
  const double share = log ? std::log(value / lo) / std::log(hi / lo) : (value - lo) / (hi - lo);
  return pixel_lo + share * (pixel_hi - pixel_lo);
}

PlotAxes plot_axes(const Plot& plot) {
  double m_lo = HUGE_VAL;
  double m_hi = 0;
  double us_lo = HUGE_VAL;
  double us_hi = 0;
  double f_hi = 1.1;
  for (const PlotSeries& series : plot.series) {
    for (const PlotPoint& point : series.points) {
      m_lo = std::min(m_lo, point.m);
      m_hi = std::max(m_hi, point.m);
      us_lo = std::min(us_lo, point.us);
      us_hi = std::max(us_hi, point.us);
      f_hi = std::max(f_hi, point.f * 1.05);
    }
  }
  if (m_hi == 0) m_lo = m_hi = us_lo = us_hi = 1;  // nothing to draw
  // A little air beside the first and the last M, also when they are the same.
  m_lo /= 1.3;
  m_hi *= 1.3;
  for (const PlotSeries& series : plot.series) {
    for (double m : {m_lo, m_hi}) {
      const double roof = std::max(series.read_us, series.us_per_token * m);
      if (roof <= 0) continue;
      us_lo = std::min(us_lo, roof);
      us_hi = std::max(us_hi, roof);
    }
  }
  return {.m = {.lo = m_lo, .hi = m_hi, .pixel_lo = kLeft, .pixel_hi = kRight, .log = true},
          .us = {.lo = us_lo / 1.3,
                 .hi = us_hi * 1.3,
                 .pixel_lo = kUsBottom,
                 .pixel_hi = kUsTop,
                 .log = true},
          .f = {.lo = 0, .hi = f_hi, .pixel_lo = kFBottom, .pixel_hi = kFTop}};
}

std::string plot_svg(const Plot& plot) { return Picture(plot).text(); }

}  // namespace nvfp4
