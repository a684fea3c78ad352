// SPDX-License-Identifier: Apache-2.0
// The only file that knows NVRTC's interface. A library that was opened stays open: closing a
// compiler that may have worker threads and exit handlers of its own has crashed other programs at
// exit.
#include "runtime/compiler.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <link.h>
#include <nvrtc.h>
#include <unistd.h>

#include <cstdlib>
#include <mutex>
#include <set>
#include <shared_mutex>

#include "runtime/nvrtc_search.h"

namespace nvfp4 {

struct Compiler::Library {
  decltype(&nvrtcVersion) get_version = nullptr;
  decltype(&nvrtcGetErrorString) error_string = nullptr;
  decltype(&nvrtcCreateProgram) create = nullptr;
  decltype(&nvrtcDestroyProgram) destroy = nullptr;
  decltype(&nvrtcCompileProgram) compile = nullptr;
  decltype(&nvrtcGetProgramLogSize) log_size = nullptr;
  decltype(&nvrtcGetProgramLog) log = nullptr;
  decltype(&nvrtcGetPTXSize) ptx_size = nullptr;
  decltype(&nvrtcGetPTX) ptx = nullptr;
  decltype(&nvrtcGetCUBINSize) cubin_size = nullptr;
  decltype(&nvrtcGetCUBIN) cubin = nullptr;
  int major = 0;
  int minor = 0;
  std::string path;
  std::string version;
  std::string identity;

  explicit Library(void* handle, const std::string& name);
  void identify();
  std::string refusal(int driver_version) const;
};

namespace {

// The oldest NVRTC whose C++20 and sm_90a support the templates were checked against.
constexpr int kOldestMajor = 12;
constexpr int kOldestMinor = 3;

constexpr char kHowToInstall[] =
    "install cuda-nvrtc-13-0 (NVIDIA's Debian repository) or libnvrtc12 (Debian 13 non-free), or "
    "'pip install nvidia-cuda-nvrtc', or set NVFP4_NVRTC to the library's path";

// NVRTC cleans up when the process exits, and a compilation that is under way then, or begins, has
// crashed it. So exit waits for those under way, and later ones are refused. Never destroyed.
struct ExitGate {
  std::shared_mutex mutex;
  bool closed = false;
  std::set<void*> libraries;  ///< whose clean-up comes after close_gate()
  const pid_t process = getpid();
};

ExitGate& exit_gate() {
  static auto& gate = *new ExitGate;
  return gate;
}

void close_gate() {
  ExitGate& gate = exit_gate();
  // In a child of fork the mutex may be held by a thread that is not there.
  if (getpid() != gate.process) return;
  const std::unique_lock lock(gate.mutex);
  gate.closed = true;
}

/// After the library has loaded all its parts: what registers last runs first.
void close_gate_before_cleanup_of(void* library) {
  const std::unique_lock lock(exit_gate().mutex);
  if (exit_gate().libraries.insert(library).second) std::atexit(close_gate);
}

/// Held while NVRTC works.
class CompilerUse {
 public:
  CompilerUse() : lock_(exit_gate().mutex) {
    if (exit_gate().closed) throw CompilerError("the process is exiting: NVRTC works no more");
  }

