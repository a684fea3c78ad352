// SPDX-License-Identifier: Apache-2.0
// Walks the section headers of a cubin and digests what decides execution. Left out are the notes
// (they carry the toolkit's build string), debug data, the symbol tables and the call graph.
#include "runtime/code_hash.h"

#include <elf.h>

#include <cstdint>
#include <cstring>

#include "generator/digest.h"

namespace nvfp4 {
namespace {

constexpr uint16_t kMachineCuda = 190;  // EM_CUDA of the ELF registry

/// The `size` bytes at `offset` of `file`; empty when they do not lie wholly inside.
std::optional<std::string_view> slice(std::string_view file, uint64_t offset, uint64_t size) {
  if (offset > file.size() || size > file.size() - offset) return std::nullopt;
  return file.substr(offset, size);
}

template <typename Header>
std::optional<Header> read_header(std::string_view file, uint64_t offset) {
  const auto bytes = slice(file, offset, sizeof(Header));
  if (!bytes) return std::nullopt;
  Header header;
  std::memcpy(&header, bytes->data(), sizeof(header));
  return header;
}

std::optional<Elf64_Ehdr> read_elf_header(std::string_view file) {
  const auto elf = read_header<Elf64_Ehdr>(file, 0);
  if (!elf || std::memcmp(elf->e_ident, ELFMAG, SELFMAG) != 0 ||
      elf->e_ident[EI_CLASS] != ELFCLASS64 || elf->e_ident[EI_DATA] != ELFDATA2LSB ||
      elf->e_machine != kMachineCuda || elf->e_shentsize != sizeof(Elf64_Shdr)) {
    return std::nullopt;
  }
  return elf;
}

std::optional<std::string_view> name_at(std::string_view table, uint64_t offset) {
  if (offset >= table.size()) return std::nullopt;
  const size_t end = table.find('\0', offset);
  if (end == std::string_view::npos) return std::nullopt;
  return table.substr(offset, end - offset);
}

bool decides_execution(std::string_view name) {
  for (std::string_view prefix : {".text", ".rel.text", ".rela.text", ".nv.info", ".nv.constant",
                                  ".nv.global", ".nv.shared", ".nv.local"}) {
    if (name.starts_with(prefix)) return true;
  }
  return false;
}

}  // namespace

std::optional<std::string> code_hash(std::string_view cubin) {
  const auto elf = read_elf_header(cubin);
  if (!elf || elf->e_shoff > cubin.size() ||
      !slice(cubin, elf->e_phoff, uint64_t{elf->e_phnum} * elf->e_phentsize)) {
    return std::nullopt;
  }
  const auto header = [&](uint64_t index) {
    return read_header<Elf64_Shdr>(cubin, elf->e_shoff + index * sizeof(Elf64_Shdr));
  };
  const auto names_header = header(elf->e_shstrndx);
  if (!names_header) return std::nullopt;
  const auto names = slice(cubin, names_header->sh_offset, names_header->sh_size);
  if (!names) return std::nullopt;

  Digest digest("cubin code");
  digest.field("flags", int64_t{elf->e_flags});
  uint64_t left =
      cubin.size();  // sections that overlap are a forgery, and could make this loop long
  bool has_code = false;
  for (uint16_t index = 0; index < elf->e_shnum; ++index) {
    const auto section = header(index);
    if (!section) return std::nullopt;
    const auto name = name_at(*names, section->sh_name);
    if (!name) return std::nullopt;
    if (!decides_execution(*name)) continue;
    // sh_flags and sh_info of code hold its barrier and register counts; the size of a section
    // without bytes is the shared or local memory a kernel asks for.
    digest.field("section", *name)
        .field("flags", static_cast<int64_t>(section->sh_flags))
        .field("info", int64_t{section->sh_info})
        .field("size", static_cast<int64_t>(section->sh_size));
    if (section->sh_type == SHT_NOBITS) continue;
    const auto bytes = slice(cubin, section->sh_offset, section->sh_size);
    if (!bytes || bytes->size() > left) return std::nullopt;
    left -= bytes->size();
    digest.field("bytes", *bytes);
    has_code |= name->starts_with(".text") && !bytes->empty();
  }
  if (!has_code) return std::nullopt;
  return digest.hex();
}

}  // namespace nvfp4
