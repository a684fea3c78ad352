// SPDX-License-Identifier: Apache-2.0
// The reader of safetensors files against every published way to break one, with the words of each
// refusal; and the writer, whose files the reader takes.
#include "runtime/safetensors.h"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <ctime>
#include <fstream>
#include <string>
#include <vector>

#include "tests/peak_memory.h"
#include "tests/temporary_folder.h"

using namespace nvfp4;

namespace {

std::string with_length(uint64_t length, const std::string& rest) {
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, sizeof length);
  return bytes + rest;
}

std::string file_of(const std::string& header, size_t data_bytes = 0) {
  return with_length(header.size(), header + std::string(data_bytes, '\x11'));
}

SafetensorsHeader parse(const std::string& file) {
  const auto source = [&](int64_t offset, std::span<char> out) {
    REQUIRE(offset + std::ssize(out) <= std::ssize(file));
    std::memcpy(out.data(), file.data() + offset, out.size());
  };
  return parse_safetensors_header(source, std::ssize(file), "f");
}

template <class Call>
std::string refusal(const Call& call) {
  try {
    call();
  } catch (const SafetensorsError& error) {
    return error.what();
  }
  return "accepted";
}

std::string parse_refusal(const std::string& file) {
  return refusal([&] { parse(file); });
}

// One U8 tensor called `name` over [begin, end).
std::string entry(const std::string& name, int begin, int end) {
  return fmt::format(R"("{}":{{"dtype":"U8","shape":[{}],"data_offsets":[{},{}]}})", name,
                     end - begin, begin, end);
}

std::string tensor_a(const std::string& dtype, const std::string& shape,
                     const std::string& offsets) {
  return fmt::format(R"({{"a":{{"dtype":{},"shape":{},"data_offsets":{}}}}})", dtype, shape,
                     offsets);
}

constexpr bool kSanitized =
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    true;
#else
    false;
#endif

// The refusal of a large hostile file, within the limits that no file may exceed.
std::string quick_refusal(const std::string& file) {
  const PeakMemory memory;
  const std::clock_t begin = std::clock();
  const std::string message = parse_refusal(file);
  if (kSanitized) return message;
  CHECK(memory.extra() <= int64_t{64} << 20);
  CHECK(std::clock() - begin < CLOCKS_PER_SEC);  // of processor time: others may use the cores
  return message;
}

void put(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

}  // namespace

