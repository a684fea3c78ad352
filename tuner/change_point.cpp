// SPDX-License-Identifier: Apache-2.0
// Splits windows of 30 runs, tests each split between its neighbours, and drops the weakest until
// all that are left hold. Everything is done on logarithms, where 2 % is the same shift at any
// time.
#include "tuner/change_point.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>

#include "tuner/e_divisive.h"
#include "tuner/significance.h"

namespace nvfp4 {
namespace {

using Values = std::span<const double>;

constexpr size_t kFewestRuns = 4;      // of a history that can be tested
constexpr size_t kFewest = 4;          // on each side of a step, or half of a shorter history
constexpr size_t kWindow = 30;         // runs; a step is judged by at most so many on each side
constexpr double kWeakP = 1e-2;        // of a split worth splitting further
constexpr double kStrictP = 1e-3;      // of a step, corrected for the places tried
constexpr double kFalseRate = 0.02;    // of the steps reported over all series of one analysis
const double kLeast = std::log(1.01);  // of a step
// Times are read to about this: what repeats more exactly is no evidence of less noise.
constexpr double kResolution = 5e-4;
// With fewer runs their spread says too little about which of them are outliers.
constexpr size_t kFewestForOutliers = 12;

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return *middle;
  return (*middle + *std::max_element(values.begin(), middle)) / 2;
}

// A difference of means and its standard error, for parts of equal noise.
struct Shift {
  double size = 0;
  double error = 0;
};

Shift shift(Values before, Values after) {
  double squares = 0;
  const auto mean = [&](Values values) {
    double sum = 0;
    for (double value : values) sum += value;
    const double mean = sum / static_cast<double>(values.size());
    for (double value : values) squares += (value - mean) * (value - mean);
    return mean;
  };
  const auto n = static_cast<double>(before.size());
  const auto m = static_cast<double>(after.size());
  const double size = mean(after) - mean(before);
  const double deviation = std::max(kResolution, std::sqrt(squares / (n + m - 2)));
  return {.size = size, .error = deviation * std::sqrt(1 / n + 1 / m)};
}

// Two neighbouring parts of a series. What lies further from its part's median than three
// deviations is an outlier: it must neither make a step nor hide one.
class Sides {
 public:
  Sides(Values before, Values after) {
    parts_[0].values = before;
    parts_[1].values = after;
    std::vector<double> distances;
    for (Part& part : parts_) {
      part.center = median({part.values.begin(), part.values.end()});
      for (double value : part.values) distances.push_back(std::abs(value - part.center));
    }
    if (distances.size() >= kFewestForOutliers) reach_ = 3 * 1.4826 * median(std::move(distances));
  }

  double reach() const { return reach_; }
  double size() const { return parts_[1].center - parts_[0].center; }

  // Student's t-test, outliers pulled in.
  double p_value() const {
    std::vector<double> pulled[2];
    for (int i = 0; i < 2; ++i) {
      const auto& [values, center] = parts_[i];
      for (double value : values) {
        pulled[i].push_back(std::clamp(value, center - reach_, center + reach_));
      }
    }
    const Shift seen = shift(pulled[0], pulled[1]);
    return student_p(seen.size / seen.error,
                     static_cast<int>(pulled[0].size() + pulled[1].size()) - 2);
  }

  // Whether all but a fifth of each part lie on its own side of the middle.
  bool lasting() const {
    const double middle = (parts_[0].center + parts_[1].center) / 2;
    for (const auto& [values, center] : parts_) {
      const auto strays = std::count_if(values.begin(), values.end(), [&](double value) {
        return (value > middle) != (center > middle);
      });
      if (static_cast<size_t>(strays) > values.size() / 5) return false;
    }
    return true;
  }

  // What the two medians leave unexplained, an outlier counting no more than `reach`.
  double rest(double reach) const {
    double sum = 0;
    for (const auto& [values, center] : parts_) {
      for (double value : values) sum += std::min(reach, std::abs(value - center));
    }
    return sum;
  }

  // Whether `before` and `after`, the same runs in another space, exclude a step of this direction
  // that is worth reporting. A run that is an outlier here is left out there.
  bool excluded_by(Values before, Values after) const {
    const Values other[2] = {before, after};
    std::vector<double> usual[2];
    for (int i = 0; i < 2; ++i) {
      const auto& [values, center] = parts_[i];
      for (size_t run = 0; run < values.size(); ++run) {
        if (std::abs(values[run] - center) <= reach_) usual[i].push_back(other[i][run]);
      }
      if (usual[i].size() < 2) return false;
    }
    const Shift seen = shift(usual[0], usual[1]);
    return std::copysign(1.0, size()) * seen.size + 2.58 * seen.error < kLeast;  // 99 %
  }

 private:
  struct Part {
    Values values;
    double center = 0;
  };
  Part parts_[2];
  double reach_ = std::numeric_limits<double>::infinity();
};

// A series as times, and as clock cycles where every clock is known. A kernel that waits for memory
// is steady in time, one that computes is steady in cycles: `quiet` is the one in which neighbours
// differ less, where a small step can be seen.
struct Spaces {
  std::vector<double> quiet;
  std::vector<double> other;  // empty: unknown

  explicit Spaces(std::span<const SeriesPoint> series) {
    const bool clocked = std::all_of(series.begin(), series.end(),
                                     [](const SeriesPoint& p) { return p.clock_mhz > 0; });
    for (const SeriesPoint& point : series) {
      quiet.push_back(std::log(point.us));
      if (clocked) other.push_back(std::log(point.us * point.clock_mhz));
    }
    if (clocked && roughness(other) < roughness(quiet)) std::swap(quiet, other);
  }

