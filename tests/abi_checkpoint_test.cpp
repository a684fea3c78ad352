// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "runtime/layer_packing.h"
#include "runtime/packed_file.h"
#include "tests/abi_fixture.h"
#include "tests/checkpoint_fixture.h"
#include "tests/temporary_folder.h"

using namespace nvfp4;

namespace {

struct PackedStackBytes {
  std::vector<uint8_t> bytes;
  std::vector<float> global_scales;
};

/// A checkpoint through its handle.
struct OpenedCheckpoint {
  explicit OpenedCheckpoint(const std::string& path) {
    REQUIRE(said(nvfp4_checkpoint_open(path.c_str(), &handle)) == "NVFP4_OK");
  }
  ~OpenedCheckpoint() { nvfp4_checkpoint_close(handle); }

  size_t stacks() const {
    size_t count = 0;
    CHECK(nvfp4_checkpoint_count(handle, &count, nullptr) == NVFP4_OK);
    return count;
  }
  std::vector<std::string> problems() const {
    size_t count = 0;
    CHECK(nvfp4_checkpoint_count(handle, nullptr, &count) == NVFP4_OK);
    std::vector<std::string> list(count);
    for (size_t i = 0; i < count; ++i) {
      const char* text = nullptr;
      CHECK(nvfp4_checkpoint_problem(handle, i, &text) == NVFP4_OK);
      list[i] = text;
    }
    return list;
  }
  nvfp4_stack_info stack(size_t index) const {
    nvfp4_stack_info info{};
    info.size = sizeof info;
    CHECK(nvfp4_checkpoint_stack(handle, index, &info) == NVFP4_OK);
    return info;
  }
  PackedStackBytes pack(size_t index) const {
    const nvfp4_stack_info info = stack(index);
    PackedStackBytes packed{std::vector<uint8_t>(info.packed_bytes),
                            std::vector<float>(info.global_scales)};
    CHECK(nvfp4_checkpoint_pack(handle, index, 0, packed.bytes.data(), packed.bytes.size(),
                                packed.global_scales.data(),
                                packed.global_scales.size()) == NVFP4_OK);
    return packed;
  }

  nvfp4_checkpoint handle = 0;
};

}  // namespace

