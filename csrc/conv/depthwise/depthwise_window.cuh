// Depthwise fprop and dgrad by windows that slide along w, so that every pixel that is loaded serves several results.
//
// A thread owns V neighbouring channels of kColumns neighbouring pixels (along w) of the result; a block owns
// kDepthwiseThreads such pieces, which are neighbours in the result. Layouts: x[n][d][h][w][c], w[t][r][s][c],
// y[n][o][p][q][c]. For fprop x is the source and y the result; for dgrad y is the source and x the result. Assumes one
// filter per channel, no dilation along w, the stride kStride along w (any along d and h), that V divides the channels,
// and alignment to a vector of V elements (16 bytes at most). kTaps is the width of the filter, which has at most
// kMostTaps taps in all. kTaps == kChunk allows any width, which is done chunk after chunk, and any number of taps.
// Order of summation: the rows of the filter in rising order. In each row (or chunk of a row) the taps are in rising
// order for fprop and in falling order for dgrad. The sums of wide filters are taken in blocks of at most 64 taps, plus
// those of one chunk of a row. Padding is skipped. Half types are summed in float32.
#pragma once
#include "problem.h"

namespace convgpu::conv {

constexpr int kChunk = 4;
constexpr int kMostTaps = 64;

// Tells, at compile time, which pixel of a row meets which tap. Pixel i, counted from the first pixel that a thread
// reads, goes under tap s into column j of the result.
template <Direction kDirection, int kTaps, int kStride, int kColumns>
struct Sliding {
    static constexpr bool kBackwards = kDirection == Direction::kDgrad;
    static constexpr int kBefore = kBackwards ? (kTaps - 1) / kStride : 0;  // pixels before that of column 0, tap 0
    static constexpr int kPixels =
        kBackwards ? kBefore + (kColumns - 1) / kStride + 1 : (kColumns - 1) * kStride + kTaps;
    // The distance, in pixels of the source, from one chunk of taps to the next, and from these columns to the next
    // ones.
    static constexpr int kNextChunk = kBackwards ? -(kTaps / kStride) : kTaps;
    static constexpr int kNextColumns = kBackwards ? kColumns / kStride : kColumns * kStride;
    static constexpr int kCount = kColumns;