 private:
  static double roughness(Values values) {
    double sum = 0;
    for (size_t i = 1; i < values.size(); ++i) sum += std::abs(values[i] - values[i - 1]);
    return sum;
  }
};

class Search {
 public:
  explicit Search(const Spaces& spaces)
      : values_(spaces.quiet),
        other_(spaces.other),
        fewest_(std::min(kFewest, values_.size() / 2)) {}

  std::vector<Step> run() {
    for (size_t begin = 0;; begin += kWindow / 2) {
      const bool last = begin + kWindow >= values_.size();
      if (last && values_.size() > kWindow) begin = values_.size() - kWindow;
      const size_t count = std::min(kWindow, values_.size() - begin);
      divide(EnergyDistances(values_.subspan(begin, count)), begin, 0, count);
      if (last) break;
    }
    return prune();
  }

 private:
  Sides sides(size_t begin, size_t at, size_t end) const {
    return {values_.subspan(begin, at - begin), values_.subspan(at, end - at)};
  }

  // Splits [begin, end) of a window that starts at `offset`, as long as the parts differ.
  void divide(const EnergyDistances& window, size_t offset, size_t begin, size_t end) {
    const auto split = window.best_split(begin, end, fewest_);
    if (!split) return;
    const size_t at = refined(offset + begin, offset + split->at, offset + split->end);
    const double p = sides(offset + begin, at, offset + split->end).p_value();
    if (p > kWeakP) return;
    propose(at, p);
    divide(window, offset, begin, at - offset);
    divide(window, offset, at - offset, end);
  }

  // The place within two runs that leaves least unexplained: an outlier just before a step looks
  // like its first run.
  size_t refined(size_t begin, size_t at, size_t end) const {
    const double reach = sides(begin, at, end).reach();
    const size_t first = std::max(begin + fewest_, at - std::min<size_t>(at, 2));
    size_t best = at;
    double least = sides(begin, at, end).rest(reach);
    for (size_t place = first; place <= std::min(at + 2, end - fewest_); ++place) {
      const double rest = sides(begin, place, end).rest(reach);
      if (rest >= least) continue;
      least = rest;
      best = place;
    }
    return best;
  }

  // Windows overlap, so one step may be found at two places next to each other.
  void propose(size_t at, double p) {
    for (auto near = weak_.begin(); near != weak_.end();) {
      const size_t distance = std::max(near->first, at) - std::min(near->first, at);
      if (distance >= fewest_) {
        ++near;
      } else if (near->second <= p) {
        return;
      } else {
        near = weak_.erase(near);
      }
    }
    weak_.emplace(at, p);
  }

  // The step at `at` between its neighbours; its p-value is 1 when it is none.
  Step judge(size_t previous, size_t at, size_t next) const {
    Step step{.at = at};
    const size_t begin = std::max(previous, at - std::min(at, kWindow));
    const size_t end = std::min(next, at + kWindow);
    if (at - begin < fewest_ || end - at < fewest_) return step;
    const Sides judged = sides(begin, at, end);
    step.ratio = std::exp(judged.size());
    if (std::abs(judged.size()) < kLeast || !judged.lasting()) return step;
    // The other space need not see the step, but must not exclude it.
    if (!other_.empty() &&
        judged.excluded_by(other_.subspan(begin, at - begin), other_.subspan(at, end - at))) {
      return step;
    }
    const auto places = static_cast<double>(values_.size() - 2 * fewest_ + 1);
    step.p_value = std::min(1.0, judged.p_value() * places);
    return step;
  }

  // Drops the least certain step until every one holds between the neighbours it has left.
  std::vector<Step> prune() const {
    std::vector<size_t> places;
    for (const auto& [at, p] : weak_) places.push_back(at);
    while (!places.empty()) {
      std::vector<Step> steps;
      for (size_t i = 0; i < places.size(); ++i) {
        steps.push_back(judge(i == 0 ? 0 : places[i - 1], places[i],
                              i + 1 == places.size() ? values_.size() : places[i + 1]));
      }
      const auto worst =
          std::max_element(steps.begin(), steps.end(),
                           [](const Step& a, const Step& b) { return a.p_value < b.p_value; });
      if (worst->p_value <= kStrictP) return steps;
      places.erase(places.begin() + (worst - steps.begin()));
    }
    return {};
  }

  Values values_;
  Values other_;
  size_t fewest_;                  // runs on each side of a step
  std::map<size_t, double> weak_;  // place and p-value
};

}  // namespace

SeriesSteps find_steps(std::span<const SeriesPoint> series) {
  if (series.size() < kFewestRuns) return {};
  const Spaces spaces(series);
  return {.tested = true, .steps = Search(spaces).run()};
}

void control_false_discoveries(std::span<SeriesSteps> family) {
  std::vector<double> p_values;
  size_t tests = 0;
  for (const SeriesSteps& series : family) {
    if (!series.tested) continue;
    tests += std::max<size_t>(1, series.steps.size());
    for (const Step& step : series.steps) p_values.push_back(step.p_value);
  }
  const std::vector<bool> believed = discoveries(p_values, tests, kFalseRate);
  size_t next = 0;
  for (SeriesSteps& series : family) {
    std::erase_if(series.steps, [&](const Step&) { return !believed[next++]; });
  }
}

}  // namespace nvfp4
