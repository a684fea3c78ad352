// SPDX-License-Identifier: Apache-2.0
// A safetensors file that is open: its tensors by name, and their bytes. read() is safe whatever
// happens to the file; bytes() maps it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>

#include "runtime/cache_directory.h"
#include "runtime/safetensors_header.h"

namespace nvfp4 {

class SafetensorsFile {
 public:
  /// Opens a regular file, or a link to one, and reads and checks its header. Throws
  /// SafetensorsError.
  explicit SafetensorsFile(const std::filesystem::path& path);
  ~SafetensorsFile();
  SafetensorsFile(SafetensorsFile&& other) noexcept;
  SafetensorsFile& operator=(SafetensorsFile&&) = delete;

  const std::string& path() const { return path_; }
  int64_t file_bytes() const { return file_bytes_; }
  const SafetensorsHeader& header() const { return header_; }
  std::span<const TensorEntry> tensors() const { return header_.tensors; }  ///< by place

  /// Null when there is none of that name.
  const TensorEntry* find(std::string_view name) const;
  const std::string* metadata(std::string_view key) const;

  /// Copies the tensor's bytes from `offset`. A file that has become shorter since it was opened
  /// gives an error, never a signal. Throws SafetensorsError. From any thread.
  void read(const TensorEntry& tensor, int64_t offset, std::span<uint8_t> out) const;

  /// The tensor's bytes in the file itself, mapped for reading at the first call; valid as long as
  /// this object. The file's size is checked by each call, but who truncates it later makes the
  /// process fault on its pages: map only files that nobody writes to in place, such as those that
  /// PackedFile publishes. Throws SafetensorsError. One thread at a time.
  std::span<const uint8_t> bytes(const TensorEntry& tensor);

 private:
  void read_file(int64_t offset, std::span<char> out, std::string_view what) const;

  std::string path_;
  FileDescriptor file_;
  int64_t file_bytes_ = 0;
  SafetensorsHeader header_;
  std::unordered_map<std::string_view, const TensorEntry*> by_name_;
  const uint8_t* mapped_ = nullptr;
};

/// Writes a safetensors file beside its path and gives it its name when it is whole.
class SafetensorsWriter {
 public:
  /// Lays `tensors` out in their order and reserves the disk space. `metadata` may change until
  /// publish(), to values of the same length. Throws SafetensorsError.
  SafetensorsWriter(const std::filesystem::path& path, std::vector<TensorEntry> tensors,
                    const Metadata& metadata);
  /// Without publish() nothing is left.
  ~SafetensorsWriter();
  SafetensorsWriter(const SafetensorsWriter&) = delete;
  SafetensorsWriter& operator=(const SafetensorsWriter&) = delete;

  std::span<const TensorEntry> tensors() const { return tensors_; }

  /// Writes bytes of the tensor from `offset`. From any thread. Throws SafetensorsError.
  void write(const TensorEntry& tensor, int64_t offset, std::span<const uint8_t> bytes);

  /// Writes the header, brings everything to the disk, and renames the file onto its path.
  void publish(const Metadata& metadata);

 private:
  [[noreturn]] void fail(std::string_view doing) const;

  std::filesystem::path path_;
  std::filesystem::path temporary_;
  std::vector<TensorEntry> tensors_;
  size_t header_bytes_ = 0;
  FileDescriptor file_;
  bool published_ = false;
};

}  // namespace nvfp4
