// SPDX-License-Identifier: Apache-2.0
// The page that draws a database, built from dashboard/ and carried in the program.
#pragma once

#include <string>
#include <string_view>

namespace nvfp4 {

/// The page without data: dashboard/dist/index.html, byte for byte.
std::string_view dashboard_page();

/// What goes into the page.
struct DashboardData {
  std::string_view data;    ///< what dashboard_data() made
  std::string_view name;    ///< what the page calls it; may hold any text
  std::string_view models;  ///< JSON: [{"name", "gemms": [{"n", "k", "experts", "count"}]}]
};
std::string dashboard_page(const DashboardData& data);

/// True for a page of any version that is ours to replace.
bool is_dashboard_page(std::string_view html);

}  // namespace nvfp4
