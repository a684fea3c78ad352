// SPDX-License-Identifier: Apache-2.0
#include "runtime/abi/status.h"

#include <new>

#include "runtime/checkpoint.h"
#include "runtime/compiler.h"
#include "runtime/gpu.h"
#include "runtime/json_text.h"
#include "runtime/pack.h"
#include "runtime/packed_file.h"
#include "runtime/quantize.h"

namespace nvfp4::abi {
namespace {

// No destructor: threads may end after the library's statics, or while it is unloaded.
thread_local char error_text[1024];

nvfp4_status keep(nvfp4_status status, const char* text) noexcept {
  set_last_error(text);
  return status;
}

nvfp4_status status_of(const CudaError& error) noexcept {
  if (error.is_sticky()) return NVFP4_DEVICE_LOST;
  if (error.code() == CUDA_ERROR_OUT_OF_MEMORY) return NVFP4_OUT_OF_MEMORY;
  return NVFP4_DRIVER_ERROR;
}

}  // namespace

const char* last_error() noexcept { return error_text; }

void set_last_error(std::string_view text) noexcept {
  const size_t length = std::min(text.size(), sizeof error_text - 1);
  std::memcpy(error_text, text.data(), length);
  error_text[length] = '\0';
  std::replace(error_text, error_text + length, '\n', ' ');
}

nvfp4_status status_of_exception() noexcept {
  try {
    throw;
  } catch (const StatusError& error) {
    return keep(error.status(), error.what());
  } catch (const CudaError& error) {
    return keep(status_of(error), error.what());
  } catch (const PackError& error) {
    return keep(NVFP4_BAD_DATA, error.what());
  } catch (const CheckpointError& error) {
    return keep(NVFP4_BAD_DATA, error.what());
  } catch (const PackedFileError& error) {
    return keep(NVFP4_BAD_DATA, error.what());
  } catch (const SafetensorsError& error) {
    return keep(NVFP4_BAD_DATA, error.what());
  } catch (const JsonError& error) {
    return keep(NVFP4_BAD_DATA, error.what());
  } catch (const QuantizeError& error) {
    return keep(NVFP4_BAD_DATA, error.what());
  } catch (const std::invalid_argument& error) {
    return keep(NVFP4_INVALID_ARGUMENT, error.what());
  } catch (const UnknownDevice& error) {
    return keep(NVFP4_NO_DEVICE, error.what());
  } catch (const DriverError& error) {
    return keep(NVFP4_NO_DEVICE, error.what());
  } catch (const CompilerError& error) {
    return keep(NVFP4_COMPILE_ERROR, error.what());
  } catch (const std::bad_alloc&) {
    return keep(NVFP4_OUT_OF_MEMORY, "out of host memory");
  } catch (const std::exception& error) {
    return keep(NVFP4_INTERNAL, error.what());
  } catch (...) {
    return keep(NVFP4_INTERNAL, "an exception of no known kind");
  }
}

}  // namespace nvfp4::abi

extern "C" {

int nvfp4_abi_version(void) { return NVFP4_ABI_VERSION; }

const char* nvfp4_version(void) { return NVFP4_VERSION; }

const char* nvfp4_last_error(void) { return nvfp4::abi::last_error(); }

const char* nvfp4_status_name(nvfp4_status status) {
  switch (status) {
    case NVFP4_OK:
      return "NVFP4_OK";
    case NVFP4_INVALID_ARGUMENT:
      return "NVFP4_INVALID_ARGUMENT";
    case NVFP4_INVALID_HANDLE:
      return "NVFP4_INVALID_HANDLE";
    case NVFP4_BAD_DATA:
      return "NVFP4_BAD_DATA";
    case NVFP4_NO_DEVICE:
      return "NVFP4_NO_DEVICE";
    case NVFP4_NO_COMPILER:
      return "NVFP4_NO_COMPILER";
    case NVFP4_COMPILE_ERROR:
      return "NVFP4_COMPILE_ERROR";
    case NVFP4_OUT_OF_MEMORY:
      return "NVFP4_OUT_OF_MEMORY";
    case NVFP4_DRIVER_ERROR:
      return "NVFP4_DRIVER_ERROR";
    case NVFP4_DEVICE_LOST:
      return "NVFP4_DEVICE_LOST";
    case NVFP4_FORKED:
      return "NVFP4_FORKED";
    case NVFP4_INTERNAL:
      return "NVFP4_INTERNAL";
  }
  return "unknown status";
}
}
