// The matrix product that convolutions and gemm are made of: rows of A are found through pointers, so that a
// convolution needs no im2col.
//
//   y[row][n] (+)= sum over t, c of a[t][row][c] * b[t][c][n]
//
// A call of `multiply` owns kRows rows and one panel of up to kWidth columns; their sums stay in registers. b is a
// panel: for each term one row of whole vectors; rows are `step` elements apart. Assumes nothing about alignment.
// Columns beyond the last one of y are computed from whatever the panel has there, and not stored. Order: one sequence
// of fused multiply-adds over t and c, which the caller keeps below kBlock terms; then the sum is added to y, or
// stored.
#pragma once
#include "vector.h"

namespace convgpu::cpu::CONVGPU_ISA {

// Accumulators take kRows * kVectors registers, of which AVX-512 and NEON have 32, and AVX2 has 16.
constexpr int kRows = 6;
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kVectors = 4;
#else
constexpr int kVectors = 2;
#endif
template <class A>
constexpr int kWidth = kVectors * kLanes<A>;  // columns of a panel

// A plain sequence of n terms errs by up to about sqrt(n) units. Blocks of this many terms keep sums of any length
// within the bound of the project's kernels.
constexpr int kBlock = 128;

// What becomes of a sum: it is added to what y holds, or to the bias, and then rectified.
template <class A>
struct Finish {
    bool add = false;
    const A* bias = nullptr;  // for every column of the panel, padded to whole vectors
    bool relu = false;
};

template <class A, int V>
__attribute__((noinline)) void multiply_panel(const A* const* a, int64_t taps, int64_t begin, int64_t end, const A* b,
                                              int64_t step, A* const* y, int64_t column, int rows, int last,
                                              const Finish<A>& finish) {
    using Vec = Vector<A>;
    constexpr int L = kLanes<A>;
    Vec sum[kRows][V];
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) sum[r][v] = Vec{};
    }
    for (int64_t t = 0; t < taps; ++t, a += kRows) {
        const A *a0 = a[0], *a1 = a[1], *a2 = a[2], *a3 = a[3], *a4 = a[4], *a5 = a[5];
        for (int64_t c = begin; c < end; ++c, b += step) {
            Vec w[V];
#pragma GCC unroll 4
            for (int v = 0; v < V; ++v) w[v] = load(b + v * L);
            const auto row = [&](Vec(&s)[V], A value) __attribute__((always_inline)) {
                const Vec all = broadcast(value);
#pragma GCC unroll 4
                for (int v = 0; v < V; ++v) s[v] += all * w[v];
            };
            row(sum[0], a0[c]);
            row(sum[1], a1[c]);
            row(sum[2], a2[c]);
            row(sum[3], a3[c]);
            row(sum[4], a4[c]);
            row(sum[5], a5[c]);
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
        if (r >= rows) break;
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) {
            A* const to = y[r] + column + v * L;
            const int n = v == V - 1 ? last : L;
            Vec s = sum[r][v];
            if (finish.add) s = load_first(to, n) + s;
            if (finish.bias) s += load(finish.bias + v * L);
            if (finish.relu) s = s <= 0 ? Vec{} : s;
            store_first(to, s, n);
        }
    }
}

// The columns of one panel: `last` of the last vector's elements exist.
template <class A>
struct Panel {
    int vectors, last;
    CONVGPU_INLINE int width() const { return vectors * kLanes<A>; }
};
template <class A>
CONVGPU_INLINE Panel<A> panel_of(int64_t columns) {
    const int n = static_cast<int>(smaller<int64_t>(columns, kWidth<A>)),
              vectors = static_cast<int>(parts(n, kLanes<A>));
    return {vectors, n - (vectors - 1) * kLanes<A>};
}

template <class A>
CONVGPU_INLINE void multiply(const Panel<A>& panel, const A* const* a, int64_t taps, int64_t begin, int64_t end,
                             const A* b, int64_t step, A* const* y, int64_t column, int rows, const Finish<A>& finish) {
    switch (panel.vectors) {
        case 1:
            return multiply_panel<A, 1>(a, taps, begin, end, b, step, y, column, rows, panel.last, finish);
        case 2:
            return multiply_panel<A, 2>(a, taps, begin, end, b, step, y, column, rows, panel.last, finish);
#if defined(__AVX512F__) || defined(__aarch64__)
        case 3:
            return multiply_panel<A, 3>(a, taps, begin, end, b, step, y, column, rows, panel.last, finish);
        default:
            return multiply_panel<A, 4>(a, taps, begin, end, b, step, y, column, rows, panel.last, finish);
#endif
    }
}

// How the terms of a sum, `taps` rows of `inner` terms, are cut into blocks: some whole taps, or a part of one.
struct Blocks {
    int64_t taps, terms;  // of a block at most
    CONVGPU_INLINE Blocks(int64_t inner) : taps(larger<int64_t>(1, kBlock / larger<int64_t>(inner, 1))), terms(inner) {
        if (inner > kBlock) terms = parts(inner, parts(inner, kBlock));
    }
};

}  // namespace convgpu::cpu::CONVGPU_ISA
