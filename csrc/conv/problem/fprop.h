// The product of matrices that fprop is, y = activation(x * w + bias), as the kernels of every engine take it. With a
// normalisation whose statistics are given it is y = activation(x * w * factor + shift + residual) instead.
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

// A part of y. With a normalisation, the epilogue's c is the residual.
template <class T>
struct FpropResult : tile::Result<T, tile::EvenRows> {
    using Plain = tile::Result<T, tile::EvenRows>;
    using Sum = Accumulator<T>;
    const Sum* folded;  // the factor and the shift of each column, or null where nothing is normalised

    struct Row {
        typename Plain::Row plain;
        const Sum* folded;

        template <int V, int kRuns>
        __device__ __forceinline__ void finish(int n, Vector<Sum, V> (&runs)[kRuns]) const {
            if (folded) {
#pragma unroll
                for (int i = 0; i < kRuns * V; ++i) {
                    const int column = n + i / V * tile::kApart + i % V;
                    if (column >= plain.N) continue;
                    const auto pair = load<2>(folded + 2 * column);
                    Sum& sum = runs[i / V].at[i % V];
                    sum = sum * pair.at[0] + pair.at[1];
                }
            }
            plain.finish(n, runs);
        }
    };
    __device__ __forceinline__ Row row(int m) const { return {Plain::row(m), folded}; }
    __device__ __forceinline__ Sum activate(Sum v) const { return activate_any(this->epilogue.activation, v); }
    template <class Use>
    __device__ __forceinline__ void visit(Use use) const {
        use(*this);
    }
};

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
    bool vectors;                    // whether y is written in vectors
    const Accumulator<T>* folded{};  // for each filter the factor and the shift of a normalisation, or null
    tile::Marks wanted{};

    __device__ __forceinline__ A a(int group) const {
        return {x + int64_t(group) * channels, windows.images, windows.d, windows.h, windows.w, M, K, windows.holes};
    }
    __device__ __forceinline__ B b(int group) const { return {w + int64_t(group) * N, filters, N, K}; }
    __device__ __forceinline__ FpropResult<T> operator()(int group) const {
        const int64_t first = int64_t(group) * N;
        return {{y + first, {filters}, M, N, epilogue.from_column(first), vectors},
                folded ? folded + 2 * first : nullptr};
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
    if (operands.folded) p.folded = operands.folded->as<const Accumulator<T>>();
    if (operands.residual) p.epilogue.c_row = geo.filters, p.epilogue.c_column = 1;
    p.vectors = writes_vectors(problem, operands.y);
    return p;
}

// From now on p describes `images` images, from image `first` on.
template <class T>
void set_images(Fprop<T>& p, const Operands& operands, int64_t first, int images) {
    const int pixels = p.windows.d.windows * p.windows.h.windows * p.windows.w.windows;
    p.x = operands.x.as<const T>() + first * p.windows.images.image;
    p.y = operands.y.as<T>() + first * pixels * p.filters;
    if (operands.residual) p.epilogue.c = operands.residual->as<const T>() + first * pixels * p.filters;
    p.M = images * pixels;
}

}  // namespace convgpu::conv
