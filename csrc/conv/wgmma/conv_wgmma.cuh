// Convolution on Hopper's tensor cores, in three directions, of half types or of float32 as scaled float16
// (hopper/scaled.h): the products of the tiled kernels (../tiled), by the main loop of
// hopper/product.h.
//
// A block owns tiles of 128 x kTileN elements of y, gx or gw, or of parts of their sums, one after the other; what a
// warpgroup and a thread own of one, and the order of summation, stand there, where k counts taps and then channels in
// whole lines, or pixels. The factors: panels.h. Layouts: x[n][d][h][w][c], w[t][r][s][c][k], y[n][o][p][q][k]. Assumes
// that pixels and the channels of a filter start at multiples of 16 bytes.
#pragma once
#include "../../hopper/launch.h"
#include "../tiled/conv_dgrad_tiled.cuh"
#include "../tiled/conv_fprop_tiled.cuh"
#include "panels.h"
#include "../tiled/conv_wgrad_tiled.cuh"

namespace convgpu::conv {

// Rows that are pixels, `pixels` of each image; a range is an image.
struct ImageRows {
    int M;
    Divisor by_pixels;
    __device__ __forceinline__ hopper::PlaceOfRow operator()(int, int m) const {
        return {m < M ? m : -1, by_pixels.short_quotient(static_cast<uint32_t>(m))};
    }
};

// y = activation(x * w + bias): windows times filters.
template <class T, int kTileN, int kCluster>
__global__ void __launch_bounds__(hopper::kThreads, 1)
    conv_fprop_wgmma(const __grid_constant__ hopper::Maps<T> x, const __grid_constant__ hopper::Maps<T> w,
                     const __grid_constant__ hopper::OnHopper<T, Fprop<hopper::Value<T>>, ImageRows> p,
                     const __grid_constant__ Lines lines, const __grid_constant__ hopper::ResultMap map,
                     const __grid_constant__ tile::Schedule schedule,
                     const __grid_constant__ tile::Partial<float> partial) {
    if constexpr (kHasWgmma) {
        const WindowPanels<T, true> a{x, p.windows.d, p.windows.h, p.windows.w, lines, p.channels, p.windows.holes};
        const FilterPanels<T, false, AllTaps> b{w, lines, {}, p.N};
        hopper::compute_tiles<kTileN, kCluster>(a, b, p, map, schedule, partial);
    } else {
        __trap();
    }
}

// The windows of one phase of dgrad, which step backward in Dgrad, stepping forward.
struct ForwardAxes {
    WindowAxis d, h, w;
};

// gx of the pixels of one phase = activation(gy * w^T + bias): windows over gy times channels.
template <class T, int kTileN, int kCluster>
__global__ void __launch_bounds__(hopper::kThreads, 1)
    conv_dgrad_wgmma(const __grid_constant__ hopper::Maps<T> gy, const __grid_constant__ hopper::Maps<T> w,
                     const __grid_constant__ hopper::OnHopper<T, Dgrad<hopper::Value<T>>, ImageRows> p,
                     const __grid_constant__ ForwardAxes forward, const __grid_constant__ Lines lines,
                     const __grid_constant__ hopper::ResultMap map, const __grid_constant__ tile::Schedule schedule,
                     const __grid_constant__ tile::Partial<float> partial) {
    if constexpr (kHasWgmma) {
        const WindowPanels<T, true> a{gy, forward.d, forward.h, forward.w, lines, p.filters, p.holes};
        const PhaseTaps taps{p.phase[0][0], p.phase[1][0], p.phase[2][0]};
        const FilterPanels<T, true, PhaseTaps> b{w, lines, taps, p.filters};
        hopper::compute_tiles<kTileN, kCluster>(a, b, p, map, schedule, partial);
    } else {
        __trap();
    }
}

// gw, whose rows come in whole lines of channels.
template <class T>
struct WgradLines {
    Wgrad<T> p;
    Lines lines;

