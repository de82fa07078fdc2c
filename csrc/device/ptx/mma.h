// A warp's matrix loads and tensor-core products (from sm_80 on), and its matrix stores (sm_90).
#pragma once
#include "machine.h"

namespace convgpu::ptx {

// This type stands for the tf32 format: a float32 whose low 13 bits are ignored.
struct Tf32 {};

#ifndef __CUDACC__
template <class T>
constexpr emulator::Operand operand() {
    static_assert(std::is_same_v<T, __nv_bfloat16> || std::is_same_v<T, __half> || std::is_same_v<T, Tf32>,
                  "tensor cores take __nv_bfloat16, __half or Tf32");
    return std::is_same_v<T, __nv_bfloat16> ? emulator::Operand::kBFloat16
           : std::is_same_v<T, __half>      ? emulator::Operand::kFloat16
                                            : emulator::Operand::kTf32;
}
#endif

// Rounds a float32 to the nearest tf32, and ties away from zero. A NaN becomes the canonical NaN.
__device__ __forceinline__ uint32_t to_tf32(float value) {
    uint32_t bits;
    CONVGPU_PTX("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
    CONVGPU_EMULATED(bits = value != value ? 0x7fffffffu : (__float_as_uint(value) + 0x1000u) & 0xffffe000u;)
    return bits;
}

// Loads four 8x8 matrices of 16-bit elements; lane 8*i + r brings the address of row r of matrix i. Register i of lane
// 4*g + t is row g, columns 2t and 2t + 1 of matrix i, or of its transpose.
template <bool Transpose = false>
__device__ __forceinline__ void ldmatrix_x4(uint32_t (&r)[4], uint32_t row) {
    if constexpr (Transpose) {
        CONVGPU_PTX("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];" : "=r"(r[0]), "=r"(r[1]),
                    "=r"(r[2]), "=r"(r[3]) : "r"(row) : "memory");
    } else {
        CONVGPU_PTX("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];" : "=r"(r[0]), "=r"(r[1]),
                    "=r"(r[2]), "=r"(r[3]) : "r"(row) : "memory");
    }
    CONVGPU_EMULATED(emulator::ldmatrix(r, 4, Transpose, row);)
}

// Loads two matrices as ldmatrix_x4 loads four; lanes 0 to 15 bring the addresses.
template <bool Transpose = false>
__device__ __forceinline__ void ldmatrix_x2(uint32_t (&r)[2], uint32_t row) {
    if constexpr (Transpose) {
        CONVGPU_PTX("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];" : "=r"(r[0]),
                    "=r"(r[1]) : "r"(row) : "memory");
    } else {
        CONVGPU_PTX("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];" : "=r"(r[0]),
                    "=r"(r[1]) : "r"(row) : "memory");
    }
    CONVGPU_EMULATED(emulator::ldmatrix(r, 2, Transpose, row);)
}

// Stores four matrices: the inverse of ldmatrix_x4 (sm_90).
template <bool Transpose = false>
__device__ __forceinline__ void stmatrix_x4(uint32_t row, const uint32_t (&r)[4]) {
    if constexpr (Transpose) {
        CONVGPU_PTX("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(row), "r"(r[0]),
                    "r"(r[1]), "r"(r[2]), "r"(r[3]) : "memory");
    } else {
        CONVGPU_PTX("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(row), "r"(r[0]), "r"(r[1]),
                    "r"(r[2]), "r"(r[3]) : "memory");
    }
    CONVGPU_EMULATED(emulator::stmatrix(r, 4, Transpose, row);)
}

#ifdef __CUDACC__
#define CONVGPU_MMA(SHAPE)                                                                                    \
    asm volatile("mma.sync.aligned." SHAPE " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" \
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                                             \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))
#endif

// Computes d += a * b for a 16x16 matrix a, a 16x8 matrix b and a 16x8 matrix d. T is __nv_bfloat16 or __half.
template <class T>
__device__ __forceinline__ void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#ifdef __CUDACC__
    if constexpr (std::is_same_v<T, __nv_bfloat16>) {
        CONVGPU_MMA("m16n8k16.row.col.f32.bf16.bf16.f32");
    } else {
        static_assert(std::is_same_v<T, __half>, "mma_m16n8k16 takes __nv_bfloat16 or __half");
        CONVGPU_MMA("m16n8k16.row.col.f32.f16.f16.f32");
    }
#else
    emulator::mma_sync(operand<T>(), d, a, b);
#endif
}

// Computes d += a * b for a 16x8 matrix a, an 8x8 matrix b and a 16x8 matrix d. The factors are float32 bits whose low
// 13 are ignored.
__device__ __forceinline__ void mma_m16n8k8_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#ifdef __CUDACC__
    CONVGPU_MMA("m16n8k8.row.col.f32.tf32.tf32.f32");
#else
    emulator::mma_sync(emulator::Operand::kTf32, d, a, b);
#endif
}

#undef CONVGPU_MMA

}  // namespace convgpu::ptx
