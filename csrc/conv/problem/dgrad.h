// The products of matrices that dgrad is, gx = activation(gy * w^T + bias), as the kernels of every engine take them.
// The bias has one value for each channel or, as an addend, one for each element of gx.
//
// There is one product for each group and for each phase, which is a set of pixels that meet the same taps (phases.h).
// Rows are the pixels of a phase, columns are channels of the group, and a sum runs over the taps of the phase and the
// filters of the group. The rows of the first factor are windows over gy (windows.h). The second factor is w, whose
// rows are read as columns.
#pragma once
#include "../../tile/operand.h"
#include "../../tile/output.h"
#include "fprop.h"
#include "product.h"
#include "windows.h"

namespace convgpu::conv {

// The filters as a factor of tile/product.h. Rows are channels, and the depth of the sums runs over the taps of a phase
// and, for each tap, over the filters of a group.
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
    int64_t filters;  // the filters of all groups, which is the distance from one channel to the next
    int rows, length;
    const Divisor& by_filters;  // divides by the filters of one group
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

// The rows of the result: operator() tells where a pixel of a phase is in gx.
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

// A part of gx. An addend lies in memory as gx does: its pixels are where `rows` says, and not at equal distances.
template <class T>
struct DgradResult : tile::Result<T, PhaseRows> {
    using Plain = tile::Result<T, PhaseRows>;
    bool adds;  // whether the epilogue's c is an addend

    // There is one return, since two of them would leave the epilogue in memory instead of registers.
    __device__ __forceinline__ typename Plain::Row row(int m) const {
        const T* c = this->epilogue.c && m < this->M
                         ? this->epilogue.c + (adds ? this->rows(m) : m * this->epilogue.c_row)
                         : nullptr;
        return {this->epilogue, c, this->N};
    }
    template <class Use>
    __device__ __forceinline__ void visit(Use use) const {
        use(*this);
    }
};

// All products of one launch. M and K are those of the largest of its phases.
template <class T>
struct Dgrad {
    using A = PixelSource<T>;
    using B = FilterSource<T>;

    // One of the products, which belongs to one group and one phase.
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
    int filters;  // the filters of one group
    int64_t all_filters;
    tile::Epilogue<T> epilogue;
    bool holes;    // whether some tap of some pixel meets no window over gy
    bool adds;     // whether the epilogue's c is an addend
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
    __device__ __forceinline__ DgradResult<T> operator()(int number) const {
        const Item i = item(number);
        const int64_t first = int64_t(i.group) * N;
        return {{gx + first, {of_gx, i.d, i.h, i.w}, i.M, N, epilogue.from_column(first), vectors}, adds};
    }
};

// Returns the problem without its images and phases, which set_images and each_phases set.
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
    p.adds = has_addend(operands);
    p.holes = phases.has_holes();
    p.vectors = writes_vectors(problem, operands.x);
    return p;
}

// From now on p describes `images` images, from image `first` on.
template <class T>
void set_images(Dgrad<T>& p, const Phases& phases, const Operands& operands, int64_t first, int images) {
    p.gy = operands.y.as<const T>() + first * p.of_gy.image;
    p.gx = operands.x.as<T>() + first * p.of_gx.image;
    if (p.adds) p.epilogue.c = operands.bias->as<const T>() + first * p.of_gx.image;
    p.batch = images;
    p.M = static_cast<int>(images * phases.most_pixels());
}

// Calls use() with p.phase filled, again and again, until it was called with every phase. Each call has at most
// `at_once` phases of each axis from `axis` on.
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
