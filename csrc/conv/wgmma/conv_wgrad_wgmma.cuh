// wgrad on Hopper's tensor cores, for half types or for float32 as scaled float16 (hopper/scaled.h).
//
// A block owns tiles of 128 x kTileN elements of gw, or of parts of their sums, and computes one tile after the other.
// The main loop is that of hopper/product.h, which says what a warpgroup and a thread own of a tile, and gives the
// order of summation. There, k runs over the pixels of gy. panels.h says how the factors come to shared memory.
// Layouts: x[n][d][h][w][c], gy[n][o][p][q][k], gw[t][r][s][c][k]. Assumes that pixels and the channels of a filter
// start at multiples of 16 bytes.
#pragma once
#include "../../hopper/launch.h"
#include "../problem/mend.h"
#include "../problem/wgrad.h"
#include "panels.h"

namespace convgpu::conv {

// gw in the form in which the kernel computes it. The rows of each tap are filled up to whole lines of 64 channels, so
// that some rows do not exist in gw.
template <class T>
struct WgradLines {
    Wgrad<T> p;
    Lines lines;

    // Returns the row of gw that belongs to a computed row, or M if there is none.
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
        __device__ __forceinline__ float activate(float v) const { return matrix.activate(v); }
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

// Tells, for each row that the kernel computes, which row of gw it is, if any, and which range of scaled factors it
// belongs to. Every channel of x is a range.
struct ChannelRows {
    int M, channels;  // `channels` are those of one group
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

// Computes gw = x^T * gy. Rows are taps and channels, columns are filters, and the sums run over windows.
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
