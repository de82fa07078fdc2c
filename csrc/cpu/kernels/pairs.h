// Products of bfloat16 by instructions that multiply and add two terms at once.
//
//   sums[row][column] (+)= sum over t of a[row][t] * b[t][column]
//
// There are two units that do this: AMX (pairs_amx.cpp) and AVX512-BF16 (pairs_avx512.cpp). Both take the same
// operands, so that convolution, its gradients and gemm are written once (pairs_product.cpp, pairs_wgrad.cpp):
//
//   a      rows of terms that are neighbours, `step_a` elements from row to row
//   b      a panel of kPairColumns columns: for every two terms, both of the first column, both of the second, ...
//   sums   rows of kPairColumns float32
//
// Terms come in steps of kPairTerms; what a sum lacks to whole steps is zero in both operands. Either unit rounds every
// addition to float32, to the nearest, and takes subnormal operands, products and sums for zeros.
#pragma once
#include "../dtypes.h"
#include "vector.h"

// The compilers that know both units. They compile them for v4 alone, whose vectors the rest is written with.
#if defined(__AVX512F__) && defined(__linux__) && \
    ((defined(__clang__) && __clang_major__ >= 12) || (!defined(__clang__) && __GNUC__ >= 11))
#define CONVGPU_PAIRS 1
#endif

namespace convgpu::cpu::CONVGPU_ISA {

constexpr int kPairRows = 32, kPairColumns = 32, kPairTerms = 32;
constexpr int64_t kPairBlock = 512;  // terms of a product at most; sums of these are added one after the other

struct PairUnit {
    void (*begin)();  // prepares a thread for products
    // rows and columns: how many are wanted, up to kPairRows and kPairColumns. Those that fill a tile of 16 are
    // computed.
    void (*multiply)(const BFloat16* a, int64_t step_a, const BFloat16* b, int64_t steps, float* sums, int rows,
                     int columns, bool add);
    void (*end)();
};

extern const PairUnit kAmx, kDotProducts;

}  // namespace convgpu::cpu::CONVGPU_ISA
