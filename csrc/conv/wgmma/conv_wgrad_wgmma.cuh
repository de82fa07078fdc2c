// wgrad on Hopper's tensor cores, of half types or of float32 as scaled float16 (hopper/scaled.h).
//
// A block owns tiles of 128 x kTileN elements of gw, or of parts of their sums, one after the other; what a warpgroup
// and a thread own of one, and the order of summation, stand in hopper/product.h, whose main loop this is. k counts
// the pixels of gy. How the factors come to shared memory stands in panels.h.
// Layouts: x[n][d][h][w][c], gy[n][o][p][q][k], gw[t][r][s][c][k].
// Assumes that pixels and the channels of a filter start at multiples of 16 bytes.
#pragma once
#include "../../hopper/launch.h"
#include "../problem/mend.h"
#include "../problem/wgrad.h"
#include "panels.h"

namespace convgpu::conv {

// gw as the kernel computes it: the rows of a tap are whole lines of 64 channels, of which some do not exist.
template <class T>
struct WgradLines {
    Wgrad<T> p;
    Lines lines;

    // The row of gw, which counts the channels that exist; M where this one does not.
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

// For each row that the kernel computes: which row of gw it is, if any, and the range of scaled factors that it belongs
// to, which is a channel of x.
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
