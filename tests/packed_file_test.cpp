// SPDX-License-Identifier: Apache-2.0
// The packed file: what is written is what packing gives, a second load maps it, and nothing that
// is not whole, or not ours, passes for it.
#include "runtime/packed_file.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "runtime/layer_packing.h"
#include "tests/checkpoint_fixture.h"
#include "tests/temporary_folder.h"

using namespace nvfp4;

namespace {

std::string error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "";
}

// Writes a file that differs from a packed one in its metadata or its tensor.
void write_like(const std::filesystem::path& path, const Metadata& metadata,
                std::vector<int64_t> shape = {1, 1, 2304}, Dtype dtype = Dtype::u8) {
  SafetensorsWriter writer(path, {{.name = "a", .dtype = dtype, .shape = std::move(shape)}},
                           metadata);
  writer.publish(metadata);
}

std::string stack_refusal(const std::string& description) {
  TemporaryFolder folder;
  write_like(folder / "p", {{"nvfp4.layout", "1"}, {"nvfp4.source", ""}, {"stack:a", description}});
  const std::string message = error_of([&] { PackedFile{folder / "p"}; });
  const std::string start = (folder / "p").string() + ": ";
  return message.starts_with(start) ? message.substr(start.size()) : message;
}

}  // namespace

TEST_SUITE("packed_file") {
  TEST_CASE("a packed file holds every stack as packing gives it, with its scales") {
    TemporaryFolder folder;
    small_model(Convention::compressed_tensors)
        .compressed("wide", 70, kPieceK + 64, 2)
        .write(folder / "model.safetensors");
    const Checkpoint checkpoint(folder.path());
    write_packed_file(checkpoint, folder / "packed", {.threads = 3});
    PackedFile packed(folder / "packed");
    CHECK(packed.source() == source_digest(checkpoint));
    CHECK(packed.damaged(2).empty());
    REQUIRE(packed.stacks().size() == checkpoint.stacks().size());
    for (size_t i = 0; i < packed.stacks().size(); ++i) {
      const PackedStack& stack = packed.stacks()[i];
      const LayerStack& from = checkpoint.stacks()[i];
      CHECK(stack.name == from.name);
      CHECK(stack.k == from.k);
      CHECK(stack.stacked_rows() == checkpoint.stacked_rows(from));
      CHECK(stack.tile_scales() == checkpoint.tile_scales(from));
      Bytes expected(checkpoint.packed_bytes(from));
      pack_stack(checkpoint, from, expected, 1);
      const std::span<const uint8_t> weights = packed.weights(stack);
      CHECK(Bytes(weights.begin(), weights.end()) == expected);
      CHECK(reinterpret_cast<uintptr_t>(weights.data()) % 256 == 0);
    }
  }

  TEST_CASE("the number of threads does not change a byte of the file") {
    TemporaryFolder folder;
    small_model(Convention::modelopt).write(folder / "model.safetensors");
    const Checkpoint checkpoint(folder.path());
    const auto text = [&](int threads) {
      write_packed_file(checkpoint, folder / "packed", {.threads = threads});
      std::ifstream stream(folder / "packed", std::ios::binary);
      return std::string(std::istreambuf_iterator<char>(stream), {});
    };
    const std::string one = text(1);
    CHECK(text(2) == one);
    CHECK(text(9) == one);
  }

  TEST_CASE("a flipped bit is found, and the stack that holds it is named") {
    TemporaryFolder folder;
    small_model(Convention::modelopt).write(folder / "model.safetensors");
    write_packed_file(Checkpoint(folder.path()), folder / "packed", {.threads = 1});
    const int64_t at = PackedFile(folder / "packed").stacks()[3].tensor->begin + 2304;
    std::fstream file(folder / "packed", std::ios::binary | std::ios::in | std::ios::out);
    file.seekg(at);
    const char byte = static_cast<char>(file.get() ^ 4);
    file.seekp(at);
    file.put(byte);
    file.close();
    CHECK(PackedFile(folder / "packed").damaged(2) ==
          std::vector<std::string>{"model.layers.2.self_attn.qkv_proj"});
  }

  TEST_CASE("a checkpoint that changed has another digest") {
    TemporaryFolder folder;
    const auto digest = [&](TensorFile file) {
      file.write(folder / "model.safetensors");
      return source_digest(Checkpoint(folder / "model.safetensors"));
    };
    const auto file = [](float scale) { return TensorFile().modelopt("a", 16, 64, scale); };
    const std::string first = digest(file(1));
    CHECK(first.size() == 64);
    CHECK(digest(file(1)) == first);
    CHECK(digest(file(2)) != first);
    CHECK(digest(file(1).add("a.weight_scale", Dtype::f8_e4m3, {16, 4}, Bytes(64))) != first);
    CHECK(digest(file(1).bf16("norm.weight", {7})) == first);
    CHECK(digest(TensorFile().compressed("a", 16, 64, 1)) == first);  // the same weights
  }

  TEST_CASE("nothing is left of a file that could not be finished") {
    TemporaryFolder folder, out;
    TensorFile file = small_model(Convention::modelopt);
    file.write(folder / "model.safetensors");
    const Checkpoint checkpoint(folder.path());
    const auto write = [&](const Checkpoint& from, std::function<bool()> stopped = {}) {
      return error_of(
          [&] { write_packed_file(from, out / "packed", {.threads = 2, .stopped = stopped}); });
    };
    int asked = 0;
    CHECK(write(checkpoint, [&] { return ++asked > 3; }) == "interrupted");
    CHECK(std::filesystem::is_empty(out.path()));

    const std::string name = "model.layers.2.mlp.down_proj";
    Bytes scales = file.bytes(name + ".weight_scale");
    scales[11 * 5 + 3] = 0xff;
    file.add(name + ".weight_scale", Dtype::f8_e4m3, {64, 11}, scales);
    file.write(folder / "model.safetensors");
    CHECK(write(Checkpoint(folder.path())) ==
          name + ".weight_scale: 0xff at row 5, block 3 is NaN");
    file.add(name + ".weight_scale_2", Dtype::f32, {}, float_bytes(0))
        .write(folder / "model.safetensors");
    CHECK(write(Checkpoint(folder.path())) ==
          "1 problems in the checkpoint; the first: " + name + ".weight_scale_2 is 0");
    TensorFile().bf16("a.weight", {4, 4}).write(folder / "model.safetensors");
    CHECK(write(Checkpoint(folder.path())) == "the checkpoint has no NVFP4 layers");
    CHECK(std::filesystem::is_empty(out.path()));
    CHECK(error_of([&] {
            write_packed_file(checkpoint, "/nowhere/p", {});
          }).starts_with("cannot create /nowhere/p"));
  }

  TEST_CASE("files that are not of this form are refused by name") {
    TemporaryFolder folder;
    const std::string path = (folder / "p").string();
    TensorFile().bf16("a", {1}).write(path);
    const auto open = [&] { return error_of([&] { PackedFile{path}; }); };
    CHECK(open() == path + ": no file of packed NVFP4 weights");
    write_like(path, {{"nvfp4.layout", "2"}, {"nvfp4.source", ""}});
    CHECK(open() == path + ": layout 2, where this program has 1");
    write_like(path, {{"nvfp4.layout", "1"}, {"nvfp4.source", ""}});
    CHECK(open() == path + ": tensor 'a' is not described");

    CHECK(stack_refusal("k=64 rows=64 global_scales=3f800000 xxh3=0000000000000000") == "");
    CHECK(stack_refusal("k=64 rows=64,64 global_scales=3f800000,3f800000 xxh3=0") ==
          "tensor 'a' is U8 [1, 1, 2304], not U8 [2, 1, 2304]");
    CHECK(stack_refusal("k=80 rows=3 global_scales=3f800000 xxh3=0") ==
          "tensor 'a' is U8 [1, 1, 2304], not U8 [1, 2, 2304]");
    for (const char* text :
         {"", "k=", "k=60 rows=64 global_scales=3f800000 xxh3=0",
          "k=64 rows=0 global_scales=1 xxh3=0", "k=64 rows=64,64 global_scales=3f800000 xxh3=0",
          "k=64 rows=64 global_scales=00000000 xxh3=0",
          "k=64 rows=64 global_scales=bf800000 xxh3=0",
          "k=64 rows=64 global_scales=7f800000 xxh3=0",
          "k=64 rows=64 global_scales=7fc00000 xxh3=0",
          "k=64 rows=64 global_scales=3f800000 xxh3=0 ", "k=64 rows=64 global_scales=3f800000",
          "k=99999999999999999999 rows=64 global_scales=3f800000 xxh3=0"}) {
      CAPTURE(text);
      const std::string message = stack_refusal(text);
      CHECK(message.starts_with("tensor 'a' is"));
    }
  }
}
