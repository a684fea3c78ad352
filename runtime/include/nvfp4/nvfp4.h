/* SPDX-License-Identifier: Apache-2.0 */
/* libnvfp4: NVFP4 weights as W4A16 on NVIDIA GPUs without FP4 units.
 *
 *   out[m, n] = round(g(n) * sum_k A[m, k] * E2M1(W[n, k]) * E4M3(S[n, k / 16]) + bias[n])
 *
 *   nvfp4_context_create    a device with its tuning database, compiler and kernel cache
 *   nvfp4_pack              checkpoint bytes to the one form that kernels read, once, at load
 *   nvfp4_prepare           the tuned kernels of a shape for a range of M: may compile, may block
 *   nvfp4_launch            enqueues: allocates nothing, waits for nothing, may be captured
 *
 * Every function returns a status and may be called from any thread. None throws, prints or ends the
 * process; nvfp4_last_error() is the text of this thread's last failure. A handle that was destroyed
 * is NVFP4_INVALID_HANDLE. Pointers are host pointers unless "device" is said. Structs start with
 * their size, so that a program built with an older header runs with a newer library, and an array
 * of them goes by the size of its first; fields that are zero mean the default.
 *
 * No call changes the CUDA context that is current, and none touches CUDA after main has returned
 * unless the program does it. In a child of a fork every call that needs the device is NVFP4_FORKED.
 * Exit waits for compilations that are under way; later ones are refused. The library stays loaded
 * when it is closed, and its handles stay valid.
 */
#ifndef NVFP4_NVFP4_H
#define NVFP4_NVFP4_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define NVFP4_API __attribute__((visibility("default")))
#else
#define NVFP4_API
#endif

