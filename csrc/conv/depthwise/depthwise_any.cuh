// Depthwise fprop and dgrad for any stride, dilation, multiplier and number of channels.
//
// A thread owns V neighbouring channels of kColumns neighbouring pixels (along w) of the result; a block owns
// kDepthwiseThreads such pieces, which are neighbours in the result. Layouts: x[n][d][h][w][c], w[t][r][s][k],
// y[n][o][p][q][k]. For fprop x is the source and y the result; for dgrad y is the source and x the result. Assumes
// that V divides the channels, alignment to a vector of V elements, and V == 1 if the multiplier is over 1. Order of
// summation: taps in row-major order, and for each tap the filters of a channel (dgrad) in rising order. Sums are taken
// in blocks of at most 64 taps, plus the filters of one more tap. Padding is skipped. Half types are summed in float32.
#pragma once
#include "problem.h"

namespace convgpu::conv {

template <Direction kDirection, class T, int V, int kColumns>
__global__ void __launch_bounds__(kDepthwiseThreads, kDepthwiseResident)
    depthwise_any(const T* __restrict__ source, const T* __restrict__ w, T* __restrict__ result,
                  const __grid_constant__ DepthwiseProblem p, const __grid_constant__ DepthwisePlaces places,
                  const __grid_constant__ DepthwiseEpilogue<T> epilogue) {
    using A = Accumulator<T>;
    DepthwisePlaces::Place at;
    if (!places.find(at)) return;
    const bool gathers = kDirection == Direction::kDgrad;
    const int filters = gathers ? p.multiplier : 1;      // the number of filters that this channel collects from
    const int k = gathers ? at.c * p.multiplier : at.c;  // the first of these filters
    const int c = gathers ? k : static_cast<int>(p.by_multiplier.short_quotient(at.c));
    DepthwiseSums<A, kColumns, V, true> sums;
    for (int t = 0; t < p.axis[0].taps; ++t) {
        int d, h;
        if (!p.axis[0].source_of<kDirection>(at.d, t, d)) continue;
        for (int r = 0; r < p.axis[1].taps; ++r) {
            if (!p.axis[1].source_of<kDirection>(at.h, r, h)) continue;
            const int64_t row = p.source_at(at.n, d, h, 0, c);
            for (int s = 0; s < p.axis[2].taps; ++s) {
                int64_t pixel[kColumns];
                bool inside[kColumns];
#pragma unroll
                for (int j = 0; j < kColumns; ++j) {
                    int column = 0;
                    inside[j] = at.w + j < p.axis[2].result && p.axis[2].source_of<kDirection>(at.w + j, s, column);
                    pixel[j] = row + int64_t(column) * p.source_channels;
                }
                for (int i = 0; i < filters; ++i) {
                    const auto weights = load<V>(w + p.filter_at(t, r, s, k + i));
#pragma unroll
                    for (int j = 0; j < kColumns; ++j) {
                        if (!inside[j]) continue;
                        const auto terms = load<V>(source + pixel[j] + i);
#pragma unroll
                        for (int v = 0; v < V; ++v) {
                            sums.block[j][v] += static_cast<A>(terms.at[v]) * static_cast<A>(weights.at[v]);
                        }
                    }
                    sums.count(1);
                }
            }
        }
    }
    epilogue.template write<kDirection>(result, p.result_at(at.n, at.d, at.h, at.w, at.c), p.channels, at.c, 0,
                                        p.axis[2].result - at.w, sums.all());
}

template <Direction kDirection, class T, int V>
void launch_depthwise_any(const T* source, const T* w, T* result, const DepthwiseProblem& p,
                          const DepthwiseEpilogue<T>& epilogue, Stream stream) {
    constexpr int kColumns = 4;
    const DepthwisePlaces places(p, V, kColumns, 0);
    launch(depthwise_any<kDirection, T, V, kColumns>,
           places.shape(DepthwiseSums<Accumulator<T>, kColumns, V, true>::kSharedBytes), stream, source, w, result, p,
           places, epilogue);
}

}  // namespace convgpu::conv
