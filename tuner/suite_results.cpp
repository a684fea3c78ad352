// SPDX-License-Identifier: Apache-2.0
// Figures of a row, and slices put together.
#include "tuner/suite_results.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

namespace nvfp4 {
namespace {

std::optional<double> ratio(double value, const std::optional<double>& by) {
  return by && value > 0 ? std::optional(value / *by) : std::nullopt;
}

void require_same(std::string_view what, const std::string& is, const std::string& wanted) {
  if (is != wanted) throw MergeError(fmt::format("its {} is '{}', not '{}'", what, is, wanted));
}

// "a" and "b" become "a, b"; what is there already is not said twice.
void append_once(std::string& list, const std::string& text) {
  if (text.empty() || list == text || list.starts_with(text + ", ") ||
      list.ends_with(", " + text) || list.find(", " + text + ", ") != std::string::npos) {
    return;
  }
  list += list.empty() ? text : ", " + text;
}

// A ceiling is the best that the card was seen to do, so of two measurements the better one stays:
// the higher rate, the shorter read. Slices differ by a few tenths of a percent.
void merge(SuiteCeilings& ceilings, const SuiteCeilings& later) {
  ceilings.read_gbps = std::max(ceilings.read_gbps, later.read_gbps);
  for (const auto& [bytes, us] : later.read_us) {
    const auto [place, added] = ceilings.read_us.emplace(bytes, us);
    if (!added) place->second = std::min(place->second, us);
  }
  ceilings.assumed_tflops = std::max(ceilings.assumed_tflops, later.assumed_tflops);
  const bool better = later.bf16_tflops && later.bf16_tflops > ceilings.bf16_tflops.value_or(0);
  if (better) ceilings.bf16_tflops = later.bf16_tflops;
  if (better || ceilings.bf16_source.empty()) ceilings.bf16_source = later.bf16_source;
}

}  // namespace

const SuiteRow* SuiteResults::find(int64_t n, int64_t k, int64_t m, Activation act) const {
  const auto found = std::find_if(rows.begin(), rows.end(), [&](const SuiteRow& row) {
    return row.n == n && row.k == k && row.m == m && row.act == act;
  });
  return found == rows.end() ? nullptr : &*found;
}

SuiteFigures figures(const SuiteCeilings& ceilings, const SuiteRow& row) {
  const int64_t packed = packed_bytes(row.n, row.k);
  const auto bytes = static_cast<double>(packed);
  const double flops =
      2.0 * static_cast<double>(row.m) * static_cast<double>(row.n) * static_cast<double>(row.k);
  const std::optional<double> us = row.preferred().us;
  SuiteFigures figures{.gbps = ratio(bytes * 1e-3, us),
                       .tflops = ratio(flops * 1e-6, us),
                       .ratio_cublas = row.us_cublas ? ratio(*row.us_cublas, us) : std::nullopt};
  if (figures.gbps && ceilings.read_gbps > 0) {
    figures.stream_fraction = *figures.gbps / ceilings.read_gbps;
  }
  const auto read = ceilings.read_us.find(packed);
  if (read == ceilings.read_us.end() || ceilings.tflops() <= 0) return figures;
  figures.roof_us = std::max(read->second, flops * 1e-6 / ceilings.tflops());
  figures.f = ratio(*figures.roof_us, us);
  figures.f_no_pdl = ratio(*figures.roof_us, row.graph.us);
  return figures;
}

void merge(SuiteResults& results, const SuiteResults& later) {
  require_same("card", later.card, results.card);
  require_same("driver", later.driver, results.driver);
  const auto provenance = [](const SuiteResults& r) {
    return r.modelled ? "modelled" : "measured";
  };
  require_same("provenance", provenance(later), provenance(results));
  merge(results.ceilings, later.ceilings);
  append_once(results.nvrtc, later.nvrtc);
  append_once(results.commit, later.commit);
  append_once(results.baseline, later.baseline);
  if (!results.device) results.device = later.device;
  if (results.toolchain.template_digest != later.toolchain.template_digest) {
    results.toolchain.template_digest.clear();  // the rows come of two
  }
  results.date = std::max(results.date, later.date);  // ISO 8601 sorts by time
  results.complete = later.complete;  // the last slice knows whether it was the last
  for (const SuiteRow& row : later.rows) {
    if (const SuiteRow* old = results.find(row.n, row.k, row.m, row.act)) {
      results.rows[static_cast<size_t>(old - results.rows.data())] = row;
      continue;
    }
    // Behind the last row of its shape that has fewer tokens.
    auto place = results.rows.end();
    for (auto it = results.rows.begin(); it != results.rows.end(); ++it) {
      if (it->n != row.n || it->k != row.k || it->act != row.act) continue;
      if (it->m > row.m) {
        place = it;
        break;
      }
      place = it + 1;
    }
    results.rows.insert(place, row);
  }
}

}  // namespace nvfp4
