// SPDX-License-Identifier: Apache-2.0
// Hand-written PTX for tests of the driver seam: small kernels whose effect is plain from their
// text.
#pragma once

namespace nvfp4 {

/// vector_add(a, b, c, n): c[i] = a[i] + b[i] for i < n; floats; reads and writes beyond n only
/// when the caller's n lies. set_word(p, v): one thread stores v. spin(p): loops until *p != 0.
inline constexpr char kTestPtx[] = R"(
.version 8.3
.target sm_80
.address_size 64

.visible .entry vector_add(
    .param .u64 vector_add_param_0, .param .u64 vector_add_param_1,
    .param .u64 vector_add_param_2, .param .u32 vector_add_param_3)
{
    .reg .pred %p<2>;
    .reg .f32 %f<4>;
    .reg .b32 %r<6>;
    .reg .b64 %rd<11>;
    ld.param.u64 %rd1, [vector_add_param_0];
    ld.param.u64 %rd2, [vector_add_param_1];
    ld.param.u64 %rd3, [vector_add_param_2];
    ld.param.u32 %r2, [vector_add_param_3];
    mov.u32 %r3, %ctaid.x;
    mov.u32 %r4, %ntid.x;
    mov.u32 %r5, %tid.x;
    mad.lo.s32 %r1, %r3, %r4, %r5;
    setp.ge.s32 %p1, %r1, %r2;
    @%p1 bra $L__done;
    cvta.to.global.u64 %rd4, %rd1;
    mul.wide.s32 %rd5, %r1, 4;
    add.s64 %rd6, %rd4, %rd5;
    cvta.to.global.u64 %rd7, %rd2;
    add.s64 %rd8, %rd7, %rd5;
    ld.global.f32 %f1, [%rd6];
    ld.global.f32 %f2, [%rd8];
    add.f32 %f3, %f1, %f2;
    cvta.to.global.u64 %rd9, %rd3;
    add.s64 %rd10, %rd9, %rd5;
    st.global.f32 [%rd10], %f3;
$L__done:
    ret;
}

.visible .entry set_word(.param .u64 set_word_param_0, .param .u32 set_word_param_1)
{
    .reg .b32 %r<2>;
    .reg .b64 %rd<2>;
    ld.param.u64 %rd1, [set_word_param_0];
    ld.param.u32 %r1, [set_word_param_1];
    st.global.u32 [%rd1], %r1;
    ret;
}

.visible .entry spin(.param .u64 spin_param_0)
{
    .reg .pred %p<2>;
    .reg .b32 %r<2>;
    .reg .b64 %rd<2>;
    ld.param.u64 %rd1, [spin_param_0];
$L__again:
    ld.volatile.global.u32 %r1, [%rd1];
    setp.eq.s32 %p1, %r1, 0;
    @%p1 bra $L__again;
    ret;
}

.visible .entry narrow() .maxntid 64, 1, 1
{
    .reg .b32 %r<4>;
    .shared .align 16 .b8 narrow_tile[4096];
    mov.u32 %r1, %tid.x;
    shl.b32 %r2, %r1, 2;
    mov.u32 %r3, narrow_tile;
    add.s32 %r3, %r3, %r2;
    st.volatile.shared.u32 [%r3], %r1;
    ret;
}
)";

/// dependent(in, out): out[0] = *in as read before the grid wait, out[1] = *in as read after it.
/// advance(word): waits for the grid, then adds one to *word.
inline constexpr char kDependentPtx[] = R"(
.version 8.3
.target sm_90
.address_size 64

.visible .entry dependent(.param .u64 dependent_param_0, .param .u64 dependent_param_1)
{
    .reg .b32 %r<3>;
    .reg .b64 %rd<3>;
    ld.param.u64 %rd1, [dependent_param_0];
    ld.param.u64 %rd2, [dependent_param_1];
    ld.volatile.global.u32 %r1, [%rd1];
    griddepcontrol.wait;
    ld.volatile.global.u32 %r2, [%rd1];
    st.global.u32 [%rd2], %r1;
    st.global.u32 [%rd2+4], %r2;
    ret;
}

.visible .entry advance(.param .u64 advance_param_0)
{
    .reg .b32 %r<3>;
    .reg .b64 %rd<2>;
    ld.param.u64 %rd1, [advance_param_0];
    griddepcontrol.wait;
    ld.volatile.global.u32 %r1, [%rd1];
    add.s32 %r2, %r1, 1;
    st.volatile.global.u32 [%rd1], %r2;
    ret;
}
)";

/// A stand-in GEMM: nvfp4_gemm(GemmParams) stores m, tiles_m, out_type and ldo as four words at
/// `out` from one thread of each block.
inline constexpr char kStandInGemmPtx[] = R"(
.version 8.3
.target sm_90a
.address_size 64

.visible .entry nvfp4_gemm(.param .align 8 .b8 nvfp4_gemm_param_0[80]) .maxntid 128, 1, 1
{
    .reg .pred %p<2>;
    .reg .b32 %r<6>;
    .reg .b64 %rd<3>;
    mov.u32 %r1, %tid.x;
    setp.ne.s32 %p1, %r1, 0;
    @%p1 bra $L__done;
    ld.param.u64 %rd1, [nvfp4_gemm_param_0+16];
    ld.param.u32 %r2, [nvfp4_gemm_param_0+64];
    ld.param.u32 %r3, [nvfp4_gemm_param_0+68];
    ld.param.u32 %r4, [nvfp4_gemm_param_0+72];
    ld.param.u32 %r5, [nvfp4_gemm_param_0+56];
    cvta.to.global.u64 %rd2, %rd1;
    st.global.u32 [%rd2], %r2;
    st.global.u32 [%rd2+4], %r3;
    st.global.u32 [%rd2+8], %r4;
    st.global.u32 [%rd2+12], %r5;
$L__done:
    ret;
}
)";

}  // namespace nvfp4
