// SPDX-License-Identifier: Apache-2.0
// Bytes as a sequence of calls of the C interface on an emulated device, with arguments that are
// good, bad and absurd. Every call gives a known status, every failure a line of text, none is a
// bug of the library, and a handle that was destroyed stays refused. Buffers have exactly the size
// that the call is told, so that AddressSanitizer sees one byte too many. Shapes of kernels are
// few: each is compiled once and then lies in the user's cache.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "nvfp4/nvfp4.h"
#include "tests/fuzz/call_input.h"
#include "tests/fuzz/call_world.h"

using namespace nvfp4;

namespace {

nvfp4_status checked(nvfp4_status status) {
  require(status >= NVFP4_OK && status < NVFP4_INTERNAL);
  require(status != NVFP4_DEVICE_LOST && status != NVFP4_FORKED && status != NVFP4_COMPILE_ERROR);
  require(std::string_view(nvfp4_status_name(status)).starts_with("NVFP4_"));
  if (status == NVFP4_OK) return status;
  const std::string_view text = nvfp4_last_error();
  require(!text.empty() && text.find('\n') == text.npos);
  return status;
}

World& world() {
  static auto& made = *new World;
  return made;
}

class Calls {
 public:
  explicit Calls(Input& input) : input_(input), contexts_{world().context} {}

  void run() {
    // As many as 60 s hold many inputs with.
    for (int i = 0; i < 64 && !input_.ended(); ++i) step();
    for (const nvfp4_gemm gemm : gemms_) {
      require(checked(nvfp4_gemm_destroy(gemm)) == NVFP4_OK);
      require(nvfp4_gemm_destroy(gemm) == NVFP4_INVALID_HANDLE);
    }
    for (size_t i = 1; i < contexts_.size(); ++i) {
      require(checked(nvfp4_context_destroy(contexts_[i])) == NVFP4_OK);
    }
  }

 private:
  void step() {
    switch (input_.byte() % 14) {
      case 0:
        return create();
      case 1:
        return destroy();
      case 2:
        return device();
      case 3:
        return lookup();
      case 4:
        return packed_size();
      case 5:
        return pack();
      case 6:
        return unpack();
      case 7:
        return quantize();
      case 8:
        return prepare();
      case 9:
      case 10:
        return launch();
      case 11:
        return pack_on_device();
      case 12:
        return unpack_on_device();
      case 13:
        return dequantize();
    }
  }

  template <class List>
  uint64_t handle(const List& live) {
    if (!live.empty() && !input_.rarely()) return live[input_.byte() % live.size()];
    if (!dead_.empty() && input_.byte() % 2) return dead_[input_.byte() % dead_.size()];
    return static_cast<uint64_t>(input_.one_of<int64_t>({0, -1, INT64_MIN, INT64_MAX}));
  }

  static bool known(const std::vector<uint64_t>& live, uint64_t handle) {
    return std::find(live.begin(), live.end(), handle) != live.end();
  }

  /// The status of a call on a handle: refused if and only if there is no such one.
  void expect(nvfp4_status status, const std::vector<uint64_t>& live, uint64_t handle) {
    if (checked(status) == NVFP4_INVALID_HANDLE) require(!known(live, handle));
    if (status == NVFP4_OK) require(known(live, handle));
  }

  // A context that works costs some compilation, so there is one at most.
  void create() {
    Struct<nvfp4_context_options> options(input_);
    options.value.device =
        input_.one_of<const char*>({"emulated:a100", "emulated:", "auto", "9999", "x", "-1"});
    options.value.database = input_.byte() % 2 ? "" : "/nonexistent/user.db";
    nvfp4_context context = 7;
    if (contexts_.size() > 1 || !(input_.rarely() && input_.rarely())) {
      options.value.device = "emulated:none";
    }
    const nvfp4_context_options* given = options.pointer(input_);
    if (!given) return;  // a real GPU, if there is one
    if (checked(nvfp4_context_create(given, &context)) == NVFP4_OK) {
      contexts_.push_back(context);
    } else {
      require(context == 0);
    }
    require(checked(nvfp4_context_create(given, nullptr)) == NVFP4_INVALID_ARGUMENT);
  }

  void destroy() {
    const uint64_t gemm = handle(gemms_);
    expect(nvfp4_gemm_destroy(gemm), gemms_, gemm);
    if (std::erase(gemms_, gemm) > 0) dead_.push_back(gemm);
    require(nvfp4_gemm_destroy(gemm) == NVFP4_INVALID_HANDLE);
    if (contexts_.size() < 2 || !input_.rarely()) return;
    require(checked(nvfp4_context_destroy(contexts_[1])) == NVFP4_OK);
    require(nvfp4_context_destroy(contexts_[1]) == NVFP4_INVALID_HANDLE);
    contexts_.pop_back();
  }