TEST_SUITE("safetensors") {
  TEST_CASE("tensors come by place in the file, with their types, places and metadata") {
    const std::string header = R"({"b":{"dtype":"F8_E4M3","shape":[2,3],"data_offsets":[4,10]},)"
                               R"("__metadata__":{"z":"1","format":"pt"},)"
                               R"("a":{"data_offsets":[0,4],"shape":[],"dtype":"F32"},)"
                               R"("empty":{"dtype":"I64","shape":[0,7],"data_offsets":[4,4]}}  )";
    const SafetensorsHeader parsed = parse(file_of(header, 10));
    REQUIRE(parsed.tensors.size() == 3);
    CHECK(parsed.data_begin == 8 + std::ssize(header));
    CHECK(parsed.tensors[0].name == "a");
    CHECK(type_text(parsed.tensors[0]) == "F32 []");
    CHECK(parsed.tensors[1].name == "empty");
    CHECK(parsed.tensors[2].begin == parsed.data_begin + 4);
    CHECK(parsed.tensors[2].bytes == 6);
    CHECK(type_text(parsed.tensors[2]) == "F8_E4M3 [2, 3]");
    CHECK(parsed.metadata == Metadata{{"format", "pt"}, {"z", "1"}});
    CHECK(parse(file_of("{}")).tensors.empty());
    CHECK(parse(file_of(tensor_a("\"F4\"", "[2]", "[0,1]"), 1)).tensors[0].bytes == 1);
  }

  TEST_CASE("lengths that no header has are refused with the numbers") {
    CHECK(parse_refusal("") == "f: 0 bytes, where the header's length alone takes 8");
    CHECK(parse_refusal("1234567") == "f: 7 bytes, where the header's length alone takes 8");
    CHECK(parse_refusal(with_length(0, "")) == "f: header length 0 is below 2");
    CHECK(parse_refusal(with_length(1, "{")) == "f: header length 1 is below 2");
    CHECK(parse_refusal(with_length(3, "{}")) == "f: header length 3 exceeds the 2 bytes after it");
    CHECK(parse_refusal(with_length(100'000'001, "{}")) ==
          "f: header length 100000001 exceeds 100000000");
    CHECK(parse_refusal(with_length(uint64_t{1} << 63, "{}")) ==
          "f: header length 9223372036854775808 exceeds 100000000");
    CHECK(parse_refusal(with_length(~uint64_t{0}, "{}")) ==
          "f: header length 18446744073709551615 exceeds 100000000");
    CHECK(parse_refusal(with_length(~uint64_t{0} - 4, "{}")) ==
          "f: header length 18446744073709551611 exceeds 100000000");
  }

  TEST_CASE("text that is no header is refused at its byte") {
    struct Case {
      std::string header, message;
    };
    const std::string a = "f: tensor 'a': ";
    const std::vector<Case> cases = {
        {"[]", "f: header begins with byte 0x5b, not with '{'"},
        {"\xef\xbb\xbf{}", "f: header begins with byte 0xef, not with '{'"},
        {"{} {}", "f: header byte 4: unexpected '{'; expected end of input"},
        {"{\"a\":", "f: header byte 6: unexpected end of input; expected '[', '{', or a literal"},
        {std::string("{}\0\0", 4), "f: header byte 2 is NUL"},
        {std::string("{\"a\0\":1}", 8), "f: header byte 3 is NUL"},
        {"{\"\xff\":1}", "f: header byte 3: invalid string: ill-formed UTF-8 byte"},
        {"{\"\xc0\xaf\":1}", "f: header byte 3: invalid string: ill-formed UTF-8 byte"},
        {"{\"\\ud800\":1}",
         "f: header byte 9: invalid string: surrogate U+D800..U+DBFF must be followed by "
         "U+DC00..U+DFFF"},
        {"{\"a\":1}", a + "a number where its object should be"},
        {"{\"a\":null}", a + "null where its object should be"},
        {"{\"a\":[]}", a + "an array where its object should be"},
        {"{\"a\":{}}", a + "'dtype' is missing"},
        {R"({"a":{"dtype":"U8"}})", a + "'shape' is missing"},
        {R"({"a":{"dtype":"U8","shape":[]}})", a + "'data_offsets' is missing"},
        {R"({"a":{"dtype":"U8","dtype":"U8"}})", a + "'dtype' twice"},
        {R"({"a":{"dtype":"U8","size":3}})", a + "field 'size' is not known"},
        {tensor_a("\"U9\"", "[1]", "[0,1]"), a + "dtype 'U9' is not known"},
        {tensor_a("\"u8\"", "[1]", "[0,1]"), a + "dtype 'u8' is not known"},
        {tensor_a("8", "[1]", "[0,1]"), a + "a number in 'dtype'"},
        {tensor_a("\"U8\"", "[-1]", "[0,1]"), a + "-1 in 'shape'"},
        {tensor_a("\"U8\"", "[1.0]", "[0,1]"), a + "1.0 in 'shape'"},
        {tensor_a("\"U8\"", "[9223372036854775808]", "[0,1]"),
         a + "9223372036854775808 in 'shape'"},
        {tensor_a("\"U8\"", "[1e999]", "[0,1]"), "f: header byte 33: a number is out of range"},
        {tensor_a("\"U8\"", "[NaN]", "[0,1]"), "f: header byte 29: invalid literal"},
        {tensor_a("\"U8\"", "[[1]]", "[0,1]"), a + "an array in 'shape'"},
        {tensor_a("\"U8\"", "[\"1\"]", "[0,1]"), a + "a string in 'shape'"},
        {tensor_a("\"U8\"", "1", "[0,1]"), a + "a number in 'shape'"},
        {tensor_a("\"U8\"", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", "[0,1]"),
         a + "more than 16 dimensions"},
        {tensor_a("\"U8\"", "[1]", "[0]"), a + "'data_offsets' holds 1 numbers, not 2"},
        {tensor_a("\"U8\"", "[1]", "[0,1,2]"), a + "'data_offsets' holds 3 numbers, not 2"},
        {tensor_a("\"U8\"", "[1]", "[0,-1]"), a + "-1 in 'data_offsets'"},
        {R"({"__metadata__":1})", "f: header holds a number as '__metadata__'"},
        {R"({"__metadata__":{"a":1}})", "f: header holds a number in '__metadata__'"},
        {R"({"__metadata__":{"a":{}}})", "f: header holds an object in '__metadata__'"},
        {R"({"__metadata__":{},"__metadata__":{}})", "f: header holds '__metadata__' twice"},
        {R"({"__metadata__":{"k":"1","k":"2"}})", "f: metadata 'k' twice"}};
    for (const Case& c : cases) {
      CAPTURE(c.header);
      CHECK(parse_refusal(file_of(c.header, 1)) == c.message);
    }
  }

  TEST_CASE("tensors that do not cover the data exactly once are refused with both numbers") {
    struct Case {
      std::string header;
      size_t data_bytes;
      std::string message;
    };
    const std::string comma = ",";
    const std::vector<Case> cases = {
        {tensor_a("\"U8\"", "[4]", "[8,4]"), 8, "f: tensor 'a' has reversed offsets [8, 4]"},
        {"{" + entry("a", 0, 8) + "}", 7, "f: tensor 'a' ends at byte 8 of 7 bytes of data"},
        {tensor_a("\"U8\"", "[1]", "[9223372036854775806,9223372036854775807]"), 8,
         "f: tensor 'a' ends at byte 9223372036854775807 of 8 bytes of data"},
        {"{" + entry("a", 0, 8) + "}", 9, "f: 9 bytes of data, of which tensors cover 8"},
        {"{}", 3, "f: 3 bytes of data, of which tensors cover 0"},
        {"{" + entry("a", 1, 8) + "}", 8,
         "f: tensor 'a' begins at byte 1 of the data, after a gap where the last one ends at 0"},
        {"{" + entry("a", 0, 4) + comma + entry("b", 5, 8) + "}", 8,
         "f: tensor 'b' begins at byte 5 of the data, after a gap where the last one ends at 4"},
        {"{" + entry("b", 0, 5) + comma + entry("a", 4, 8) + "}", 8,
         "f: tensor 'a' begins at byte 4 of the data, overlapping where the last one ends at 5"},
        {"{" + entry("a", 0, 8) + comma + entry("b", 0, 8) + "}", 8,
         "f: tensor 'b' begins at byte 0 of the data, overlapping where the last one ends at 8"},
        {"{" + entry("a", 0, 4) + comma + entry("a", 4, 8) + "}", 8, "f: tensor 'a' twice"},
        {tensor_a("\"F32\"", "[2,3]", "[0,20]"), 20,
         "f: tensor 'a' is F32 [2, 3] of 24 bytes, but its offsets hold 20"},
        // 2^32 * 2^32 wraps to 0 in 64 bits, and so do 2^61 elements of 64 bits.
        {tensor_a("\"U8\"", "[4294967296,4294967296]", "[0,0]"), 0,
         "f: tensor 'a' has no size in bytes: U8 [4294967296, 4294967296]"},
        {tensor_a("\"U8\"", "[4294967296,4294967296,0]", "[0,0]"), 0,
         "f: tensor 'a' has no size in bytes: U8 [4294967296, 4294967296, 0]"},
        {tensor_a("\"F64\"", "[2305843009213693952]", "[0,0]"), 0,
         "f: tensor 'a' has no size in bytes: F64 [2305843009213693952]"},
        {tensor_a("\"F4\"", "[3]", "[0,1]"), 1, "f: tensor 'a' has no size in bytes: F4 [3]"},
    };
    for (const Case& c : cases) {
      CAPTURE(c.header);
      CHECK(parse_refusal(file_of(c.header, c.data_bytes)) == c.message);
    }
  }

  TEST_CASE("large hostile headers end within 64 MiB and a second") {
    const std::string deep(10'000, '[');
    CHECK(quick_refusal(file_of("{\"a\":" + deep)) ==
          "f: tensor 'a': an array where its object should be");
    std::string objects;
    for (int i = 0; i < 10'000; ++i) objects += "{\"a\":";
    CHECK(quick_refusal(file_of(objects)) == "f: tensor 'a': field 'a' is not known");

    std::string million = "{";
    million.reserve(80'000'000);
    for (int i = 0; i < 1'000'000; ++i) {
      million += (i == 0 ? "" : ",") + entry(fmt::format("layer.{}", i), i, i + 1);
    }
    million += "}";
    CHECK(quick_refusal(file_of(million, 1'000'000)) == "f: header holds more than 131072 tensors");

    // The most that is kept: as many tensors and as much text as may be, and then a fault.
    std::string most = "{";
    most.reserve(60'000'000);
    for (int i = 0; i < 131'072; ++i) {
      most += (i == 0 ? "" : ",") + entry(fmt::format("{:0>240}", i), i, i + 1);
    }
    CHECK(quick_refusal(file_of(most + "}", 131'071)).ends_with("of 131071 bytes of data"));

    const std::string name(99'000'000, 'n');
    CHECK(quick_refusal(file_of("{\"" + name + "\":1}")) ==
          "f: header byte 1048578: a token exceeds 1048576 bytes");
    CHECK(quick_refusal(file_of("{" + std::string(99'000'000, ' ') + "}")) ==
          "f: header byte 1048577: a token exceeds 1048576 bytes");
    const std::string digits(99'000'000, '1');
    CHECK(quick_refusal(file_of("{\"a\":{\"shape\":[" + digits + "]}}")) ==
          "f: header byte 1048591: a token exceeds 1048576 bytes");
    std::string values = "{\"__metadata__\":{\"0\":\"\"";
    for (int i = 1; i < 99; ++i)
      values += fmt::format(",\"{}\":\"{}\"", i, name.substr(0, 1000000));
    CHECK(quick_refusal(file_of(values + "}}")) ==
          "f: header holds more than 33554432 bytes of names and metadata");
  }

  TEST_CASE("names are shown without what they could do to a terminal") {
    const std::string esc = "{\"\\u001b[31m\\n\\u202e../x\":1}";
    CHECK(parse_refusal(file_of(esc)) ==
          "f: tensor '\\x1b[31m\\x0a\\u202e../x': a number where its object should be");
    const std::string long_name(5000, 'x');
    CHECK(parse_refusal(file_of("{\"" + long_name + "\":1}")) ==
          "f: tensor '" + long_name.substr(0, 160) +
              "... (5000 bytes)': a number where its object should be");
  }

  TEST_CASE("a file that shrinks while it is open gives an error, not a signal") {
    TemporaryFolder folder;
    const std::string path = (folder / "model.safetensors").string();
    put(path, file_of("{" + entry("a", 0, 4) + "," + entry("b", 4, 10000) + "}", 10000));
    SafetensorsFile file(path);
    std::vector<uint8_t> bytes(9996);
    file.read(*file.find("b"), 0, bytes);
    CHECK(bytes.back() == 0x11);
    CHECK(file.bytes(*file.find("b"))[0] == 0x11);
    CHECK(file.find("c") == nullptr);
    const int64_t was = file.file_bytes();
    REQUIRE(truncate(path.c_str(), 5000) == 0);
    const std::string message =
        fmt::format("{}: tensor 'b': the file has 5000 bytes, and had {} when opened", path, was);
    CHECK(refusal([&] { file.read(*file.find("b"), 0, bytes); }) == message);
    CHECK(refusal([&] { file.bytes(*file.find("b")); }) == message);
    CHECK(refusal([&] { file.read(*file.find("a"), 0, std::span(bytes).first(4)); }) == "accepted");
    CHECK(refusal([&] { SafetensorsFile{path}; }) ==
          path + ": tensor 'b' ends at byte 10000 of " +
              std::to_string(5000 - file.header().data_begin) + " bytes of data");
  }

  TEST_CASE("what is no regular file is refused, without waiting for it") {
    TemporaryFolder folder;
    const auto open = [](const std::string& path) {
      return refusal([&] { SafetensorsFile{path}; });
    };
    CHECK(open((folder / "x").string()) == (folder / "x").string() + ": No such file or directory");
    CHECK(open(folder.path().string()) == folder.path().string() + ": not a regular file");
    const std::string pipe = (folder / "pipe").string();
    REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
    CHECK(open(pipe) == pipe + ": not a regular file");
  }

  TEST_CASE("of two writers of one path each publishes its own file, whole") {
    TemporaryFolder folder;
    const std::string path = (folder / "out.safetensors").string();
    const auto byte_at_path = [&] {
      SafetensorsFile file(path);
      return int{file.bytes(*file.find("a"))[0]};
    };
    SafetensorsWriter first(path, {{.name = "a", .shape = {1}}}, {});
    SafetensorsWriter second(path, {{.name = "a", .shape = {1}}}, {});
    const uint8_t one = 1, two = 2;
    first.write(first.tensors()[0], 0, {&one, 1});
    first.publish({});
    CHECK(byte_at_path() == 1);
    second.write(second.tensors()[0], 0, {&two, 1});
    second.publish({});
    CHECK(byte_at_path() == 2);
    CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
  }

  TEST_CASE("what the writer publishes is read back, and nothing is seen before") {
    TemporaryFolder folder;
    const std::string path = (folder / "out.safetensors").string();
    const Metadata metadata = {{"format", "x"}, {"quote\"", "line\n"}};
    {
      SafetensorsWriter abandoned(path, {{.name = "a", .shape = {3}}}, metadata);
      CHECK_FALSE(std::filesystem::exists(path));
    }
    CHECK(std::filesystem::is_empty(folder.path()));

    SafetensorsWriter writer(
        path, {{.name = "b", .dtype = Dtype::f32, .shape = {}}, {.name = "a\\", .shape = {2, 3}}},
        metadata);
    const std::vector<uint8_t> bytes = {1, 2, 3, 4, 5, 6};
    writer.write(writer.tensors()[1], 4, std::span(bytes).subspan(4));
    writer.write(writer.tensors()[1], 0, std::span(bytes).first(4));
    writer.write(writer.tensors()[0], 0, std::span(bytes).first(4));
    CHECK(refusal([&] { writer.publish({}); }) == "accepted");  // shorter, in the same padding
    SafetensorsFile file(path);
    CHECK(file.header().metadata.empty());
    CHECK(file.tensors()[0].begin == 4096);
    const std::span<const uint8_t> back = file.bytes(*file.find("a\\"));
    CHECK(std::vector(back.begin(), back.end()) == bytes);

    SafetensorsWriter again(path, {{.name = "a", .shape = {0}}}, metadata);
    again.publish({{"format", "y"}, {"quote\"", "line\n"}});
    CHECK(*SafetensorsFile(path).metadata("format") == "y");
    CHECK(SafetensorsFile(path).metadata("forma") == nullptr);
    CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
    CHECK(refusal([&] { SafetensorsWriter("/nowhere/x", {}, {}); }).starts_with("cannot create"));
    CHECK(refusal([&] {
            SafetensorsWriter(path, {{.name = "a", .shape = {int64_t{1} << 50}}}, {});
          }).starts_with("cannot reserve"));
  }
}
