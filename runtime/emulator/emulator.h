/* SPDX-License-Identifier: Apache-2.0
 * What libnvfp4_emulator.so exports beside the CUDA driver's names: which parts it emulates, what
 * the last fault was, and scripted failures for tests. Plain C; find the functions with dlsym.
 *
 * Environment, read at cuInit: NVFP4_EMULATOR_FAULTS (a script, see nvfp4_emulator_inject) and
 * NVFP4_EMULATOR_THREADS (host threads a kernel may use, default all). NVFP4_EMULATOR_CONTEXTS is
 * a folder in which a process has a file PID.DEVICE while it holds the device's primary context. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The ordinal of an emulated part ("h100", "a100", ...), or -1. Ordinal 0 is h100. */
int nvfp4_emulator_device(const char* part);

/* The text of the last fault (kernel, PTX line, block, thread), NUL-terminated and cut to `size`;
 * empty when there was none. Returns the length of the whole text. */
size_t nvfp4_emulator_last_report(char* text, size_t size);

/* Adds scripted faults: "OPERATION:COUNT=EFFECT[,...]". COUNT is the 1-based call of that operation
 * since this text was added ("3"), or that call and all after it ("3+"). EFFECT is a CUresult
 * number, which the call returns (and, when it is one that ends a context, which every call after
 * it returns too), or "hang": the call never returns; for "kernel", the kernel never ends.
 * OPERATION: init, context, alloc, free, copy, memset, load, launch, kernel (as it executes,
 * noticed by the next synchronising call), sync, stream, event, capture, graph. Returns 0, or 1
 * when the text does not parse (then nothing is added). */
int nvfp4_emulator_inject(const char* script);

/* Calls of an operation so far, or -1 for an unknown name. A test uses it to prove that a launch
 * allocates and synchronises nothing. */
int64_t nvfp4_emulator_calls(const char* operation);

/* Reports a kernel that executes more warp-instructions than this as hung
 * (CUDA_ERROR_LAUNCH_TIMEOUT, the report says where); 0 = no limit. */
void nvfp4_emulator_limit_instructions(int64_t warp_instructions);

/* The order in which blocks run, 0 = ascending. */
void nvfp4_emulator_seed(uint64_t seed);

/* Warp-instructions executed and seconds of modelled time so far, on all devices. */
int64_t nvfp4_emulator_instructions(void);
double nvfp4_emulator_seconds(void);

/* Forgets everything: memory, streams and their like, faults, the sticky error, counters. A real
 * driver has no such thing: after a sticky error the process must end. */
void nvfp4_emulator_reset(void);

#ifdef __cplusplus
}
#endif