  void device() {
    const uint64_t context = handle(contexts_);
    Struct<nvfp4_device_info> info(input_);
    expect(nvfp4_device(context, info.pointer(input_)), contexts_, context);
  }

  void lookup() {
    const uint64_t context = handle(contexts_);
    Struct<nvfp4_problem> problem(input_);
    problem.value.n = input_.mostly_small();
    problem.value.k = input_.mostly_small();
    problem.value.act = input_.enumerator<nvfp4_dtype>();
    problem.value.flags = static_cast<uint32_t>(input_.byte() % 3);
    Struct<nvfp4_selection> selection(input_);
    const nvfp4_status status = nvfp4_lookup(context, problem.pointer(input_),
                                             input_.mostly_small(), selection.pointer(input_));
    expect(status, contexts_, context);
    if (status == NVFP4_OK) require(*selection.value.config != '\0');
  }

  void packed_size() {
    std::vector<int64_t> rows(input_.byte() % 11);
    for (int64_t& n : rows) n = input_.mostly_small();
    const int64_t k = input_.mostly_small();
    Struct<nvfp4_packed_info> info(input_);
    if (checked(nvfp4_packed_size(rows.data(), rows.size(), k, info.pointer(input_)))) return;
    require(info.value.rows >= *std::max_element(rows.begin(), rows.end()));
    require(info.value.packed_bytes % 2304 == 0 && info.value.packed_bytes > 0);
    require(info.value.global_scales == static_cast<size_t>((info.value.rows + 63) / 64));
  }

  /// A part of host memory, or with none of device memory.
  nvfp4_part part(int64_t n, int64_t k, std::vector<uint8_t>* codes, std::vector<uint8_t>* scales) {
    Struct<nvfp4_part> part(input_);
    // It goes into an array, without the room behind it: no larger size that would be read.
    if (part.value.size == sizeof part) part.value.size = sizeof part.value;
    part.value.n = n;
    part.value.global_scale = input_.one_of({1.0f, 0.5f, 0.0f, -1.0f, HUGE_VALF, 1e-38f});
    const int64_t gap = input_.one_of<int64_t>({0, 8, 3, -1});
    part.value.codes_stride = gap == 0 ? 0 : k / 2 + gap;
    part.value.scales_stride = input_.rarely() ? input_.any() : 0;
    if (part.value.scales_stride > 4096) part.value.scales_stride = INT64_MAX;  // refused
    part.value.name = input_.rarely() ? "a name\nof two lines" : nullptr;
    if (!codes) {
      part.value.codes = world().device(input_, 0);
      part.value.scales = world().device(input_, 1);
      return part.value;
    }
    const int64_t code_row = std::max(k / 2, part.value.codes_stride);
    const int64_t scale_row = std::max(k / 16, part.value.scales_stride);
    const bool large = n < 1 || n > 128 || k > 128 || k < 0 || scale_row > 4096;
    *codes = input_.bytes(large ? 1 : (n - 1) * code_row + k / 2);
    *scales = input_.bytes(large ? 1 : (n - 1) * scale_row + k / 16);
    part.value.codes = input_.rarely() ? nullptr : codes->data();
    part.value.scales = scales->data();
    return part.value;
  }

  nvfp4_packed_info info_of(const std::vector<int64_t>& rows, int64_t k) {
    nvfp4_packed_info info{};
    info.size = sizeof info;
    const nvfp4_status status = nvfp4_packed_size(rows.data(), rows.size(), k, &info);
    if (status != NVFP4_OK || info.packed_bytes > World::kRegion) info.packed_bytes = 1;
    if (status != NVFP4_OK || info.global_scales > 1024) info.global_scales = 1;
    return info;
  }