 private:
  std::shared_lock<std::shared_mutex> lock_;
};

/// One program under compilation.
class Program {
 public:
  Program(decltype(&nvrtcDestroyProgram) destroy) : destroy_(destroy) {}
  ~Program() {
    if (handle) destroy_(&handle);
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  nvrtcProgram handle = nullptr;

 private:
  decltype(&nvrtcDestroyProgram) destroy_;
};

/// One of NVRTC's outputs, all of which are asked for as a size and then as bytes; empty on
/// failure.
std::string output(nvrtcProgram program, nvrtcResult (*get_size)(nvrtcProgram, size_t*),
                   nvrtcResult (*get)(nvrtcProgram, char*)) {
  size_t size = 0;
  if (get_size(program, &size) != NVRTC_SUCCESS || size == 0) return {};
  std::string bytes(size, '\0');
  if (get(program, bytes.data()) != NVRTC_SUCCESS) return {};
  return bytes;
}

std::string text_output(nvrtcProgram program, nvrtcResult (*get_size)(nvrtcProgram, size_t*),
                        nvrtcResult (*get)(nvrtcProgram, char*)) {
  std::string text = output(program, get_size, get);
  while (!text.empty() && text.back() == '\0') text.pop_back();  // NVRTC counts the terminator
  return text;
}

/// The `//` lines at the head of `ptx`, in one line: they name the compiler's release and build.
std::string ptx_header(std::string_view ptx) {
  std::string header;
  while (ptx.starts_with("//")) {
    const size_t end = std::min(ptx.find('\n'), ptx.size());
    const std::string_view line = ptx.substr(2, end - 2);
    if (!line.empty()) header += header.empty() ? line.substr(1) : line;
    ptx.remove_prefix(std::min(end + 1, ptx.size()));
  }
  return header;
}

}  // namespace

/// Binds every function; throws CompilerError that names the first one missing.
Compiler::Library::Library(void* handle, const std::string& name) {
  link_map* map = nullptr;
  const bool known = dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0 && map && *map->l_name;
  path = known ? map->l_name : name;
  const auto bind = [&](const char* symbol, auto& function) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(handle, symbol));
    if (!function) throw CompilerError(fmt::format("{} is no NVRTC: it lacks {}", path, symbol));
  };
  bind("nvrtcVersion", get_version);
  bind("nvrtcGetErrorString", error_string);
  bind("nvrtcCreateProgram", create);
  bind("nvrtcDestroyProgram", destroy);
  bind("nvrtcCompileProgram", compile);
  bind("nvrtcGetProgramLogSize", log_size);
  bind("nvrtcGetProgramLog", log);
  bind("nvrtcGetPTXSize", ptx_size);
  bind("nvrtcGetPTX", ptx);
  bind("nvrtcGetCUBINSize", cubin_size);
  bind("nvrtcGetCUBIN", cubin);
  if (get_version(&major, &minor) != NVRTC_SUCCESS) {
    throw CompilerError(fmt::format("{} does not tell its version", path));
  }
}

/// Why this library cannot serve a driver of that version; empty if it can.
std::string Compiler::Library::refusal(int driver_version) const {
  if (major < kOldestMajor || (major == kOldestMajor && minor < kOldestMinor)) {
    return fmt::format("NVRTC {}.{} ({}) is older than {}.{}", major, minor, path, kOldestMajor,
                       kOldestMinor);
  }
  if (driver_version > 0 && major > driver_version / 1000) {
    return fmt::format("NVRTC {}.{} ({}) is newer than the driver, which is made for CUDA {}.{}",
                       major, minor, path, driver_version / 1000, driver_version % 1000 / 10);
  }
  return {};
}

/// Compiles an empty kernel: it proves that the library is whole (libnvrtc-builtins is a second
/// file) and the head of its PTX tells builds of one version apart, for which NVRTC has no
/// function.
void Compiler::Library::identify() {
  const CompilerUse use;
  Program program(destroy);
  const char* option = "--gpu-architecture=compute_80";
  nvrtcResult result = create(&program.handle, "extern \"C\" __global__ void probe() {}",
                              "probe.cu", 0, nullptr, nullptr);
  if (result == NVRTC_SUCCESS) result = compile(program.handle, 1, &option);
  if (result != NVRTC_SUCCESS) {
    const std::string said = printable_log(text_output(program.handle, log_size, log));
    throw CompilerError(fmt::format(
        "NVRTC {}.{} ({}) cannot compile: {}; is libnvrtc-builtins.so.{}.{} beside it?", major,
        minor, path, said.empty() ? error_string(result) : said.substr(0, said.find('\n')), major,
        minor));
  }
  identity = ptx_header(text_output(program.handle, ptx_size, ptx));
  const size_t full = identity.find(", V");
  version = full == std::string::npos
                ? fmt::format("{}.{}", major, minor)
                : identity.substr(full + 3,
                                  identity.find_first_not_of("0123456789.", full + 3) - (full + 3));
}

