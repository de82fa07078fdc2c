// The affine step, residual and activation where channels are neighbours in memory.
//
// A block owns blockDim.x vectors of channels of some neighbouring rows, of all rows of all `outer`; a thread owns V
// neighbouring channels of every blockDim.y-th of these rows. Layouts: x and y [outer][row][channel]. Assumes that V
// divides the channels, and alignment to a vector of V elements. Order: nothing is added up.
#pragma once
#include "affine.h"

namespace convgpu::norm {

constexpr int kApplyThreads = 256;
constexpr int kRowsOfThread = 8;

// Loads of a thread that are under way at once, and again as many of a residual. Half types hold fewer of their longer
// vectors, since four of them would need more registers than two blocks on a multiprocessor leave.
template <int V>
constexpr int kAtOnce = V < 8 ? 4 : 2;

// The affine step of a vector, plus the residual if `adds` holds, and the activation. affine(v, x) is one value of it.
template <class T, int V, class Step>
__device__ __forceinline__ Vector<T, V> finished(const Vector<T, V>& from, const Vector<T, V>& residual, bool adds,
                                                 Activation activation, const Step& affine) {
    using A = Accumulator<T>;
    A value[V];
#pragma unroll
    for (int v = 0; v < V; ++v) {
        value[v] = affine(v, static_cast<A>(from.at[v]));
        if (adds) value[v] += static_cast<A>(residual.at[v]);
    }
    activate(activation, value);
    Vector<T, V> to;
#pragma unroll
    for (int v = 0; v < V; ++v) to.at[v] = static_cast<T>(value[v]);
    return to;
}

template <class T, int V>
__global__ void __launch_bounds__(kApplyThreads, 2)
    norm_apply_rows(const T* __restrict__ x, const T* __restrict__ residual, T* __restrict__ y,
                    const __grid_constant__ Given<Accumulator<T>> given, const __grid_constant__ Problem p,
                    Activation activation, int columns) {
    using A = Accumulator<T>;
    const int column = static_cast<int>(blockIdx.x % columns);
    const int channel = (column * static_cast<int>(blockDim.x) + static_cast<int>(threadIdx.x)) * V;
    if (channel >= p.channels) return;
    const int64_t first = static_cast<int64_t>(blockIdx.x / columns) * blockDim.y * kRowsOfThread + threadIdx.y;
    int64_t o = -1;
    Affine<A, V> affine;
    for (int begin = 0; begin < kRowsOfThread; begin += kAtOnce<V>) {
        Vector<T, V> from[kAtOnce<V>], more[kAtOnce<V>];
#pragma unroll
        for (int k = 0; k < kAtOnce<V>; ++k) {
            const int64_t row = first + int64_t(begin + k) * blockDim.y, at = row * p.channels + channel;
            from[k] = load_if<V>(row < p.outer * p.rows, x + at, static_cast<T>(0.0f));
            more[k] = load_if<V>(residual && row < p.outer * p.rows, residual + at, static_cast<T>(0.0f));
        }
#pragma unroll
        for (int k = 0; k < kAtOnce<V>; ++k) {
            const int64_t row = first + int64_t(begin + k) * blockDim.y;
            if (row >= p.outer * p.rows) return;
            if (const int64_t now = p.outer_of(row); now != o) {
                o = now;
                affine.load(given, p, o, channel);
            }
            store(y + row * p.channels + channel,
                  finished<T, V>(from[k], more[k], residual != nullptr, activation, affine));
        }
    }
}

template <class T, int V>
void launch_norm_apply_rows(const T* x, const T* residual, T* y, const Given<Accumulator<T>>& given, const Problem& p,
                            Activation activation, int lanes, Stream stream) {
    const int columns = (p.channels + lanes * V - 1) / (lanes * V);
    const int64_t rows = int64_t(kApplyThreads / lanes) * kRowsOfThread;
    LaunchShape shape;
    shape.grid = dim3(static_cast<unsigned>((p.outer * p.rows + rows - 1) / rows * columns));
    shape.block = dim3(lanes, kApplyThreads / lanes);
    launch(norm_apply_rows<T, V>, shape, stream, x, residual, y, given, p, activation, columns);
}

}  // namespace convgpu::norm
