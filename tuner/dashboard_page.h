// SPDX-License-Identifier: Apache-2.0
// The page that draws a database, built from dashboard/ and carried in the program.
#pragma once

#include <string>
#include <string_view>

namespace nvfp4 {

/// The page without data: dashboard/dist/index.html, byte for byte.
std::string_view dashboard_page();

/// The page with a database in it. `name` is what the page calls it, and may hold any text.
std::string dashboard_page(std::string_view database, std::string_view name);

/// True for a page of any version that is ours to replace.
bool is_dashboard_page(std::string_view html);

}  // namespace nvfp4
