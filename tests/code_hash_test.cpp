// SPDX-License-Identifier: Apache-2.0
// The identity of machine code on cubins that NVRTC really makes, and on ones that were tampered
// with.
#include "runtime/code_hash.h"

#include <doctest/doctest.h>
#include <elf.h>

#include <cstring>
#include <random>
#include <string>

#include "runtime/compiler.h"

namespace nvfp4 {
namespace {

const Compiler& compiler() {
  static const Compiler opened = Compiler::open();
  return opened;
}

std::string cubin(const std::string& source, Arch arch = {9, 0, true}) {
  const Compilation c = compiler().compile(source, arch);
  REQUIRE_MESSAGE(c.ok, c.log);
  return c.cubin;
}

std::string kernel(const std::string& body, const std::string& bounds = "") {
  return "extern \"C\" __global__ void " + bounds + " k(float* p) { " + body + " }";
}

}  // namespace

TEST_CASE("two compilations of one source have the same code") {
  const auto hash = code_hash(cubin(kernel("p[0] = 1.5f;")));
  REQUIRE(hash);
  CHECK(hash->size() == 64);
  CHECK(code_hash(cubin(kernel("p[0] = 1.5f;"))) == hash);
}

TEST_CASE("comments, layout and local names of the source are no part of the code") {
  CHECK(code_hash(cubin(kernel("float x = p[1]; p[0] = x;"))) ==
        code_hash(
            cubin("// a comment\n\n" + kernel("/* other */ float name = p[1];\n p[0] = name;"))));
}

TEST_CASE("a constant, an operation, the architecture and the launch bounds are part of it") {
  const auto hash = code_hash(cubin(kernel("p[0] = 1.5f;")));
  CHECK(code_hash(cubin(kernel("p[0] = 2.5f;"))) != hash);
  CHECK(code_hash(cubin(kernel("p[0] += 1.5f;"))) != hash);
  CHECK(code_hash(cubin(kernel("p[0] = 1.5f;"), {8, 0})) != hash);
  CHECK(code_hash(cubin(kernel("p[0] = 1.5f;", "__launch_bounds__(64)"))) != hash);
}

TEST_CASE("the size of static shared memory is part of it") {
  const auto body = [](int words) {
    return kernel("__shared__ float s[" + std::to_string(words) +
                  "]; s[threadIdx.x] = p[threadIdx.x]; __syncthreads(); p[0] = s[1];");
  };
  CHECK(code_hash(cubin(body(64))) != code_hash(cubin(body(96))));
}

TEST_CASE("a changed note does not change the hash, a changed instruction does") {
  std::string bytes = cubin(kernel("p[0] = 1.5f;"));
  const auto hash = code_hash(bytes);
  Elf64_Ehdr elf;
  std::memcpy(&elf, bytes.data(), sizeof(elf));
  int notes = 0, texts = 0;
  for (int i = 0; i < elf.e_shnum; ++i) {
    Elf64_Shdr section;
    std::memcpy(&section, bytes.data() + elf.e_shoff + i * sizeof(section), sizeof(section));
    if (section.sh_size == 0 || section.sh_type == SHT_NOBITS) continue;
    std::string changed = bytes;
    changed[section.sh_offset + section.sh_size - 1] ^= 1;
    if (section.sh_type == SHT_NOTE) {
      ++notes;
      CHECK(code_hash(changed) == hash);
    } else if (section.sh_flags & SHF_EXECINSTR) {
      ++texts;
      CHECK(code_hash(changed) != hash);
    }
  }
  CHECK(notes > 0);
  CHECK(texts == 1);
}

TEST_CASE("what is no whole cubin has no hash") {
  const std::string bytes = cubin(kernel("p[0] = 1.5f;"));
  CHECK_FALSE(code_hash(""));
  CHECK_FALSE(code_hash("text"));
  std::string foreign = bytes;
  foreign[18] = 62;  // e_machine: x86-64
  CHECK_FALSE(code_hash(foreign));
  for (size_t size = 0; size < bytes.size(); ++size) {
    // The header tables end the file, so a shorter one always lacks some.
    REQUIRE_FALSE(code_hash(bytes.substr(0, size)));
  }
}

TEST_CASE("no damage makes the reader leave its bytes") {
  const std::string bytes = cubin(kernel("p[0] = 1.5f;"));
  std::mt19937 random(7);
  int refused = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string damaged = bytes;
    for (int i = 0; i < 4; ++i) damaged[random() % damaged.size()] = static_cast<char>(random());
    refused += !code_hash(damaged);
  }
  CHECK(refused > 0);
}

}  // namespace nvfp4
