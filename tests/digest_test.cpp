// SPDX-License-Identifier: Apache-2.0
#include "generator/digest.h"

#include <doctest/doctest.h>

#include "generator/template_bundle.h"

using namespace nvfp4;

TEST_SUITE("digest") {
  TEST_CASE("plain SHA-256 gives the published test vectors") {
    CHECK(sha256_hex("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CHECK(sha256_hex("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  }

  TEST_CASE("moving a character between fields changes the digest") {
    CHECK(Digest("d").field("a", "xy").field("b", "z").hex() !=
          Digest("d").field("a", "x").field("b", "yz").hex());
    CHECK(Digest("d").field("a", "1").hex() != Digest("d").field("a", int64_t{1}).hex());
    CHECK(Digest("d").field("ab", "").hex() != Digest("d").field("a", "b").hex());
    CHECK(Digest("d").hex() != Digest("e").hex());
  }

  TEST_CASE("a known digest stays what it is, or every stored key is lost") {
    CHECK(Digest("pinned").field("name", "value").field("number", int64_t{42}).hex() ==
          sha256_hex("6:domain:s6:pinned4:name:s5:value6:number:i42;"));
  }

  TEST_CASE("the bundle holds every template with its include's spelling") {
    bool found = false;
    for (const TemplateFile& file : template_files()) {
      CHECK(file.text.starts_with("// SPDX-License-Identifier: Apache-2.0\n"));
      CHECK(file.text.ends_with("\n"));
      found |= file.name == "gemm_mma.cuh";
    }
    CHECK(found);
    CHECK(template_digest().size() == 64);
  }
}
