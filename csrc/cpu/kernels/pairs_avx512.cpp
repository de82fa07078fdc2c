// The product of bfloat16 with AVX512-BF16: vdpbf16ps adds to each of 16 sums the products of a pair of terms.
//
// A call owns up to 32 rows and 32 columns of sums, and takes kTall rows at a time: their sums stay in registers.
// Layouts: those of pairs.h. A pair of a row of A is one word of 32 bits, which the instruction broadcasts.
// Order: one sequence of pairs, the odd term of each before the even one; the caller ends it after kPairBlock terms.
#include "pairs.h"

#if defined(CONVGPU_PAIRS)
namespace convgpu::cpu::CONVGPU_ISA {
namespace {

#define CONVGPU_BF16 __attribute__((target("avx512bf16")))

constexpr int kTall = 8;  // 2 x 8 sums hide the time of an instruction, and leave registers for the operands

CONVGPU_BF16 void begin() {}
CONVGPU_BF16 void end() {}

template <int C>
CONVGPU_BF16 void multiply_rows(const BFloat16* a, int64_t step_a, const BFloat16* b, int64_t pairs, float* sums,
                                bool add) {
    __m512 sum[kTall][C];
#pragma GCC unroll 8
    for (int r = 0; r < kTall; ++r) {
#pragma GCC unroll 2
        for (int c = 0; c < C; ++c) sum[r][c] = _mm512_setzero_ps();
    }
    for (int64_t p = 0; p < pairs; ++p, a += 2, b += 2 * kPairColumns) {
        __m512bh columns[C];
#pragma GCC unroll 2
        for (int c = 0; c < C; ++c) columns[c] = (__m512bh)_mm512_loadu_si512(b + 32 * c);
#pragma GCC unroll 8
        for (int r = 0; r < kTall; ++r) {
            int32_t pair;
            std::memcpy(&pair, a + r * step_a, sizeof pair);
            const __m512bh all = (__m512bh)_mm512_set1_epi32(pair);
#pragma GCC unroll 2
            for (int c = 0; c < C; ++c) sum[r][c] = _mm512_dpbf16_ps(sum[r][c], all, columns[c]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < kTall; ++r) {
#pragma GCC unroll 2
        for (int c = 0; c < C; ++c) {
            float* const to = sums + r * kPairColumns + 16 * c;
            _mm512_storeu_ps(to, add ? _mm512_add_ps(_mm512_loadu_ps(to), sum[r][c]) : sum[r][c]);
        }
    }
}

CONVGPU_BF16 void multiply(const BFloat16* a, int64_t step_a, const BFloat16* b, int64_t steps, float* sums, int rows,
                           int columns, bool add) {
    const int64_t pairs = steps * kPairTerms / 2;
    for (int r = 0; r < rows; r += kTall, a += kTall * step_a, sums += kTall * kPairColumns) {
        if (columns > 16) {
            multiply_rows<2>(a, step_a, b, pairs, sums, add);
        } else {
            multiply_rows<1>(a, step_a, b, pairs, sums, add);
        }
    }
}

}  // namespace

const PairUnit kDotProducts = {begin, multiply, end};

}  // namespace convgpu::cpu::CONVGPU_ISA
#endif