  void pack() {
    const size_t count = 1 + input_.byte() % 3;
    const int64_t k = input_.mostly_small();
    std::vector<int64_t> rows(count);
    std::vector<std::vector<uint8_t>> codes(count), scales(count);
    std::vector<nvfp4_part> parts;
    for (size_t i = 0; i < count; ++i) {
      rows[i] = input_.mostly_small();
      parts.push_back(part(rows[i], k, &codes[i], &scales[i]));
    }
    const nvfp4_packed_info info = info_of(rows, k);
    std::vector<uint8_t> packed(info.packed_bytes + (input_.rarely() ? 1 : 0));
    std::vector<float> globals(info.global_scales);
    const nvfp4_status status = nvfp4_pack(
        input_.rarely() ? nullptr : parts.data(), input_.rarely() ? 9 : count, k,
        input_.one_of({1, 2, 0, -1}), packed.data(), packed.size(), globals.data(), globals.size());
    if (checked(status) != NVFP4_OK || count != 1) return;
    // What was packed comes back, and packs to the same bytes.
    const int64_t n = rows[0];
    std::vector<uint8_t> plain_codes(n * k / 2), plain_scales(n * k / 16), again(packed.size());
    require(nvfp4_unpack(packed.data(), packed.size(), n, k, 0, n, 1, plain_codes.data(),
                         plain_scales.data()) == NVFP4_OK);
    nvfp4_part plain{};
    plain.size = sizeof plain;
    plain.n = n;
    plain.codes = plain_codes.data();
    plain.scales = plain_scales.data();
    plain.global_scale = 1;
    require(nvfp4_pack(&plain, 1, k, 1, again.data(), again.size(), globals.data(),
                       globals.size()) == NVFP4_OK);
    require(again == packed);
  }

  void unpack() {
    const int64_t rows = input_.mostly_small(), k = input_.mostly_small();
    const int64_t row = input_.one_of<int64_t>({0, 64, 1, -64, INT64_MAX - 63, INT64_MIN});
    const int64_t n = input_.mostly_small();
    const auto packed = input_.bytes(info_of({rows}, k).packed_bytes);
    const bool large = n < 1 || n > 128 || k < 16 || k > 128;
    std::vector<uint8_t> codes(large ? 1 : n * k / 2), scales(large ? 1 : n * k / 16);
    checked(nvfp4_unpack(input_.rarely() ? nullptr : packed.data(), packed.size(), rows, k, row, n,
                         input_.one_of({1, 2, -1}), codes.data(), scales.data()));
  }

  void quantize() {
    int64_t n = input_.mostly_small(), k = input_.mostly_small();
    if (n > 128 && k > 0) n = INT64_MAX;  // refused: no buffer could be right
    if (k > 128) k = INT64_MAX;
    const bool bad = n < 1 || n > 128 || k < 16 || k > 128;
    const auto bytes = input_.bytes(bad ? 4 : n * k * 4);
    std::vector<float> weights(bytes.size() / 4);
    std::memcpy(weights.data(), bytes.data(), weights.size() * 4);
    std::vector<uint8_t> codes(bad ? 1 : n * k / 2), scales(bad ? 1 : n * k / 16);
    float global_scale = 0;
    const nvfp4_status status = nvfp4_quantize(weights.data(), n, k, input_.byte() % 2,
                                               codes.data(), scales.data(), &global_scale);
    if (checked(status) == NVFP4_OK) require(global_scale > 0 && global_scale < HUGE_VALF);
  }

  void prepare() {
    const uint64_t context = handle(contexts_);
    Struct<nvfp4_problem> problem(input_);
    const bool parts = input_.rarely();
    problem.value.n = parts ? 80 : 16;
    problem.value.k = 64;
    problem.value.act = input_.enumerator<nvfp4_dtype>();
    if (parts) problem.value.part_rows = input_.rarely() ? nullptr : World::kParts;
    if (parts) problem.value.part_count = input_.one_of<size_t>({2, 2, 1, 9, SIZE_MAX});
    if (problem.value.part_count == 1) problem.value.n = 64 + 1;  // refused
    if (input_.rarely()) problem.value.n = input_.one_of<int64_t>({0, -1, INT64_MIN, INT64_MAX});
    if (input_.rarely()) problem.value.k = input_.one_of<int64_t>({0, 15, -16, INT64_MAX});
    const int64_t m_min = input_.rarely() ? input_.any() : 1;
    const int64_t m_max =
        input_.rarely() ? input_.one_of<int64_t>({0, -1, INT64_MIN, INT64_MAX}) : 8;
    nvfp4_gemm gemm = 7;
    nvfp4_gemm* const out = input_.rarely() && input_.rarely() ? nullptr : &gemm;
    const nvfp4_status status = nvfp4_prepare(context, problem.pointer(input_), m_min, m_max, out);
    expect(status, contexts_, context);
    if (status == NVFP4_OK) gemms_.push_back(gemm);
    if (status != NVFP4_OK && out) require(gemm == 0);
  }

