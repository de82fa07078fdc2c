// dgrad as products of matrices, gx = activation(gy * w^T + bias): what the kernels of every engine are told of it.
//
// There is one product for each group and for each phase of pixels that meet the same taps (phases.h). Rows are the
// pixels of a phase, columns are channels of the group, and a sum counts the taps of the phase and the filters of the
// group. The rows of the first factor are windows over gy (windows.h); the second is w, read across.
#pragma once
#include "../../tile/operand.h"
#include "../../tile/output.h"
#include "fprop.h"
#include "product.h"
#include "windows.h"

namespace convgpu::conv {

// The filters as a factor of tile/product.h: rows are channels, and the depth of the sums counts the taps of a phase
// and then the filters of a group.
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

// The rows of the result: where the pixels of a phase are in gx.
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

// M and K are those of the largest phase that is there.
template <class T>
struct Dgrad {
    using A = PixelSource<T>;
    using B = FilterSource<T>;

    // One of the products: a group and a phase.
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
    bool holes;    // whether some tap of some pixel meets no window over gy
    bool vectors;  // whether gx is written in vectors
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

// All but the images and the phases, which set_images and each_phases give it.
template <class T>
Dgrad<T> dgrad_of(const Problem& problem, const Product& product, const Phases& phases, const Operands& operands,
                  Activation activation) {
    const ConvGeometry& geo = problem.geo;
    Dgrad<T> p;
    p.w = operands.w.as<const T>();
    p.of_gy = y_images(geo);
    p.of_gx = x_images(geo);
    p.N = static_cast<int>(product.N);
    p.K = static_cast<int>(product.K);
    p.filters = static_cast<int>(geo.filters / geo.groups);
    p.all_filters = geo.filters;
    p.epilogue = epilogue_of<T>(operands.bias, activation);
    p.holes = phases.has_holes();
    p.vectors = writes_vectors(problem, operands.x);
    return p;
}

// From now on p is about `images` images from `first` on.
template <class T>
void set_images(Dgrad<T>& p, const Phases& phases, const Operands& operands, int64_t first, int images) {
    p.gy = operands.y.as<const T>() + first * p.of_gy.image;
    p.gx = operands.x.as<T>() + first * p.of_gx.image;
    p.batch = images;
    p.M = static_cast<int>(images * phases.most_pixels());
}

// Calls use() with p.phase filled with at most `at_once` phases of each axis from `axis` on, until all have been.
template <class T, class Use>
void each_phases(Dgrad<T>& p, const Phases& phases, size_t at_once, Use use, int axis = 0) {
    if (axis == kAxes) return use();
    const auto& all = phases.axis[axis];
    for (size_t first = 0; first < all.size(); first += at_once) {
        p.phases[axis] = static_cast<int>(std::min<size_t>(all.size() - first, at_once));
        std::copy_n(all.begin() + static_cast<int64_t>(first), p.phases[axis], p.phase[axis]);
        each_phases(p, phases, at_once, use, axis + 1);
    }
}

}  // namespace convgpu::conv
