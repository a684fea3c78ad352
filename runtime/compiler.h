// SPDX-License-Identifier: Apache-2.0
// Source text to machine code through NVRTC, which is found at run time: nothing links it. The
// headers a kernel includes come from memory (generator/template_bundle.h), never from the disk,
// and a compilation that fails is a value with its log, not an exception.
#pragma once

#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "generator/device.h"
#include "generator/template_bundle.h"
#include "runtime/compilation.h"

namespace nvfp4 {

/// No NVRTC that this product can use: missing, older than 12.3, newer than the driver, or broken.
class CompilerError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// An NVRTC library. Copies share it; compile() may run on several threads at once.
class Compiler {
 public:
  /// The first usable NVRTC of: the file NVFP4_NVRTC names (then no other), one already loaded, the
  /// CUDA wheels of the active Python, CUDA_HOME and CUDA_PATH, the loader's path,
  /// /usr/local/cuda*. `driver_version` is cuDriverGetVersion's (13000 = 13.0): a library of a
  /// later CUDA major is not usable with it; 0 means that no driver will load the code. Throws
  /// CompilerError.
  static Compiler open(int driver_version = 0);

  /// Compiles for exactly `arch`. Throws CompilerError only when NVRTC itself is broken.
  Compilation compile(std::string_view source, Arch arch,
                      std::span<const TemplateFile> headers = template_files()) const;

  /// What compile() passes for `arch`: part of every cache key.
  std::vector<std::string> options(Arch arch) const;

  int major() const;
  int minor() const;
  /// "13.0.88": what a person calls this NVRTC.
  const std::string& version() const;
  /// Release and build as the compiler writes them into its PTX. Part of every cache key.
  const std::string& identity() const;
  /// Where the library was found.
  const std::string& path() const;

 private:
  struct Library;
  explicit Compiler(std::shared_ptr<const Library> library);
  std::shared_ptr<const Library> library_;
};

}  // namespace nvfp4