  void launch() {
    const uint64_t gemm = handle(gemms_);
    size_t bytes = 0;
    expect(nvfp4_workspace_size(gemm, &bytes), gemms_, gemm);
    const World& w = world();
    Struct<nvfp4_launch_args> args(input_);
    nvfp4_launch_args& a = args.value;
    a.m = input_.rarely() ? input_.any() : 1 + input_.byte() % 8;
    a.weights = w.device(input_, 2);
    a.global_scales = w.device<float>(input_, 3);
    a.activations = w.device(input_, 4);
    a.lda = input_.one_of<int64_t>({0, 64, 72, 71, 8, -8, INT64_MAX - 7, INT64_MIN});
    a.bias = input_.byte() % 2 ? nullptr : w.device(input_, 5);
    a.out = w.device(input_, 6);
    a.ldo = input_.one_of<int64_t>({0, 80, 83, 15, -1, INT64_MAX, INT64_MIN});
    a.out_type = input_.enumerator<nvfp4_dtype>();
    const nvfp4_output outputs[] = {
        {w.device(input_, 6), input_.one_of<int64_t>({0, 64, 63, -1})},
        {w.device(input_, 7), input_.one_of<int64_t>({0, 16, 19, INT64_MAX})}};
    if (input_.byte() % 4 == 0) a.outputs = outputs;
    if (input_.byte() % 4 == 0) a.output_count = input_.one_of<size_t>({2, 2, 2, 1, 9, SIZE_MAX});
    if (!a.outputs || a.output_count <= 2) expect_launch(gemm, args.pointer(input_));
    // More outputs than there are may only be refused for their number.
    if (a.outputs && a.output_count > 8) expect_launch(gemm, args.pointer(input_));
  }

  void expect_launch(uint64_t gemm, const nvfp4_launch_args* args) {
    expect(nvfp4_launch(gemm, args, nullptr), gemms_, gemm);
  }

  void pack_on_device() {
    const uint64_t context = handle(contexts_);
    const int64_t k = input_.mostly_small(), n = input_.mostly_small();
    nvfp4_part parts[] = {part(n, k, nullptr, nullptr)};
    if (parts[0].scales_stride > 256) parts[0].scales_stride = 0;
    const nvfp4_packed_info info = info_of({n}, k);
    expect(nvfp4_pack_on_device(context, parts, 1, k, world().device(input_, 2), info.packed_bytes,
                                world().device<float>(input_, 3), info.global_scales, nullptr),
           contexts_, context);
    // Kernels that run next read zeros again.
    const ContextScope scope(world().gpu);
    world().memory.fill(std::byte{0});
  }

  void unpack_on_device() {
    const uint64_t context = handle(contexts_);
    const int64_t rows = input_.mostly_small(), k = input_.mostly_small();
    expect(nvfp4_unpack_on_device(
               context, world().device(input_, 2), info_of({rows}, k).packed_bytes, rows, k,
               input_.one_of<int64_t>({0, 64, 1, -64, INT64_MIN}), input_.mostly_small(),
               world().device(input_, 0), world().device(input_, 1), nullptr),
           contexts_, context);
  }

  void dequantize() {
    const uint64_t context = handle(contexts_);
    Struct<nvfp4_dequantize_args> args(input_);
    nvfp4_dequantize_args& a = args.value;
    a.n = input_.small();
    a.k = input_.small();
    if (input_.rarely()) a.n = input_.one_of<int64_t>({0, -1, INT64_MIN, INT64_MAX});
    if (input_.rarely()) a.k = input_.one_of<int64_t>({0, 15, -16, INT64_MAX});
    const uint8_t from = input_.byte() % 8;
    if (from != 0 && from < 5) a.packed = world().device(input_, 2);
    if (from == 0 || from > 3) a.codes = world().device(input_, 0);
    a.global_scales = world().device<float>(input_, 3);
    a.scales = world().device(input_, 1);
    a.scale_type = input_.enumerator<nvfp4_dtype>();
    a.out_type = input_.enumerator<nvfp4_dtype>();
    a.global_scale = 1;
    a.out = world().device(input_, 6);  // 64 KiB, and the region behind it
    expect(nvfp4_dequantize(context, args.pointer(input_), nullptr), contexts_, context);
  }

  Input& input_;
  std::vector<uint64_t> contexts_;
  std::vector<uint64_t> gemms_;
  std::vector<uint64_t> dead_;
};

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  setenv("NVFP4_EMULATOR_THREADS", "1", 1);
  world();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Input input(data, size);
  Calls(input).run();
  return 0;
}
