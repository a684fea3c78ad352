// SPDX-License-Identifier: Apache-2.0
// The data is gzipped, in base64. It stands in elements that a browser does not run,
// many of them: its parser takes twice as long for one of 16 MB.
#include "tuner/dashboard_page.h"

#include <fmt/format.h>
#include <llvm/Support/Base64.h>
#include <zlib.h>

#include <algorithm>
#include <stdexcept>

extern "C" {
extern const char nvfp4_dashboard_page_begin[];
extern const char nvfp4_dashboard_page_end[];
}

namespace nvfp4 {
namespace {

constexpr std::string_view kModelsMark = "<script type=\"application/json\" id=\"nvfp4-models\">";
constexpr std::string_view kDataMark = "<!-- nvfp4-data -->";
// The build leaves it at the head of every page.
constexpr std::string_view kGenerator = "<meta name=\"generator\" content=\"nvfp4-tune dashboard\"";
constexpr size_t kHeadBytes = 2048;
constexpr size_t kElementBytes = 384 << 10;  // a multiple of 3: base64 without padding inside

std::string gzipped(std::string_view bytes) {
  z_stream stream = {};
  constexpr int kGzipFormat = 15 + 16;  // window bits, and a gzip header instead of zlib's
  if (deflateInit2(&stream, 9, Z_DEFLATED, kGzipFormat, 9, Z_DEFAULT_STRATEGY) != Z_OK) {
    throw std::runtime_error("cannot compress: out of memory");
  }
  std::string out(deflateBound(&stream, bytes.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  const int status = deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  if (status != Z_STREAM_END) throw std::runtime_error("cannot compress the data");
  return out;
}

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool plain = c != '&' && c != '<' && c != '>' && c != '"' && c != '\'';
    out += plain ? std::string(1, c) : fmt::format("&#{};", static_cast<int>(c));
  }
  return out;
}

}  // namespace

std::string_view dashboard_page() {
  return {nvfp4_dashboard_page_begin,
          static_cast<size_t>(nvfp4_dashboard_page_end - nvfp4_dashboard_page_begin)};
}

std::string dashboard_page(const DashboardData& given) {
  const std::string_view page = dashboard_page();
  const size_t models = page.find(kModelsMark) + kModelsMark.size();
  const size_t mark = page.find(kDataMark, models);
  std::string html(page.substr(0, models));
  html += given.models;
  html += page.substr(models, mark - models);
  const std::string data = gzipped(given.data);
  const std::string open = fmt::format(
      "<script type=\"application/octet-stream\" class=\"nvfp4-data\" data-name=\"{}\">",
      escaped(given.name));
  for (size_t at = 0; at < data.size(); at += kElementBytes) {
    html += open;
    html += llvm::encodeBase64(std::string_view(data).substr(at, kElementBytes));
    html += "</script>\n";
  }
  return html += page.substr(mark + kDataMark.size());
}

bool is_dashboard_page(std::string_view html) {
  return html.substr(0, kHeadBytes).find(kGenerator) != html.npos;
}

}  // namespace nvfp4
