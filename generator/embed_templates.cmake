# SPDX-License-Identifier: Apache-2.0
# Writes OUTPUT, a C++ file that holds the text of each of FILES. Texts are cut into pieces because a
# compiler need not accept a string literal of more than 65,536 characters.
set(body "")
foreach(path IN LISTS FILES)
  get_filename_component(name ${path} NAME)
  file(READ ${path} text)
  string(LENGTH "${text}" length)
  set(literal "")
  set(at 0)
  while(at LESS length)
    string(SUBSTRING "${text}" ${at} 8000 piece)
    string(APPEND literal "\n  R\"NVFP4TEXT(${piece})NVFP4TEXT\"")
    math(EXPR at "${at} + 8000")
  endwhile()
  string(APPEND body "    {\"${name}\",${literal}},\n")
endforeach()
file(WRITE ${OUTPUT} "// Generated from templates/ by embed_templates.cmake.
#include \"generator/template_bundle.h\"

#include <array>

#include \"generator/digest.h\"

namespace nvfp4 {
namespace {
constexpr TemplateFile kFiles[] = {
${body}};
}  // namespace

std::span<const TemplateFile> template_files() { return kFiles; }

// Never destroyed: a program may prepare kernels from its own destructors.
const std::string& template_digest() {
  static const std::string& digest = *new std::string([] {
    Digest d(\"templates\");
    for (const TemplateFile& file : kFiles) d.field(file.name, file.text);
    return d.hex();
  }());
  return digest;
}

}  // namespace nvfp4
")