TEST_SUITE("abi_checkpoint") {
  TEST_CASE("every stack of a checkpoint is named, sized and packed as the library packs it") {
    const TemporaryFolder folder;
    small_model(Convention::modelopt).write(folder / "model.safetensors");
    const Checkpoint own(folder.path());
    const OpenedCheckpoint checkpoint(folder.path());
    REQUIRE(checkpoint.stacks() == own.stacks().size());
    REQUIRE(checkpoint.stacks() > 1);
    CHECK(checkpoint.problems().empty());
    bool stacked = false;
    for (size_t i = 0; i < checkpoint.stacks(); ++i) {
      const LayerStack& from = own.stacks()[i];
      const nvfp4_stack_info info = checkpoint.stack(i);
      CHECK(std::string(info.name) == from.name);
      CHECK(info.rows == own.stacked_rows(from));
      CHECK(info.k == from.k);
      CHECK(info.packed == nullptr);
      REQUIRE(info.part_count == from.parts.size());
      for (size_t part = 0; part < info.part_count; ++part) {
        CHECK(info.part_rows[part] == own.layers()[from.parts[part]].n);
      }
      stacked |= info.part_count > 1;
      const PackedStackBytes packed = checkpoint.pack(i);
      std::vector<uint8_t> expected(own.packed_bytes(from));
      pack_stack(own, from, expected, 1);
      CHECK(packed.bytes == expected);
      CHECK(packed.global_scales == own.tile_scales(from));
      nvfp4_packed_info sized{};
      sized.size = sizeof sized;
      REQUIRE(nvfp4_packed_size(info.part_rows, info.part_count, info.k, &sized) == NVFP4_OK);
      CHECK(sized.rows == info.rows);
      CHECK(sized.packed_bytes == info.packed_bytes);
      CHECK(sized.global_scales == info.global_scales);
    }
    CHECK(stacked);
  }

  TEST_CASE("a packed file gives the same stacks, mapped and copied") {
    const TemporaryFolder folder;
    small_model(Convention::modelopt).write(folder / "model.safetensors");
    const Checkpoint own(folder.path());
    const std::string path = folder / "model.packed";
    write_packed_file(own, path, {});
    const OpenedCheckpoint checkpoint(folder.path()), file(path);
    REQUIRE(file.stacks() == checkpoint.stacks());
    for (size_t i = 0; i < file.stacks(); ++i) {
      const nvfp4_stack_info info = file.stack(i);
      const PackedStackBytes packed = file.pack(i), expected = checkpoint.pack(i);
      CHECK(std::string(info.name) == checkpoint.stack(i).name);
      CHECK(info.rows == checkpoint.stack(i).rows);
      CHECK(packed.bytes == expected.bytes);
      CHECK(packed.global_scales == expected.global_scales);
      REQUIRE(info.packed != nullptr);
      CHECK(std::memcmp(info.packed, packed.bytes.data(), packed.bytes.size()) == 0);
    }
  }

  TEST_CASE("a packed file that shrinks while it is copied is a status, not a signal") {
    const TemporaryFolder folder;
    TensorFile().modelopt("layer", 4096, 4096, 1.0f).write(folder / "model.safetensors");
    const std::string path = folder / "model.packed";
    write_packed_file(Checkpoint(folder.path()), path, {});
    const auto whole = std::filesystem::file_size(path);
    const OpenedCheckpoint file(path);
    const nvfp4_stack_info info = file.stack(0);
    std::vector<uint8_t> bytes(info.packed_bytes);
    std::vector<float> scales(info.global_scales);
    const auto pack = [&] {
      return nvfp4_checkpoint_pack(file.handle, 0, 1, bytes.data(), bytes.size(), scales.data(),
                                   scales.size());
    };
    int refused = 0;
    {
      const std::jthread other([&](const std::stop_token& stop) {
        while (!stop.stop_requested()) {
          std::filesystem::resize_file(path, 4096);
          std::this_thread::yield();
          std::filesystem::resize_file(path, whole);
          std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
      });
      for (int i = 0; i < 100; ++i) {
        const nvfp4_status status = pack();
        refused += status == NVFP4_BAD_DATA;
        if (status != NVFP4_BAD_DATA) CHECK(status == NVFP4_OK);
      }
    }
    CHECK(refused > 0);
    CHECK(pack() == NVFP4_OK);
  }

  TEST_CASE("what cannot be used is a problem with its name, and the rest is there") {
    const TemporaryFolder folder;
    small_model(Convention::modelopt)
        .modelopt("model.layers.9.mlp.down_proj", 64, 64, -1.0f)
        .write(folder / "model.safetensors");
    const OpenedCheckpoint checkpoint(folder.path());
    REQUIRE(checkpoint.problems().size() == 1);
    CHECK(checkpoint.problems()[0].find("model.layers.9.mlp.down_proj") != std::string::npos);
    CHECK(checkpoint.stacks() > 0);
    const char* text = nullptr;
    CHECK(nvfp4_checkpoint_problem(checkpoint.handle, 1, &text) == NVFP4_INVALID_ARGUMENT);
    CHECK(std::string(nvfp4_last_error()) == "problem 1 of 1");
  }

  TEST_CASE("files that are no checkpoint, wrong sizes and dead handles are statuses") {
    const TemporaryFolder folder;
    nvfp4_checkpoint handle = 7;
    CHECK(nvfp4_checkpoint_open(folder.path().c_str(), &handle) == NVFP4_BAD_DATA);
    CHECK(handle == 0);
    const std::string text = folder / "text.safetensors";
    std::ofstream(text) << "no tensors here";
    CHECK(nvfp4_checkpoint_open(text.c_str(), &handle) == NVFP4_BAD_DATA);
    CHECK(std::string(nvfp4_last_error()).find(text) != std::string::npos);
    CHECK(nvfp4_checkpoint_open((folder / "none").c_str(), &handle) == NVFP4_BAD_DATA);
    CHECK(nvfp4_checkpoint_open(nullptr, &handle) == NVFP4_INVALID_ARGUMENT);
    CHECK(nvfp4_checkpoint_close(0) == NVFP4_INVALID_HANDLE);

    small_model(Convention::modelopt).write(folder / "model.safetensors");
    std::filesystem::remove(text);
    REQUIRE(nvfp4_checkpoint_open(folder.path().c_str(), &handle) == NVFP4_OK);
    nvfp4_stack_info info{};
    info.size = sizeof info;
    CHECK(nvfp4_checkpoint_stack(handle, 1000, &info) == NVFP4_INVALID_ARGUMENT);
    REQUIRE(nvfp4_checkpoint_stack(handle, 0, &info) == NVFP4_OK);
    std::vector<uint8_t> packed(info.packed_bytes);
    std::vector<float> scales(info.global_scales);
    CHECK(nvfp4_checkpoint_pack(handle, 0, 1, packed.data(), packed.size() - 1, scales.data(),
                                scales.size()) == NVFP4_INVALID_ARGUMENT);
    CHECK(nvfp4_checkpoint_pack(handle, 0, -1, packed.data(), packed.size(), scales.data(),
                                scales.size()) == NVFP4_INVALID_ARGUMENT);
    CHECK(nvfp4_checkpoint_pack(handle, 0, 0, packed.data(), packed.size(), scales.data(),
                                scales.size()) == NVFP4_OK);
    CHECK(nvfp4_checkpoint_close(handle) == NVFP4_OK);
    CHECK(nvfp4_checkpoint_stack(handle, 0, &info) == NVFP4_INVALID_HANDLE);
  }

  TEST_CASE("stacks may be packed by several threads at once") {
    const TemporaryFolder folder;
    small_model(Convention::modelopt).write(folder / "model.safetensors");
    const OpenedCheckpoint checkpoint(folder.path());
    std::vector<PackedStackBytes> packed(checkpoint.stacks());
    {
      std::vector<std::jthread> threads;
      for (size_t i = 0; i < packed.size(); ++i) {
        threads.emplace_back([&, i] { packed[i] = checkpoint.pack(i); });
      }
    }
    for (size_t i = 0; i < packed.size(); ++i) CHECK(packed[i].bytes == checkpoint.pack(i).bytes);
  }
}