/* An enumerator that is none is refused; without a type of its own C++ would call it undefined. */
#ifdef __cplusplus
#define NVFP4_INT : int
extern "C" {
#else
#define NVFP4_INT
#endif

#define NVFP4_ABI_VERSION 1 /* of this header; nvfp4_abi_version() is the library's */
#define NVFP4_MAX_PARTS 8   /* matrices in one stack */

typedef enum nvfp4_status NVFP4_INT {
  NVFP4_OK = 0,
  NVFP4_INVALID_ARGUMENT = 1, /* null, misaligned, out of range, a size that does not fit */
  NVFP4_INVALID_HANDLE = 2,   /* never created, or destroyed */
  NVFP4_BAD_DATA = 3,         /* weights without a packed form, e.g. a NaN scale; a bad file */
  NVFP4_NO_DEVICE = 4,        /* no driver, no GPU, or one that is not supported */
  NVFP4_NO_COMPILER = 5,      /* no NVRTC, or one that the driver is too old for */
  NVFP4_COMPILE_ERROR = 6,
  NVFP4_OUT_OF_MEMORY = 7, /* of the host or of the device */
  NVFP4_DRIVER_ERROR = 8,  /* a driver call failed; the context lives */
  NVFP4_DEVICE_LOST = 9,   /* a kernel of anyone in this process faulted: the context is gone */
  NVFP4_FORKED = 10,       /* this process is a fork of the one that created the context */
  NVFP4_INTERNAL = 11      /* a bug of the library */
} nvfp4_status;

typedef enum nvfp4_dtype NVFP4_INT {
  NVFP4_BF16 = 0,
  NVFP4_FP16 = 1,
  NVFP4_FP32 = 2,
  NVFP4_FP8_E4M3 = 3 /* dequantize only */
} nvfp4_dtype;

typedef uint64_t nvfp4_context; /* 0 is never a handle */
typedef uint64_t nvfp4_gemm;
typedef void* nvfp4_stream; /* a CUstream or cudaStream_t; null is the legacy default stream */

NVFP4_API int nvfp4_abi_version(void);
NVFP4_API const char* nvfp4_version(void);                        /* "0.1.0" */
NVFP4_API const char* nvfp4_status_name(nvfp4_status status);     /* "NVFP4_OK"; never null */
NVFP4_API const char* nvfp4_last_error(void); /* one line; valid until this thread's next call */

/* --- A context. --- */

/* Told, one line each and from any thread, what the library went on without. */
typedef void (*nvfp4_log)(void* user, const char* message);

typedef struct nvfp4_context_options {
  size_t size;
  const char* device;   /* null: the context that is current, else the primary one of GPU 0.
                         * "N": the primary one of GPU N. "emulated:h100": no GPU, for tests. */
  const char* database; /* null: the user's ($XDG_DATA_HOME/nvfp4); "": none. Shipped ones answer after it. */
  const char* cache;    /* null: the user's ($XDG_CACHE_HOME/nvfp4); "": kernels in memory only */
  nvfp4_log log;
  void* log_user;
} nvfp4_context_options;

/* `options` may be null. */
NVFP4_API nvfp4_status nvfp4_context_create(const nvfp4_context_options* options,
                                            nvfp4_context* context);
/* Its kernels live on until their own handles are destroyed. */
NVFP4_API nvfp4_status nvfp4_context_destroy(nvfp4_context context);

typedef struct nvfp4_device_info {
  size_t size;
  char name[64];
  int32_t compute_major, compute_minor;
  int32_t sm_count;
  int32_t emulated; /* 1: no GPU, and times are modelled */
  int64_t memory_bytes;
} nvfp4_device_info;

NVFP4_API nvfp4_status nvfp4_device(nvfp4_context context, nvfp4_device_info* info);

/* --- Weights: [n, k/2] codes (E2M1, even k in the low nibble), [n, k/16] scales (E4M3), one FP32
 *     global scale, which multiplies (compressed-tensors stores its reciprocal). --- */

/* One checkpoint matrix of a stack, e.g. q, k and v of one packed qkv. A shard of a larger matrix is
 * a part too: rows [r, ...) start at codes + r * stride, columns [c, ...) at codes + c / 2. */
typedef struct nvfp4_part {
  size_t size;
  int64_t n;             /* rows */
  const void* codes;     /* device for nvfp4_pack_on_device */
  const void* scales;    /* likewise */
  int64_t codes_stride;  /* bytes from row to row; 0: k / 2 */
  int64_t scales_stride; /* bytes; 0: k / 16 */
  float global_scale;    /* finite, above 0 */
  const char* name;      /* for messages; may be null */
} nvfp4_part;

/* What a stack of `count` parts of k columns takes. Every part starts on a multiple of 64 rows:
 * `rows` is N of the packed matrix, gaps included; `part_rows` are the parts' own. A single part
 * has rows = n. Any output may be null. */
typedef struct nvfp4_packed_info {
  size_t size;
  int64_t rows;          /* N for nvfp4_prepare */
  size_t packed_bytes;   /* 0.5625 a weight after padding to 64 x 64 */
  size_t global_scales;  /* floats: one per 64 rows */
} nvfp4_packed_info;

NVFP4_API nvfp4_status nvfp4_packed_size(const int64_t* part_rows, size_t count, int64_t k,
                                         nvfp4_packed_info* info);

/* Packs on the host with up to `threads` threads (0: all cores). Exact: every weight keeps its
 * value; a NaN scale is NVFP4_BAD_DATA and names part, row and block. `packed` holds packed_bytes,
 * `global_scales` one float per 64 rows; both are then copied to the device by the caller, 16-byte
 * aligned. */
NVFP4_API nvfp4_status nvfp4_pack(const nvfp4_part* parts, size_t count, int64_t k, int threads,
                                  void* packed, size_t packed_bytes, float* global_scales,
                                  size_t scale_count);

/* The same on the device: codes, scales, `packed` (16-byte aligned) and `global_scales` are device
 * memory. Blocks until it is done, since it reports NaN scales. */
NVFP4_API nvfp4_status nvfp4_pack_on_device(nvfp4_context context, const nvfp4_part* parts,
                                            size_t count, int64_t k, void* packed,
                                            size_t packed_bytes, float* global_scales,
                                            size_t scale_count, nvfp4_stream stream);

/* Back to canonical checkpoint bytes of rows [row, row + n) of a packed matrix of `rows` x k:
 * no negative scale, codes 0 where the scale is 0. Packing them gives the same bytes. */
NVFP4_API nvfp4_status nvfp4_unpack(const void* packed, size_t packed_bytes, int64_t rows, int64_t k,
                                    int64_t row, int64_t n, int threads, void* codes, void* scales);
NVFP4_API nvfp4_status nvfp4_unpack_on_device(nvfp4_context context, const void* packed,
                                              size_t packed_bytes, int64_t rows, int64_t k,
                                              int64_t row, int64_t n, void* codes, void* scales,
                                              nvfp4_stream stream);

/* Quantises [n, k] row-major floats on the host: the global scale maps the largest magnitude to
 * 448 * 6, each block of 16 gets amax / 6 in E4M3, codes round to nearest even. A weight that is
 * not finite is NVFP4_BAD_DATA. With `power_of_two` not 0 the global scale is rounded up to a power
 * of two, so that the weights are exact in bf16 (barring subnormals). */
NVFP4_API nvfp4_status nvfp4_quantize(const float* weights, int64_t n, int64_t k, int power_of_two,
                                      void* codes, void* scales, float* global_scale);

/* Weights as numbers, on the device: [n, k]: a product in FP32, rounded to `out_type`. From packed weights
 * (`packed` with its global scales), or from checkpoint bytes: codes, and scales that are E4M3 (then
 * times `global_scale`) or FP32 that have the global scale in them already. */
typedef struct nvfp4_dequantize_args {
  size_t size;
  int64_t n, k;
  const void* packed;         /* device, or null */
  const float* global_scales; /* device, with packed */
  const void* codes;          /* device, without packed */
  const void* scales;         /* device: [n, k/16] of scale_type */
  nvfp4_dtype scale_type;     /* NVFP4_FP8_E4M3 or NVFP4_FP32 */
  float global_scale;         /* with NVFP4_FP8_E4M3 scales */
  void* out;                  /* device, [n, k], 16-byte aligned */
  nvfp4_dtype out_type;
} nvfp4_dequantize_args;

NVFP4_API nvfp4_status nvfp4_dequantize(nvfp4_context context, const nvfp4_dequantize_args* args,
                                        nvfp4_stream stream);

/* --- Files. --- */

typedef uint64_t nvfp4_checkpoint; /* 0 is never a handle */

/* Opens a folder with an NVFP4 checkpoint (modelopt or compressed-tensors, one safetensors file or
 * shards), such a file, or one that `nvfp4-tune inspect --pack` wrote. Reads headers and global
 * scales. A file that is none of these, or that is not what it says, is NVFP4_BAD_DATA. Needs no
 * device. */
NVFP4_API nvfp4_status nvfp4_checkpoint_open(const char* path, nvfp4_checkpoint* checkpoint);
NVFP4_API nvfp4_status nvfp4_checkpoint_close(nvfp4_checkpoint checkpoint);

/* How many GEMMs its NVFP4 layers make, and how many things in it cannot be used; either may be
 * null. A problem is a line that names the tensor; its layer is in no stack. */
NVFP4_API nvfp4_status nvfp4_checkpoint_count(nvfp4_checkpoint checkpoint, size_t* stacks,
                                              size_t* problems);
NVFP4_API nvfp4_status nvfp4_checkpoint_problem(nvfp4_checkpoint checkpoint, size_t index,
                                                const char** text);

/* One GEMM: a layer, or layers with the same input (q, k and v; gate and up) as a stack. */
typedef struct nvfp4_stack_info {
  size_t size;
  const char* name; /* "model.layers.3.self_attn.qkv_proj"; lives as long as the checkpoint */
  int64_t rows;     /* N for nvfp4_prepare */
  int64_t k;
  size_t packed_bytes;
  size_t global_scales; /* floats */
  size_t part_count;
  int64_t part_rows[NVFP4_MAX_PARTS];
  const void* packed; /* of a packed file: its bytes, mapped; else null */
} nvfp4_stack_info;

/* Stacks are in the order of the model's layers. */
NVFP4_API nvfp4_status nvfp4_checkpoint_stack(nvfp4_checkpoint checkpoint, size_t index,
                                              nvfp4_stack_info* info);

/* Reads and packs a stack into the caller's memory, 64 rows at a time, with up to `threads` threads
 * (0: all cores). Several stacks may be packed at once. */
NVFP4_API nvfp4_status nvfp4_checkpoint_pack(nvfp4_checkpoint checkpoint, size_t index, int threads,
                                             void* packed, size_t packed_bytes,
                                             float* global_scales, size_t scale_count);

/* --- The product. --- */

enum {
  /* Launches may start before their predecessor on the stream has finished (programmatic dependent
   * launch). Weights and scales must then be complete before the predecessor started. */
  NVFP4_PDL = 1
};

typedef struct nvfp4_problem {
  size_t size;
  int64_t n;             /* rows of the packed matrix: nvfp4_packed_info.rows */
  int64_t k;
  nvfp4_dtype act;       /* NVFP4_BF16 or NVFP4_FP16 */
  uint32_t flags;        /* NVFP4_PDL */
  /* Rows of the parts of a stack whose outputs go to buffers of their own; null and 0: one output of
   * n columns. */
  const int64_t* part_rows;
  size_t part_count;
  /* Mixture of experts: so many matrices of n x k, one after another, in one launch; 0: one matrix.
   * Their packed bytes, global scales ((n + 63) / 64 each) and biases (n each) follow one another. */
  int64_t experts;
} nvfp4_problem;

typedef enum nvfp4_match NVFP4_INT {
  NVFP4_MATCH_EXACT = 0,    /* tuned at this M */
  NVFP4_MATCH_INTERVAL = 1, /* tuned at another M of the same tile of tokens */
  NVFP4_MATCH_NEAR = 2,     /* the nearest tuned M */
  NVFP4_MATCH_POLICY = 3,   /* measured with another launch policy */
  NVFP4_MATCH_ACT = 4,      /* measured with the other activation type */
  NVFP4_MATCH_DEFAULT = 5   /* nothing measured: the cost model's choice */
} nvfp4_match;

typedef struct nvfp4_selection {
  size_t size;
  const char* config;  /* canonical text; lives as long as the context */
  nvfp4_match match;
  int32_t measured;    /* 1: expected_us comes from a clock; 0: modelled */
  double expected_us;  /* 0: unknown */
  double f;            /* fraction of the roofline; 0: unknown */
  int64_t m_tuned;     /* 0: default */
} nvfp4_selection;

/* Which config runs m tokens and who says so. The first call for (n, k, act, m) may take
 * milliseconds; later ones allocate nothing and wait for nobody but a first call. */
NVFP4_API nvfp4_status nvfp4_lookup(nvfp4_context context, const nvfp4_problem* problem, int64_t m,
                                    nvfp4_selection* selection);

/* Loads the kernels for launches of up to m_max tokens, best from m_min on; compiles (on all cores)
 * what the cache lacks. 1 <= m_min <= m_max <= 2^20. */
NVFP4_API nvfp4_status nvfp4_prepare(nvfp4_context context, const nvfp4_problem* problem,
                                     int64_t m_min, int64_t m_max, nvfp4_gemm* gemm);
/* Not while a graph that holds its launches may still run. */
NVFP4_API nvfp4_status nvfp4_gemm_destroy(nvfp4_gemm gemm);

/* Bytes of device workspace for any launch of `gemm`; 0: none. One workspace, as large as the
 * largest need, serves all GEMMs that run one after another: one per stream or graph that may run
 * beside others. */
NVFP4_API nvfp4_status nvfp4_workspace_size(nvfp4_gemm gemm, size_t* bytes);
/* Once before the first launch, and again after any failed one. */
NVFP4_API nvfp4_status nvfp4_workspace_init(nvfp4_context context, void* workspace, size_t bytes,
                                            nvfp4_stream stream);

typedef struct nvfp4_output {
  void* out;   /* device, [m, part's n] */
  int64_t ldo; /* row stride in elements; 0: the part's n */
} nvfp4_output;

typedef struct nvfp4_launch_args {
  size_t size;
  int64_t m;                  /* tokens; 0 is no work */
  const void* weights;        /* device, packed, 16-byte aligned */
  const float* global_scales; /* device, one per 64 rows */
  const void* activations;    /* device, [m, k] of the problem's act, rows 16-byte aligned */
  int64_t lda;                /* row stride in elements, a multiple of 8; 0: k */
  const void* bias;           /* device, [n] of the problem's act (in rows of the packed matrix), or null */
  void* out;                  /* device, [m, n]; null for a problem with parts */
  int64_t ldo;                /* row stride in elements; 0: n */
  nvfp4_dtype out_type;       /* NVFP4_BF16, NVFP4_FP16 or NVFP4_FP32 */
  const nvfp4_output* outputs; /* one a part, for a problem with parts */
  size_t output_count;
  /* Device, [experts + 1], for a problem with experts: tokens of expert e are rows [offsets[e],
   * offsets[e + 1]) of activations and out. It starts with 0, ascends, and ends with at most m. */
  const int32_t* expert_offsets;
  void* workspace;            /* device, 256-byte aligned, initialised; null if the size is 0 */
  size_t workspace_bytes;
} nvfp4_launch_args;

/* Enqueues the product on `stream`. */
NVFP4_API nvfp4_status nvfp4_launch(nvfp4_gemm gemm, const nvfp4_launch_args* args,
                                    nvfp4_stream stream);

#ifdef __cplusplus
}
#endif

#endif
