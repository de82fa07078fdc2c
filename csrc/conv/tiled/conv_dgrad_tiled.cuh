// The gradient of the image by tiles of implicit matrix products: gx = activation(gy * w^T + bias), one product for
// each group and for each phase of pixels that meet the same taps (phases.h).
//
// A block owns one tile of kTile x kTile elements of gx, pixels of one phase times channels of one group, or of one
// part of their sums; what a thread owns of it, and the order of summation, stand in tile/simt.h and
// tile/tensor_core.h, where k counts the phase's taps and then filters. Layouts: gy[n][o][p][q][k], w[t][r][s][c][k],
// gx[n][d][h][w][c]. Assumes that the filters of a group come in whole vectors of V, at aligned addresses; 1 assumes
// nothing.
#pragma once
#include "../../tile/launch_tiles.h"
#include "../problem/phases.h"

namespace convgpu::conv {

constexpr int kPhasesAtOnce = 8;  // of an axis in one launch: what fits into the arguments of a kernel

// The filters as a factor: rows are channels, the depth is taps of a phase and filters of a group.
template <class T>
struct FilterSource {
    using Element = T;
    static constexpr bool kAlongDepth = true;
    struct Row {
        int64_t offset;
        bool inside;
    };
    using Depth = Row;

    const T* data;
    int64_t filters;  // of all groups: from one channel to the next
    int rows, length;
    const Divisor& by_filters;  // of a group
    const AxisPhase &d, &h, &w;

    __device__ __forceinline__ Row row(int c) const { return {c * filters, c < rows}; }
    __device__ __forceinline__ Depth depth(int k) const {
        if (k >= length) return {0, false};
        auto t = static_cast<uint32_t>(k);
        const uint32_t filter = by_filters.short_split(t);
        const int in_line = w.tap(static_cast<int>(w.windows.by_taps.short_split(t)));
        const int in_plane = h.tap(static_cast<int>(h.windows.by_taps.short_split(t)));
        const int tap = (d.tap(static_cast<int>(t)) * h.of + in_plane) * w.of + in_line;
        return {tap * (rows * filters) + filter, true};
    }
    __device__ __forceinline__ const T* at(const Row& r, const Depth& k) const {
        return r.inside && k.inside ? data + r.offset + k.offset : nullptr;
    }
    __device__ __forceinline__ bool has_holes() const { return false; }
};

// Where the pixels of a phase are in gx.
struct PhaseRows {
    const Images& images;
    const AxisPhase &d, &h, &w;

    __device__ __forceinline__ int64_t operator()(int m) const {
        auto n = static_cast<uint32_t>(m);
        const int x = w.pixel(static_cast<int>(w.windows.by_windows.short_split(n)));
        const int y = h.pixel(static_cast<int>(h.windows.by_windows.short_split(n)));
        const int z = d.pixel(static_cast<int>(d.windows.by_windows.short_split(n)));
        return n * images.image + images.offset(z, y, x);
    }
};

// gx as matrices of pixels times channels, one for each group and phase; K counts taps and filters. M and K are those
// of the largest phase.
template <class T>
struct Dgrad {
    using A = PixelSource<T>;
    using B = FilterSource<T>;

    // One group and phase.
    struct Item {
        int group;
        const AxisPhase &d, &h, &w;
        int M, K;
    };

    const T *gy, *w;
    T* gx;
    Images of_gy, of_gx;
    AxisPhase phase[kAxes][kPhasesAtOnce];
    int phases[kAxes];
    int batch, M, N, K;
    int filters;  // of a group
    int64_t all_filters;
    tile::Epilogue<T> epilogue;
    bool holes;    // in gy: some tap meets no window
    bool vectors;  // of gx
    tile::Marks wanted{};

    __device__ __forceinline__ Item item(int i) const {
        const int rest = i / phases[2], group_and_d = rest / phases[1];
        const AxisPhase &d = phase[0][group_and_d % phases[0]], &h = phase[1][rest % phases[1]],
                        &w = phase[2][i % phases[2]];
        return {group_and_d / phases[0],
                d,
                h,
                w,
                batch * d.windows.windows * h.windows.windows * w.windows.windows,
                d.windows.taps * h.windows.taps * w.windows.taps * filters};
    }
    __device__ __forceinline__ A a(int number) const {
        const Item i = item(number);
        return {gy + int64_t(i.group) * filters, of_gy, i.d.windows, i.h.windows, i.w.windows, i.M, i.K, holes};
    }
    __device__ __forceinline__ B b(int number) const {
        const Item i = item(number);
        return {w + int64_t(i.group) * filters, all_filters, N, i.K, of_gy.by_channels, i.d, i.h, i.w};
    }
    __device__ __forceinline__ tile::Result<T, PhaseRows> operator()(int number) const {
        const Item i = item(number);
        const int64_t first = int64_t(i.group) * N;
        return {gx + first, {of_gx, i.d, i.h, i.w}, i.M, N, epilogue.from_column(first), vectors};
    }
};

template <template <class, class, int, int> class Engine, class T, int kTile, int V>
__global__ void __launch_bounds__(tile::kThreads, sizeof(T) > 2 ? 1 : (tile::kResident<Engine, Dgrad<T>, kTile, V, V>))
    conv_dgrad_tiled(const __grid_constant__ Dgrad<T> p, const __grid_constant__ tile::Schedule schedule,
                     const __grid_constant__ tile::Partial<Accumulator<T>> partial) {
    tile::Work work = schedule.work();
    const auto item = p.item(work.item);
    if (work.k_end > item.K) work.k_end = item.K;
    if (work.m >= item.M) work.k_end = work.k_begin;  // beyond the end of a smaller phase: nothing to sum up
    tile::compute_tile<Engine, kTile, kTile, V, V>(p, partial, schedule, work);
}

template <template <class, class, int, int> class Engine, class T, int kTile, int V>
void launch_conv_dgrad_tiled(const Dgrad<T>& p, int items, int splits, const Workspace& workspace, Stream stream) {
    tile::launch_tiles<Engine, kTile>(conv_dgrad_tiled<Engine, T, kTile, V>, p, items, splits, workspace, stream);
}

}  // namespace convgpu::conv