    __device__ static constexpr bool pixel_of(int j, int s, int& i) {
        i = kBackwards ? (j - s + kBefore * kStride) / kStride : j * kStride + s;
        return !kBackwards || (j - s) % kStride == 0;
    }
    __device__ static constexpr bool meets(int i, int j, int s) {
        int met = 0;
        return pixel_of(j, s, met) && i == met;
    }
    __device__ static int first(const DepthwiseAxis& axis, int at) {
        return kBackwards ? (at + axis.before) / kStride - kBefore : at * kStride - axis.before;
    }
    static int lead(const DepthwiseAxis& axis) { return kBackwards ? axis.before % kStride : 0; }
};

// Adds the products of one row to Slide::kCount sums, from kFrom on. The factors are Slide::kPixels pixels of the
// source, which begin at `row` and in column `first`, and kTaps taps of the filter, which begin at w. kInside tells
// that all of the pixels lie in the image.
template <class Slide, int kTaps, bool kInside, int kFrom, class T, class A, int kColumns, int V>
__device__ __forceinline__ void add_row(const T* x, int64_t row, int first, const DepthwiseProblem& p, const T* w,
                                        A (&sums)[kColumns][V]) {
    Vector<T, V> weights[kTaps];
#pragma unroll
    for (int s = 0; s < kTaps; ++s) weights[s] = load<V>(w + s * p.filters);
    const auto load_pixel = [&](int i) {
        const bool inside = kInside || p.axis[2].holds(first + i);
        return load_if<V>(inside, x + (row + i * p.source_channels), static_cast<T>(0.0f));
    };
    // All loads are issued here. Behind the branches below, each load would be waited for before the next.
    Vector<T, V> loaded[kInside ? 1 : Slide::kPixels];
#pragma unroll
    for (int i = 0; !kInside && i < Slide::kPixels; ++i) loaded[i] = load_pixel(i);
#pragma unroll
    for (int i = 0; i < Slide::kPixels; ++i) {
        if (!kInside && !p.axis[2].holds(first + i)) continue;
        const auto pixel = kInside ? load_pixel(i) : loaded[kInside ? 0 : i];
#pragma unroll
        for (int s = 0; s < kTaps; ++s) {
#pragma unroll
            for (int j = 0; j < Slide::kCount; ++j) {
                if (!Slide::meets(i, j, s)) continue;
#pragma unroll
                for (int v = 0; v < V; ++v) {
                    sums[kFrom + j][v] += static_cast<A>(pixel.at[v]) * static_cast<A>(weights[s].at[v]);
                }
            }
        }
    }
}

// Adds the products of the first `taps` taps of a chunk, tap after tap. This serves where the filter ends within the
// chunk, and at a border.
template <class Slide, class T, class A, int kColumns, int V>
__device__ __forceinline__ void add_taps(const T* x, int64_t row, int first, const DepthwiseProblem& p, const T* w,
                                         int taps, A (&sums)[kColumns][V]) {
#pragma unroll 1
    for (int s = 0; s < taps; ++s) {
        const auto weights = load<V>(w + s * p.filters);
#pragma unroll
        for (int j = 0; j < kColumns; ++j) {
            int i;
            if (!Slide::pixel_of(j, s, i) || !p.axis[2].holds(first + i)) continue;
            const auto pixel = load<V>(x + (row + i * p.source_channels));
#pragma unroll
            for (int v = 0; v < V; ++v) {
                sums[j][v] += static_cast<A>(pixel.at[v]) * static_cast<A>(weights.at[v]);
            }
        }
    }
}

template <class T, int V, int kTaps, int kColumns>
using Sums = DepthwiseSums<Accumulator<T>, kColumns, V, kTaps == kChunk>;

template <Direction kDirection, class T, int V, int kTaps, int kStride, int kColumns>
__global__ void __launch_bounds__(kDepthwiseThreads, kDepthwiseResident)
    depthwise_window(const T* __restrict__ source, const T* __restrict__ w, T* __restrict__ result,
                     const __grid_constant__ DepthwiseProblem p, const __grid_constant__ DepthwisePlaces places,
                     const __grid_constant__ DepthwiseEpilogue<T> epilogue) {
    using Slide = Sliding<kDirection, kTaps, kStride, kColumns>;
    constexpr bool kChunked = kTaps == kChunk;
    DepthwisePlaces::Place at;
    if (!places.find(at)) return;
    const DepthwiseAxis& width = p.axis[2];
    const int begin = Slide::first(width, at.w);
    const int64_t origin = p.source_at(at.n, 0, 0, begin, at.c), pitch = p.pitch();
    Sums<T, V, kTaps, kColumns> sums;
    for (int t = 0; t < p.axis[0].taps; ++t) {
        int d, h;
        if (!p.axis[0].source_of<kDirection>(at.d, t, d)) continue;
        for (int r = 0; r < p.axis[1].taps; ++r) {
            if (!p.axis[1].source_of<kDirection>(at.h, r, h)) continue;
            int64_t row = origin + (int64_t(d) * p.axis[1].source + h) * pitch;
            int first = begin;
            for (int s = 0; s < (kChunked ? width.taps : 1); s += kTaps) {
                const T* filter = w + p.filter_at(t, r, s, at.c);
                const int taps = kChunked ? width.taps - s : kTaps;
                if (taps >= kTaps && first >= 0 && first + Slide::kPixels <= width.source) {
                    add_row<Slide, kTaps, true, 0>(source, row, first, p, filter, sums.block);
                } else if constexpr (kChunked) {
                    add_taps<Slide>(source, row, first, p, filter, taps < kTaps ? taps : kTaps, sums.block);
                } else {
                    // At a border each pixel is loaded before it is known whether it counts, and is held in a register
                    // until then. Since registers are few, only four columns are done at a time.
                    using Four = Sliding<kDirection, kTaps, kStride, 4>;
                    add_row<Four, kTaps, false, 0>(source, row, first, p, filter, sums.block);
                    if constexpr (kColumns == 8) {
                        const int64_t next = row + Four::kNextColumns * p.source_channels;
                        add_row<Four, kTaps, false, 4>(source, next, first + Four::kNextColumns, p, filter, sums.block);
                    }
                }
                first += Slide::kNextChunk;
                row += int64_t(Slide::kNextChunk) * p.source_channels;
                sums.count(kTaps);
            }
        }
    }
    epilogue.template write<kDirection>(result, p.result_at(at.n, at.d, at.h, at.w, at.c), p.channels, at.c, -at.w,
                                        width.result - at.w, sums.all());
}

template <Direction kDirection, class T, int V, int kTaps, int kStride, int kColumns>
void launch_depthwise_window(const T* source, const T* w, T* result, const DepthwiseProblem& p,
                             const DepthwiseEpilogue<T>& epilogue, Stream stream) {
    const int lead = Sliding<kDirection, kTaps, kStride, kColumns>::lead(p.axis[2]);
    const DepthwisePlaces places(p, V, kColumns, lead);
    launch(depthwise_window<kDirection, T, V, kTaps, kStride, kColumns>,
           places.shape(Sums<T, V, kTaps, kColumns>::kSharedBytes), stream, source, w, result, p, places, epilogue);
}

}  // namespace convgpu::conv
