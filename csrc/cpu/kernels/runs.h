// The matrix product that filters' gradients are made of: sums over runs of neighbouring pixels.
//
//   to[lane][k] (+)= sum over the runs' pixels of x[lane][pixel] * gy[pixel][k]
//
// A call owns kRows lanes, each with a pointer of its own, and one panel of filters; their sums stay in registers.
// Order: one sequence of fused multiply-adds over the pixels (in the narrowest panel two, of even and of odd pixels of
// a run), which the caller keeps below kBlock terms; then the sum is added to what is there, or stored.
#pragma once
#include "product.h"

namespace convgpu::cpu::CONVGPU_ISA {

// Neighbouring pixels of gy: where the first one is in x, from the pointer of a lane, and in gy, in units of a pixel.
struct Run {
    int64_t x, gy, pixels;
};

// How far neighbouring pixels of a run lie apart, in elements.
struct Apart {
    int64_t x, gy;
    int64_t unit;   // what Run::gy counts, in elements
    int64_t ahead;  // so far ahead x is fetched into the cache: a long step is more than the processor foresees
};

template <class A, int V>
__attribute__((noinline)) void multiply_runs(const A* const* lanes, const A* gy, const Run* run, int64_t runs,
                                             const Apart& apart, A* to, bool add) {
    using Vec = Vector<A>;
    constexpr int L = kLanes<A>;
    constexpr bool kTwice = V == 1;
    Vec sum[kRows][V], odd[kRows][V];
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) sum[r][v] = odd[r][v] = Vec{};
    }
    const int64_t step = apart.x, next = apart.gy, ahead = apart.ahead;
    const A* const x[kRows] = {lanes[0], lanes[1], lanes[2], lanes[3], lanes[4], lanes[5]};
    for (int64_t i = 0; i < runs; ++i) {
        int64_t at = run[i].x, p = run[i].pixels;
        const A* g = gy + run[i].gy * apart.unit;
        for (; kTwice && p >= 2; p -= 2, at += 2 * step, g += 2 * next) {
            add_products(sum, x, at, g);
            add_products(odd, x, at + step, g + next);
        }
        for (; p > 0; --p, at += step, g += next) {
            if (V >= 3) __builtin_prefetch(x[0] + at + ahead);
            add_products(sum, x, at, g);
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
        if (kTwice) sum[r][0] += odd[r][0];
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) {
            A* const at = to + (r * V + v) * L;
            store(at, add ? load(at) + sum[r][v] : sum[r][v]);
        }
    }
}

template <class A>
CONVGPU_INLINE void multiply_runs(int vectors, const A* const* lanes, const A* gy, const Run* run, int64_t runs,
                                  const Apart& apart, A* to, bool add) {
    switch (vectors) {
        case 1:
            return multiply_runs<A, 1>(lanes, gy, run, runs, apart, to, add);
        case 2:
            return multiply_runs<A, 2>(lanes, gy, run, runs, apart, to, add);
#if defined(__AVX512F__) || defined(__aarch64__)
        case 3:
            return multiply_runs<A, 3>(lanes, gy, run, runs, apart, to, add);
        default:
            return multiply_runs<A, 4>(lanes, gy, run, runs, apart, to, add);
#endif
    }
}

// Where the block that begins with run i ends: it has kBlock pixels at most, if no run is longer.
CONVGPU_INLINE int64_t end_of_block(const Run* run, int64_t i, int64_t runs) {
    int64_t pixels = run[i++].pixels;
    while (i < runs && pixels + run[i].pixels <= kBlock) pixels += run[i++].pixels;
    return i;
}

}  // namespace convgpu::cpu::CONVGPU_ISA