    // Of gw; M where a channel is missing.
    __device__ __forceinline__ int row_of(int m) const {
        auto tap = static_cast<uint32_t>(m);
        const auto c = static_cast<int>(lines.by_length.short_split(tap));
        return c < p.channels ? static_cast<int>(tap) * p.channels + c : p.M;
    }

    template <class Matrix>
    struct InLines {
        using Value = typename Matrix::Value;
        Matrix matrix;
        const WgradLines& of;

        template <int V, int kRuns>
        __device__ __forceinline__ int columns(int n) const {
            return n;
        }
        __device__ __forceinline__ auto row(int m) const { return matrix.row(of.row_of(m)); }
        __device__ __forceinline__ Activation activation() const { return matrix.activation(); }
        __device__ __forceinline__ bool in_vectors() const { return matrix.in_vectors(); }
        template <int V>
        __device__ __forceinline__ void put(int m, int n, const Vector<Value, V>& values) const {
            matrix.put(of.row_of(m), n, values);
        }
    };
    struct Result {
        WgradResult<T> gw;
        const WgradLines& of;

        template <class Use>
        __device__ __forceinline__ void visit(Use use) const {
            gw.visit([&](const auto& matrix) { use(InLines<std::decay_t<decltype(matrix)>>{matrix, of}); });
        }
    };
    __device__ __forceinline__ Result operator()(int group) const { return {p(group), *this}; }
};

// Rows of gw in lines; a range is a channel.
struct ChannelRows {
    int M, channels;  // of a group
    Divisor by_length;
    __device__ __forceinline__ hopper::PlaceOfRow operator()(int group, int m) const {
        auto tap = static_cast<uint32_t>(m);
        const auto c = static_cast<int>(by_length.short_split(tap));
        const int row = static_cast<int>(tap) * channels + c;
        return {c < channels && row < M ? row : -1, int64_t(group) * channels + c};
    }
};

// Computes a NaN again from the products that exist (tile/product.h), where padding may have made it.
template <class Problem>
__device__ __forceinline__ void mend(const Problem& p, int item, int m, int n, int K) {
    const auto result = p(item);
    if (result.is_nan(m, n)) tile::write(result, m, n, Vector<float, 1>{tile::sum_again<float>(p, item, m, n, 0, K)});
}
template <class T>
__device__ __forceinline__ void mend(const Fprop<T>& p, int group, int m, int n) {
    mend(p, group, m, n, p.K);
}
template <class T>
__device__ __forceinline__ void mend(const Dgrad<T>& p, int number, int m, int n) {
    mend(p, number, m, n, p.item(number).K);
}
template <class T>
__device__ __forceinline__ void mend(const WgradLines<T>& gw, int group, int m, int n) {
    mend(gw.p, group, gw.row_of(m), n, gw.p.K);
}

// gw = x^T * gy: taps and channels times filters, the sums over windows.
template <class T, int kTileN, int kCluster>
__global__ void __launch_bounds__(hopper::kThreads, 1)
    conv_wgrad_wgmma(const __grid_constant__ hopper::Maps<T> x, const __grid_constant__ hopper::Maps<T> gy,
                     const __grid_constant__ hopper::OnHopper<T, WgradLines<hopper::Value<T>>, ChannelRows> gw,
                     const __grid_constant__ hopper::ResultMap map, const __grid_constant__ tile::Schedule schedule,
                     const __grid_constant__ tile::Partial<float> partial) {
    if constexpr (kHasWgmma) {
        const auto& p = gw.p;
        const WindowPanels<T, false> a{x, p.windows.d, p.windows.h, p.windows.w, gw.lines, p.channels, p.windows.holes};
        const OutputPanels<T> b{gy, p.N};
        hopper::compute_tiles<kTileN, kCluster>(a, b, gw, map, schedule, partial);
    } else {
        __trap();
    }
}

}  // namespace convgpu::conv
