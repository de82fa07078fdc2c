// Convolution on Hopper's tensor cores, in three directions: the products of fprop_tiled.cuh, dgrad_tiled.cuh and
// wgrad_tiled.cuh, by the main loop of hopper/product.h.
//
// What a block, a warpgroup and a thread own, and the order of summation, stand there; the factors in panels.h. Layouts:
// x[n][d][h][w][c], w[t][r][s][c][k], y[n][o][p][q][k]. A pixel, a tap's channel and a filter start at multiples of 16
// bytes.
#pragma once
#include "../hopper/launch.h"
#include "dgrad_tiled.cuh"
#include "fprop_tiled.cuh"
#include "panels.h"
#include "wgrad_tiled.cuh"

namespace convgpu::conv {

// y = activation(x * w + bias): windows times filters.
template <class T, int kTileN, int kCluster>
__global__ void __launch_bounds__(hopper::kThreads, 1)
    conv_fprop_wgmma(const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap w,
                     const __grid_constant__ Fprop<T> p, const __grid_constant__ Lines lines,
                     const __grid_constant__ tile::Schedule schedule,
                     const __grid_constant__ tile::Partial<float> partial) {
    if constexpr (kHasWgmma) {
        const WindowPanels<T, true> a{&x, p.windows.d, p.windows.h, p.windows.w, lines, p.channels};
        const FilterPanels<T, false, AllTaps> b{&w, lines, {}, p.N};
        hopper::compute_tiles<kTileN, kCluster>(a, b, p, schedule, partial);
    } else {
        __trap();
    }
}

// gx of the pixels of one phase = activation(gy * w^T + bias): windows over gy times channels. The windows' axes, which
// step backward in p, step forward in `forward`.
struct ForwardAxes {
    WindowAxis d, h, w;
};

template <class T, int kTileN, int kCluster>
__global__ void __launch_bounds__(hopper::kThreads, 1)
    conv_dgrad_wgmma(const __grid_constant__ TensorMap gy, const __grid_constant__ TensorMap w,
                     const __grid_constant__ Dgrad<T> p, const __grid_constant__ ForwardAxes forward,
                     const __grid_constant__ Lines lines, const __grid_constant__ tile::Schedule schedule,
                     const __grid_constant__ tile::Partial<float> partial) {
    if constexpr (kHasWgmma) {
        const WindowPanels<T, true> a{&gy, forward.d, forward.h, forward.w, lines, p.filters};
        const PhaseTaps taps{p.phase[0][0], p.phase[1][0], p.phase[2][0]};
        const FilterPanels<T, true, PhaseTaps> b{&w, lines, taps, p.filters};
        hopper::compute_tiles<kTileN, kCluster>(a, b, p, schedule, partial);
    } else {
        __trap();
    }
}

// gw, whose rows come in whole lines of channels.
template <class T>
struct WgradLines {
    Wgrad<T> p;
    Lines lines;

    struct Result {
        WgradResult<T> gw;
        const Lines& lines;
        int channels;

        template <int V>
        __device__ __forceinline__ void write(int m, int n, const Vector<float, V>& sums) const {
            auto tap = static_cast<uint32_t>(m);
            const auto c = static_cast<int>(lines.by_length.short_split(tap));
            if (c < channels) gw.write(static_cast<int>(tap) * channels + c, n, sums);
        }
    };
    __device__ __forceinline__ Result operator()(int group) const { return {p(group), lines, p.channels}; }
};

// gw = x^T * gy: taps and channels times filters, the sums over windows.
template <class T, int kTileN, int kCluster>
__global__ void __launch_bounds__(hopper::kThreads, 1)
    conv_wgrad_wgmma(const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap gy,
                     const __grid_constant__ WgradLines<T> gw, const __grid_constant__ tile::Schedule schedule,
                     const __grid_constant__ tile::Partial<float> partial) {
    if constexpr (kHasWgmma) {
        const Wgrad<T>& p = gw.p;
        const WindowPanels<T, false> a{&x, p.windows.d, p.windows.h, p.windows.w, gw.lines, p.channels};
        const OutputPanels<T> b{&gy, p.N};
        hopper::compute_tiles<kTileN, kCluster>(a, b, gw, schedule, partial);
    } else {
        __trap();
    }
}

}  // namespace convgpu::conv
