// Copies pixels between an array of any layout and dtype and rows of the computing type, whose channels are neighbours.
#pragma once
#include "convert.h"

namespace convgpu::cpu::CONVGPU_ISA {

#if defined(__clang__) || __GNUC__ >= 12
#define CONVGPU_SHUFFLE(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
typedef int32_t FourIntegers __attribute__((vector_size(16)));
#define CONVGPU_SHUFFLE(a, b, i, j, k, l) __builtin_shuffle(a, b, FourIntegers{i, j, k, l})
#endif

// to[i * step_to + j] = from[j * step_from + i] for i, j below 4.
CONVGPU_INLINE void transpose_4x4(const float* from, int64_t step_from, float* to, int64_t step_to) {
    typedef float Four __attribute__((vector_size(16)));
    typedef float Unaligned __attribute__((vector_size(16), aligned(4), may_alias));
    const auto in = [&](int j) { return Four(*reinterpret_cast<const Unaligned*>(from + j * step_from)); };
    const Four a = in(0), b = in(1), c = in(2), d = in(3);
    const Four ab = CONVGPU_SHUFFLE(a, b, 0, 4, 1, 5), cd = CONVGPU_SHUFFLE(c, d, 0, 4, 1, 5);
    const Four ab2 = CONVGPU_SHUFFLE(a, b, 2, 6, 3, 7), cd2 = CONVGPU_SHUFFLE(c, d, 2, 6, 3, 7);
    const auto out = [&](int i, Four v) { *reinterpret_cast<Unaligned*>(to + i * step_to) = v; };
    out(0, CONVGPU_SHUFFLE(ab, cd, 0, 1, 4, 5));
    out(1, CONVGPU_SHUFFLE(ab, cd, 2, 3, 6, 7));
    out(2, CONVGPU_SHUFFLE(ab2, cd2, 0, 1, 4, 5));
    out(3, CONVGPU_SHUFFLE(ab2, cd2, 2, 3, 6, 7));
}

// to[i * step_to + j] = from[j * step_from + i] for i below m and j below n, both rows without gaps.
template <class A>
CONVGPU_INLINE void transpose(const A* from, int64_t step_from, A* to, int64_t step_to, int64_t m, int64_t n) {
    int64_t whole_m = 0, whole_n = 0;
    if constexpr (sizeof(A) == 4) {
        whole_m = m / 4 * 4;
        whole_n = n / 4 * 4;
        for (int64_t i = 0; i < whole_m; i += 4) {
            for (int64_t j = 0; j < whole_n; j += 4) {
                transpose_4x4(from + j * step_from + i, step_from, to + i * step_to + j, step_to);
            }
        }
    }
    for (int64_t i = 0; i < m; ++i) {
        for (int64_t j = i < whole_m ? whole_n : 0; j < n; ++j) to[i * step_to + j] = from[j * step_from + i];
    }
}

constexpr int kTile = 64;  // pixels that are transposed at a time

// to[p * row + c] = from[p * step_p + c * step_c], converted, for p below n and c below `channels`.
template <class T>
CONVGPU_INLINE void fetch(const T* from, int64_t step_p, int64_t step_c, Accumulator<T>* to, int64_t row, int64_t n,
                          int64_t channels) {
    using A = Accumulator<T>;
    if (step_c == 1) {
        if (step_p == channels && row == channels) return widen(from, to, n * channels);
        for (int64_t p = 0; p < n; ++p) widen(from + p * step_p, to + p * row, channels);
        return;
    }
    if (step_p != 1) {
        for (int64_t p = 0; p < n; ++p) {
            for (int64_t c = 0; c < channels; ++c) to[p * row + c] = widened(from[p * step_p + c * step_c]);
        }
        return;
    }
    A tile[4 * kTile];
    for (int64_t p = 0; p < n; p += kTile) {
        const int64_t pixels = smaller<int64_t>(kTile, n - p);
        for (int64_t c = 0; c < channels; c += 4) {
            const int64_t some = smaller<int64_t>(4, channels - c);
            for (int64_t j = 0; j < some; ++j) widen(from + (c + j) * step_c + p, tile + j * kTile, pixels);
            transpose(tile, kTile, to + p * row + c, row, pixels, some);
        }
    }
}

// The same into rows of `width` elements, whole vectors of which those beyond the last channel become zero.
template <class T>
CONVGPU_INLINE void pack_filters(const T* from, int64_t step_p, int64_t step_c, Accumulator<T>* to, int64_t width,
                                 int64_t n, int64_t channels) {
    using A = Accumulator<T>;
    if constexpr (sizeof(T) == sizeof(A)) {
        if (step_c == 1) {
            for (int64_t p = 0; p < n; ++p, from += step_p, to += width) {
                int64_t c = 0;
                for (; c + kLanes<A> <= channels; c += kLanes<A>) store(to + c, load(from + c));
                if (c < channels) store(to + c, load_first(from + c, static_cast<int>(channels - c)));
            }
            return;
        }
    }
    fetch<T>(from, step_p, step_c, to, width, n, channels);
    for (int64_t p = 0; p < n && channels < width; ++p) {
        for (int64_t c = channels; c < width; ++c) to[p * width + c] = 0;
    }
}

// The reverse: to[p * step_p + c * step_c] = from[p * row + c].
template <class T>
CONVGPU_INLINE void deliver(const Accumulator<T>* from, int64_t row, T* to, int64_t step_p, int64_t step_c, int64_t n,
                            int64_t channels) {
    using A = Accumulator<T>;
    if (step_c == 1) {
        for (int64_t p = 0; p < n; ++p) narrow(from + p * row, to + p * step_p, channels);
        return;
    }
    if (step_p != 1) {
        for (int64_t c = 0; c < channels; ++c) {
            for (int64_t p = 0; p < n; ++p) to[p * step_p + c * step_c] = narrowed<T>(from[p * row + c]);
        }
        return;
    }
    A tile[4 * kTile];
    for (int64_t p = 0; p < n; p += kTile) {
        const int64_t pixels = smaller<int64_t>(kTile, n - p);
        for (int64_t c = 0; c < channels; c += 4) {
            const int64_t some = smaller<int64_t>(4, channels - c);
            transpose(from + p * row + c, row, tile, kTile, some, pixels);
            for (int64_t j = 0; j < some; ++j) narrow(tile + j * kTile, to + (c + j) * step_c + p, pixels);
        }
    }
}

}  // namespace convgpu::cpu::CONVGPU_ISA
