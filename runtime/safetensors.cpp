// SPDX-License-Identifier: Apache-2.0
// Tensors are read with pread: a copy from the page cache costs a quarter of packing the same
// bytes, and a mapping would hand every file system's trouble to the process as SIGBUS.
#include "runtime/safetensors.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <random>
#include <utility>

#include "runtime/quoted_name.h"

namespace nvfp4 {
namespace {

int64_t size_of(int file, const std::string& path) {
  struct stat facts;
  if (fstat(file, &facts) != 0) {
    throw SafetensorsError(fmt::format("{}: {}", path, std::strerror(errno)));
  }
  if (!S_ISREG(facts.st_mode)) throw SafetensorsError(fmt::format("{}: not a regular file", path));
  return facts.st_size;
}

void check_range(const TensorEntry& tensor, int64_t offset, size_t bytes) {
  assert(offset >= 0 && std::cmp_less_equal(bytes, tensor.bytes - offset) && "beyond the tensor");
  static_cast<void>(tensor), static_cast<void>(offset), static_cast<void>(bytes);
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : path_(printable_path(path.string())),
      // O_NONBLOCK: a pipe without a writer must be refused, not waited for.
      file_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
  if (!file_) throw SafetensorsError(fmt::format("{}: {}", path_, std::strerror(errno)));
  file_bytes_ = size_of(file_.get(), path_);
  header_ = parse_safetensors_header(
      [&](int64_t offset, std::span<char> out) { read_file(offset, out, "header"); }, file_bytes_,
      path_);
  by_name_.reserve(header_.tensors.size());
  for (const TensorEntry& tensor : header_.tensors) by_name_.emplace(tensor.name, &tensor);
}

SafetensorsFile::SafetensorsFile(SafetensorsFile&& other) noexcept
    : path_(std::move(other.path_)),
      file_(std::move(other.file_)),
      file_bytes_(other.file_bytes_),
      header_(std::move(other.header_)),  // entries stay where they are
      by_name_(std::move(other.by_name_)),
      mapped_(std::exchange(other.mapped_, nullptr)) {}

SafetensorsFile::~SafetensorsFile() {
  if (mapped_) munmap(const_cast<uint8_t*>(mapped_), static_cast<size_t>(file_bytes_));
}

const TensorEntry* SafetensorsFile::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : found->second;
}

const std::string* SafetensorsFile::metadata(std::string_view key) const {
  const auto found = std::lower_bound(header_.metadata.begin(), header_.metadata.end(), key,
                                      [](const auto& entry, auto k) { return entry.first < k; });
  return found == header_.metadata.end() || found->first != key ? nullptr : &found->second;
}

void SafetensorsFile::read_file(int64_t offset, std::span<char> out, std::string_view what) const {
  size_t done = 0;
  while (done < out.size()) {
    const ssize_t got = pread(file_.get(), out.data() + done, out.size() - done,
                              offset + static_cast<int64_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      throw SafetensorsError(
          fmt::format("{}: cannot read {}: {}", path_, what, std::strerror(errno)));
    }
    if (got == 0) {
      throw SafetensorsError(fmt::format("{}: {}: the file has {} bytes, and had {} when opened",
                                         path_, what, size_of(file_.get(), path_), file_bytes_));
    }
    done += static_cast<size_t>(got);
  }
}

void SafetensorsFile::read(const TensorEntry& tensor, int64_t offset,
                           std::span<uint8_t> out) const {
  check_range(tensor, offset, out.size());
  read_file(tensor.begin + offset, {reinterpret_cast<char*>(out.data()), out.size()},
            fmt::format("tensor {}", quoted_name(tensor.name)));
}

std::span<const uint8_t> SafetensorsFile::bytes(const TensorEntry& tensor) {
  const int64_t now = size_of(file_.get(), path_);
  if (now < file_bytes_) {
    throw SafetensorsError(
        fmt::format("{}: tensor {}: the file has {} bytes, and had {} when opened", path_,
                    quoted_name(tensor.name), now, file_bytes_));
  }
  if (!mapped_) {
    void* const address =
        mmap(nullptr, static_cast<size_t>(file_bytes_), PROT_READ, MAP_SHARED, file_.get(), 0);
    if (address == MAP_FAILED) {
      throw SafetensorsError(fmt::format("{}: cannot map: {}", path_, std::strerror(errno)));
    }
    mapped_ = static_cast<const uint8_t*>(address);
  }
  return {mapped_ + tensor.begin, static_cast<size_t>(tensor.bytes)};
}

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path,
                                     std::vector<TensorEntry> tensors, const Metadata& metadata)
    : path_(path), temporary_(path), tensors_(std::move(tensors)) {
  header_bytes_ = layout_safetensors_header(tensors_, metadata).size();
  // Not this process's number: containers that share the folder may both be process 7.
  std::random_device random;
  temporary_ += fmt::format(".{:08x}{:08x}.tmp", random(), random());
  file_ = FileDescriptor(open(temporary_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!file_) fail("create");
  const int64_t end = tensors_.empty() ? static_cast<int64_t>(header_bytes_)
                                       : tensors_.back().begin + tensors_.back().bytes;
  // A full disk is known now and not after an hour.
  const int error = posix_fallocate(file_.get(), 0, end);
  if (error != 0) {
    unlink(temporary_.c_str());
    errno = error;
    fail(fmt::format("reserve {} bytes for", end));
  }
}

SafetensorsWriter::~SafetensorsWriter() {
  if (!published_) unlink(temporary_.c_str());
}

void SafetensorsWriter::fail(std::string_view doing) const {
  throw SafetensorsError(fmt::format("cannot {} {}: {}", doing, printable_path(temporary_.string()),
                                     std::strerror(errno)));
}

void SafetensorsWriter::write(const TensorEntry& tensor, int64_t offset,
                              std::span<const uint8_t> bytes) {
  check_range(tensor, offset, bytes.size());
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t put = pwrite(file_.get(), bytes.data() + done, bytes.size() - done,
                               tensor.begin + offset + static_cast<int64_t>(done));
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) fail("write");
    done += static_cast<size_t>(put);
  }
}

void SafetensorsWriter::publish(const Metadata& metadata) {
  const std::string header = layout_safetensors_header(tensors_, metadata);
  if (header.size() != header_bytes_) {
    throw SafetensorsError(fmt::format("{}: a header of {} bytes where {} are reserved",
                                       printable_path(path_.string()), header.size(),
                                       header_bytes_));
  }
  const TensorEntry whole{.name = "header", .bytes = static_cast<int64_t>(header.size())};
  write(whole, 0, {reinterpret_cast<const uint8_t*>(header.data()), header.size()});
  if (fsync(file_.get()) != 0) fail("write");
  if (rename(temporary_.c_str(), path_.c_str()) != 0) fail("rename");
  published_ = true;
  const std::filesystem::path folder = path_.has_parent_path() ? path_.parent_path() : ".";
  const FileDescriptor directory(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory) fsync(directory.get());  // the name may be lost with the power, not the contents
}

}  // namespace nvfp4
