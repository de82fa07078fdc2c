// The product of matrices that wgrad is, gw = x^T * gy, as the kernels of every engine take it.
//
// Rows are taps and channels of one group, columns are its filters, and a sum runs over the pixels of gy, image after
// image. The first factor is the transpose of windows over x (windows.h). The second factor is gy as it lies in memory.
#pragma once
#include "../../tile/operand.h"
#include "../../tile/output.h"
#include "product.h"
#include "windows.h"

namespace convgpu::conv {

// gw of one group. Its elements have the type T, or the type of their sums.
template <class T>
struct WgradResult {
    using Sum = Accumulator<T>;

    void* gw;
    int64_t first, stride;  // counted in elements
    int M, N;
    bool wide, adds, vectors;

    template <class Use>
    __device__ __forceinline__ void visit(Use use) const {
        if constexpr (std::is_same_v<T, Sum>) return use(matrix<T>());
        wide ? use(matrix<Sum>()) : use(matrix<T>());
    }

    __device__ __forceinline__ bool is_nan(int m, int n) const {
        return wide ? matrix<Sum>().is_nan(m, n) : matrix<T>().is_nan(m, n);
    }

private:
    template <class R>
    __device__ __forceinline__ tile::Result<R, tile::EvenRows> matrix() const {
        R* to = static_cast<R*>(gw) + first;
        tile::Epilogue<R> epilogue;
        if (adds) epilogue.c = to, epilogue.c_row = stride, epilogue.c_column = 1;
        return {to, {stride}, M, N, epilogue, vectors};
    }
};

template <class T>
struct Wgrad {
    using A = tile::Transposed<PixelSource<T>>;
    using B = tile::MatrixSource<T, false>;

    const T *x, *gy;
    void* gw;
    Windows windows;
    int M, N, K, channels;  // N and channels are those of one group
    int64_t filters;        // the filters of all groups
    bool wide;              // whether gw has the type of its sums, which it has as a part of a longer sum
    bool adds;              // whether the sums are added to what gw already holds
    bool vectors;           // whether gw is written in vectors
    tile::Marks wanted{};

    __device__ __forceinline__ A a(int group) const {
        return {{x + int64_t(group) * channels, windows.images, windows.d, windows.h, windows.w, K, M, windows.holes}};
    }
    __device__ __forceinline__ B b(int group) const { return {gy + int64_t(group) * N, filters, N, K}; }
    __device__ __forceinline__ WgradResult<T> operator()(int group) const {
        return {gw, int64_t(group) * N, filters, M, N, wide, adds, vectors};
    }
};

// Returns the problem without its images, which set_images sets.
template <class T>
Wgrad<T> wgrad_of(const Problem& problem, const Product& product, const Operands& operands) {
    const ConvGeometry& geo = problem.geo;
    Wgrad<T> p;
    p.gw = operands.w.data;
    p.wide = operands.w.dtype != problem.dtype;
    p.windows = windows_of(geo);
    p.M = static_cast<int>(product.M);
    p.N = static_cast<int>(product.N);
    p.channels = static_cast<int>(geo.channels / geo.groups);
    p.filters = geo.filters;
    p.vectors = writes_vectors(problem, operands.w);
    return p;
}

// From now on p describes `images` images, from image `first` on. All parts of the batch but the first are added to gw.
// Before that, the sum so far has been rounded to the type of gw; this happens once for every 2^31 pixels.
template <class T>
void set_images(Wgrad<T>& p, const Operands& operands, int64_t first, int images) {
    const int pixels = p.windows.d.windows * p.windows.h.windows * p.windows.w.windows;
    p.x = operands.x.as<const T>() + first * p.windows.images.image;
    p.gy = operands.y.as<const T>() + first * pixels * p.filters;
    p.K = images * pixels;
    p.adds = first > 0;
}

}  // namespace convgpu::conv
