// The product of matrices that fprop is, y = activation(x * w + bias), as the kernels of every engine take it.
//
// Rows are pixels of y, columns are filters of one group, and a sum runs over the taps of a filter and the channels of
// a group. The rows of the first factor are windows over x, which are never written out (windows.h). The second factor
// is w as it lies in memory.
#pragma once
#include "../../tile/operand.h"
#include "../../tile/output.h"
#include "product.h"
#include "windows.h"

namespace convgpu::conv {

template <class T>
struct Fprop {
    using A = PixelSource<T>;
    using B = tile::MatrixSource<T, false>;

    const T *x, *w;
    T* y;
    Windows windows;
    int M, N, K, channels;  // N and channels are those of one group
    int64_t filters;        // the filters of all groups
    tile::Epilogue<T> epilogue;
    bool vectors;  // whether y is written in vectors
    tile::Marks wanted{};

    __device__ __forceinline__ A a(int group) const {
        return {x + int64_t(group) * channels, windows.images, windows.d, windows.h, windows.w, M, K, windows.holes};
    }
    __device__ __forceinline__ B b(int group) const { return {w + int64_t(group) * N, filters, N, K}; }
    __device__ __forceinline__ tile::Result<T, tile::EvenRows> operator()(int group) const {
        const int64_t first = int64_t(group) * N;
        return {y + first, {filters}, M, N, epilogue.from_column(first), vectors};
    }
};

// Returns what follows the sums: the bias of each column, and the activation.
template <class T>
tile::Epilogue<T> epilogue_of(const Array* bias, Activation activation) {
    tile::Epilogue<T> epilogue;
    epilogue.activation = activation;
    if (bias) epilogue.c = bias->as<const T>(), epilogue.c_column = 1;
    return epilogue;
}

// Returns the problem without its images, which set_images sets.
template <class T>
Fprop<T> fprop_of(const Problem& problem, const Product& product, const Operands& operands, Activation activation) {
    const ConvGeometry& geo = problem.geo;
    Fprop<T> p;
    p.w = operands.w.as<const T>();
    p.windows = windows_of(geo);
    p.N = static_cast<int>(product.N);
    p.K = static_cast<int>(product.K);
    p.channels = static_cast<int>(geo.channels / geo.groups);
    p.filters = geo.filters;
    p.epilogue = epilogue_of<T>(operands.bias, activation);
    p.vectors = writes_vectors(problem, operands.y);
    return p;
}

// From now on p describes `images` images, from image `first` on.
template <class T>
void set_images(Fprop<T>& p, const Operands& operands, int64_t first, int images) {
    const int pixels = p.windows.d.windows * p.windows.h.windows * p.windows.w.windows;
    p.x = operands.x.as<const T>() + first * p.windows.images.image;
    p.y = operands.y.as<T>() + first * pixels * p.filters;
    p.M = images * pixels;
}

}  // namespace convgpu::conv
