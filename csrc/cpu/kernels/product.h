// The matrix product that convolutions and gemm are made of: rows of A are found through pointers, so that a
// convolution needs no im2col.
//
//   y[row][n] (+)= sum over t, c of a[t][row][c] * b[t][c][n]
//
// Row `row` of a is at rows.at[t * rows.next + row] + rows.shift[t]: either each tap has pointers of its own, or all
// taps share them, and each is shifted by the same distance in all rows.
// A call of `multiply` owns kRows rows and one panel of up to kWidth columns; their sums stay in registers. b is a
// panel: for each term one row of whole vectors; rows are `step` elements apart. Assumes nothing about alignment.
// Columns beyond the last one of y are computed from whatever the panel has there, and not stored. Order: one sequence
// of fused multiply-adds over t and c (in the narrowest panel two, of even and of odd c), which the caller keeps below
// kBlock terms; then the sum is added to y, or stored.
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

template <class A>
struct Rows {
    const A* const* at;
    int64_t next;
    const int64_t* shift;
    const A* const* ahead = nullptr;  // if set, the pointers of the next call, whose rows are fetched into the cache
};
constexpr int64_t kUnshifted[1] = {0};

// sum[r][v] += a[r][c] * b[v], for all rows.
template <class A, int V>
CONVGPU_INLINE void add_products(Vector<A> (&sum)[kRows][V], const A* const (&a)[kRows], int64_t c, const A* b) {
    Vector<A> w[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) w[v] = load(b + v * kLanes<A>);
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
        const Vector<A> all = broadcast(a[r][c]);
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) sum[r][v] += all * w[v];
    }
}

template <class A, int V, bool kFetches>
__attribute__((noinline)) void multiply_panel(const Rows<A>& a, int64_t taps, int64_t begin, int64_t end, const A* b,
                                              int64_t step, A* const* y, int64_t column, int rows, int last,
                                              const Finish<A>& finish) {
    using Vec = Vector<A>;
    constexpr int L = kLanes<A>;
    // One vector of columns has too few sums to keep the multipliers busy until the first is ready for its next term.
    constexpr bool kTwice = V == 1;
    Vec sum[kRows][V], odd[kRows][V];
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) sum[r][v] = odd[r][v] = Vec{};
    }
    const A* const* at = a.at;
    for (int64_t t = 0; t < taps; ++t, at += a.next) {
        const int64_t shift = a.shift[t];
        const A* const p[kRows] = {at[0] + shift, at[1] + shift, at[2] + shift,
                                   at[3] + shift, at[4] + shift, at[5] + shift};
        int64_t c = begin;
        for (constexpr int64_t kLine = 64 / sizeof(A); kFetches && c + kLine <= end;) {
#pragma GCC unroll 6
            for (int r = 0; r < kRows; ++r) __builtin_prefetch(a.ahead[r] + shift + c);
            for (const int64_t stop = c + kLine; c < stop; ++c, b += step) add_products(sum, p, c, b);
        }
        for (; kTwice && c + 2 <= end; c += 2, b += 2 * step) {
            add_products(sum, p, c, b);
            add_products(odd, p, c + 1, b + step);
        }
        for (; c < end; ++c, b += step) add_products(sum, p, c, b);
    }
#pragma GCC unroll 6
    for (int r = 0; kTwice && r < kRows; ++r) sum[r][0] += odd[r][0];
    if (rows == kRows && last == L && !finish.bias && !finish.relu) {
        // This is the usual case, without the tests below.
#pragma GCC unroll 6
        for (int r = 0; r < kRows; ++r) {
            A* const to = y[r] + column;
#pragma GCC unroll 4
            for (int v = 0; v < V; ++v) store(to + v * L, finish.add ? load(to + v * L) + sum[r][v] : sum[r][v]);
        }
        return;
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

// Columns are cut into panels of so many columns each, the last one of fewer: as equal as whole vectors allow, since
// narrow panels read more per product.
template <class A>
CONVGPU_INLINE int64_t panel_width(int64_t columns) {
    const int64_t vectors = parts(larger<int64_t>(columns, 1), kLanes<A>);
    return parts(vectors, parts(vectors, kVectors)) * kLanes<A>;
}

// The columns of one panel: `last` of the last vector's elements exist.
template <class A>
struct Panel {
    int vectors, last;
    CONVGPU_INLINE int width() const { return vectors * kLanes<A>; }
};
template <class A>
CONVGPU_INLINE Panel<A> panel_of(int64_t columns, int64_t width = kWidth<A>) {
    const int n = static_cast<int>(smaller(columns, width)), vectors = static_cast<int>(parts(n, kLanes<A>));
    return {vectors, n - (vectors - 1) * kLanes<A>};
}

// kFetches: whether rows.ahead is set. Narrow panels take no notice of it.
template <bool kFetches = false, class A>
CONVGPU_INLINE void multiply(const Panel<A>& panel, const Rows<A>& a, int64_t taps, int64_t begin, int64_t end,
                             const A* b, int64_t step, A* const* y, int64_t column, int rows, const Finish<A>& finish) {
    switch (panel.vectors) {
        case 1:
            return multiply_panel<A, 1, false>(a, taps, begin, end, b, step, y, column, rows, panel.last, finish);
        case 2:
            return multiply_panel < A, 2,
                   kFetches && kVectors == 2 > (a, taps, begin, end, b, step, y, column, rows, panel.last, finish);
#if defined(__AVX512F__) || defined(__aarch64__)
        case 3:
            return multiply_panel<A, 3, false>(a, taps, begin, end, b, step, y, column, rows, panel.last, finish);
        default:
            return multiply_panel<A, 4, kFetches>(a, taps, begin, end, b, step, y, column, rows, panel.last, finish);
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
