// SPDX-License-Identifier: Apache-2.0
// Where files lie that are installed beside the program or the library.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace nvfp4 {

/// Folders that hold the code of this function (an executable or a shared library) and the program.
std::vector<std::filesystem::path> own_folders();

/// The tuning databases that were shipped: *.db, sorted, in the folder that NVFP4_SHIPPED names, or
/// in share/nvfp4 beside the program or the library, or beside their folder. None is no error.
std::vector<std::string> shipped_databases();

}  // namespace nvfp4
