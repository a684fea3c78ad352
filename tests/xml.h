// SPDX-License-Identifier: Apache-2.0
// Whether a text is well-formed XML of the plain kind that we write: elements, double-quoted
// attributes, character data and the predefined entities.
#pragma once

#include <cctype>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nvfp4 {

/// Empty when `xml` is well-formed, else what is wrong with it.
inline std::string xml_fault(std::string_view xml) {
  std::vector<std::string_view> open;
  size_t i = 0;
  bool root_seen = false;
  const auto name = [&] {
    const size_t begin = i;
    while (i < xml.size() && (std::isalnum(static_cast<unsigned char>(xml[i])) || xml[i] == '-'))
      ++i;
    return xml.substr(begin, i - begin);
  };
  // Character data up to `end`, with every & the start of an entity.
  const auto data = [&](char end) {
    for (; i < xml.size() && xml[i] != end; ++i) {
      const auto byte = static_cast<unsigned char>(xml[i]);
      if (byte < 0x20 && byte != '\n' && byte != '\t') return false;
      if (xml[i] == '<') return false;
      if (xml[i] != '&') continue;
      const std::string_view entity = xml.substr(i, xml.find(';', i) - i + 1);
      if (entity != "&amp;" && entity != "&lt;" && entity != "&gt;" && entity != "&quot;") {
        return false;
      }
    }
    return i < xml.size();
  };
  while (i < xml.size()) {
    if (xml[i] != '<') {
      const size_t begin = i;
      if (!data('<') && !open.empty()) return "bad text: " + std::string(xml.substr(begin, 60));
      const std::string_view text = xml.substr(begin, i - begin);
      const bool blank = text.find_first_not_of(" \n") == std::string_view::npos;
      if (open.empty() && !blank) return "text outside of the root";
      continue;
    }
    ++i;
    if (i < xml.size() && xml[i] == '/') {
      ++i;
      const std::string_view closed = name();
      if (open.empty() || open.back() != closed) return "unexpected end of " + std::string(closed);
      open.pop_back();
      if (xml[i++] != '>') return "bad end tag";
      continue;
    }
    if (open.empty() && std::exchange(root_seen, true)) return "two roots";
    const std::string_view element = name();
    if (element.empty()) return "nameless element";
    while (i < xml.size() && xml[i] == ' ') {
      while (i < xml.size() && xml[i] == ' ') ++i;
      if (i >= xml.size() || xml[i] == '>' || xml[i] == '/') break;
      if (name().empty() || xml.substr(i, 2) != "=\"")
        return "bad attribute of " + std::string(element);
      i += 2;
      if (!data('"')) return "bad attribute value in " + std::string(element);
      ++i;
    }
    if (xml.substr(i, 2) == "/>") {
      i += 2;
    } else if (i < xml.size() && xml[i] == '>') {
      ++i;
      open.push_back(element);
    } else {
      return "unfinished " + std::string(element);
    }
  }
  if (!open.empty()) return "no end of " + std::string(open.back());
  return root_seen ? "" : "no element";
}

}  // namespace nvfp4
