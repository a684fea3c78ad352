// SPDX-License-Identifier: Apache-2.0
// Lookup from the innermost scope outwards.
#include "runtime/emulator/register_scopes.h"

namespace nvfp4::emulator {

int RegisterScopes::find(std::string_view name) const {
  size_t prefix = name.size();
  while (prefix > 0 && name[prefix - 1] >= '0' && name[prefix - 1] <= '9') --prefix;
  for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
    if (const auto found = scope->names.find(name);
        found != scope->names.end() && found->second.count == kSingle) {
      return found->second.first;
    }
    if (prefix == name.size() || name.size() - prefix > 7) continue;
    const auto found = scope->names.find(name.substr(0, prefix));
    if (found == scope->names.end()) continue;
    int number = 0;
    for (char c : name.substr(prefix)) number = number * 10 + (c - '0');
    if (number < found->second.count) return found->second.first + number;
  }
  return -1;
}

}  // namespace nvfp4::emulator