Compiler Compiler::open(int driver_version) {
  std::string refused;
  const auto accept = [&](void* handle, const std::string& name) -> std::shared_ptr<Library> {
    try {
      auto library = std::make_shared<Library>(handle, name);
      const std::string reason = library->refusal(driver_version);
      if (!reason.empty()) throw CompilerError(reason);
      library->identify();
      close_gate_before_cleanup_of(handle);
      return library;
    } catch (const CompilerError& error) {
      if (refused.empty()) refused = error.what();
      return nullptr;
    }
  };

  const std::vector<std::string> names = nvrtc_libraries();
  if (names.size() > 1) {  // one name alone is the user's choice, which nothing may pre-empt
    for (const char* name : {"libnvrtc.so.13", "libnvrtc.so.12"}) {
      void* handle = dlopen(name, RTLD_NOW | RTLD_NOLOAD);
      if (!handle) continue;
      if (auto library = accept(handle, name)) return Compiler(std::move(library));
    }
  }
  for (const std::string& name : names) {
    void* handle = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
      if (names.size() == 1) refused = fmt::format("NVFP4_NVRTC cannot be loaded: {}", dlerror());
      continue;
    }
    if (auto library = accept(handle, name)) return Compiler(std::move(library));
  }
  throw CompilerError(refused.empty() ? fmt::format("no NVRTC found: {}", kHowToInstall)
                                      : fmt::format("{}: {}", refused, kHowToInstall));
}

std::vector<std::string> Compiler::options(Arch arch) const {
  std::vector<std::string> list = {
      "--gpu-architecture=" + sm_name(arch), "--std=c++20",
      "--device-as-default-execution-space",  // the constexpr functions that host and device share
      "--ptxas-options=-v",                   // registers and spills are read from the log
  };
  // From 12.9 on NVRTC keeps results itself and answers a repeated compile with an empty log.
  if (library_->major > 12 || library_->minor >= 9) list.emplace_back("--no-cache");
  return list;
}

Compilation Compiler::compile(std::string_view source, Arch arch,
                              std::span<const TemplateFile> headers) const {
  const CompilerUse use;
  const Library& nvrtc = *library_;
  std::vector<std::string> strings;  // NVRTC wants terminated strings, which views need not be
  strings.reserve(headers.size() * 2);
  std::vector<const char*> texts, names;
  for (const TemplateFile& header : headers) {
    texts.push_back(strings.emplace_back(header.text).c_str());
    names.push_back(strings.emplace_back(header.name).c_str());
  }
  const std::vector<std::string> option_texts = options(arch);
  std::vector<const char*> option_list;
  option_list.reserve(option_texts.size());
  for (const std::string& option : option_texts) option_list.push_back(option.c_str());

  Program program(nvrtc.destroy);
  nvrtcResult result = nvrtc.create(&program.handle, std::string(source).c_str(), "nvfp4.cu",
                                    static_cast<int>(texts.size()), texts.data(), names.data());
  if (result == NVRTC_SUCCESS) {
    result =
        nvrtc.compile(program.handle, static_cast<int>(option_list.size()), option_list.data());
  }
  Compilation compilation;
  if (program.handle) {
    compilation.log = printable_log(text_output(program.handle, nvrtc.log_size, nvrtc.log));
  }
  if (result == NVRTC_ERROR_INVALID_OPTION || result == NVRTC_ERROR_BUILTIN_OPERATION_FAILURE) {
    throw CompilerError(fmt::format("NVRTC {} cannot compile for {}: {} {}", nvrtc.version,
                                    sm_name(arch), nvrtc.error_string(result), compilation.log));
  }
  compilation.warnings = parse_warnings(compilation.log);
  if (result != NVRTC_SUCCESS) {
    if (compilation.log.empty()) compilation.log = nvrtc.error_string(result);
    return compilation;
  }
  compilation.cubin = output(program.handle, nvrtc.cubin_size, nvrtc.cubin);
  compilation.ptx = text_output(program.handle, nvrtc.ptx_size, nvrtc.ptx);
  compilation.resources = parse_resources(compilation.log);
  compilation.ok = !compilation.cubin.empty() && !compilation.ptx.empty();
  if (!compilation.ok) compilation.log += "\nthe compiler gave no code";
  return compilation;
}

Compiler::Compiler(std::shared_ptr<const Library> library) : library_(std::move(library)) {}
int Compiler::major() const { return library_->major; }
int Compiler::minor() const { return library_->minor; }
const std::string& Compiler::version() const { return library_->version; }
const std::string& Compiler::identity() const { return library_->identity; }
const std::string& Compiler::path() const { return library_->path; }

}  // namespace nvfp4
