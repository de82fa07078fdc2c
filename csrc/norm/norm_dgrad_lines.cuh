// The gradient of x, and that of the residual, where all that has one mean is one line: layer norm.
//
// A block owns blockDim.y lines; a thread owns every blockDim.x-th vector of V neighbouring elements of its line, which
// it reads twice: for the two means, and for the gradient. Layouts: all arrays [line][channel], the lines of a row
// being its groups. Assumes that V divides a line, alignment to a vector, and that blockDim has powers of 2 whose
// product is kLineThreads. Order: a thread adds the elements of a vector, and its vectors in rising order, in blocks of
// 64; the threads' sums are added as a tree.
#pragma once
#include "gradients.h"

namespace convgpu::norm {

constexpr int kLineThreads = 256;

template <class A>
struct LineMemory {
    SumMemory<A, 1, kLineThreads> tree;
    Sums<A> totals[kLineThreads];
};

template <class T, int V>
__global__ void __launch_bounds__(kLineThreads, 2)
    norm_dgrad_lines(const __grid_constant__ Images<T> images, const __grid_constant__ Given<Accumulator<T>> given,
                     const __grid_constant__ Problem p, Activation activation) {
    using A = Accumulator<T>;
    auto& shared = dyn_smem<LineMemory<A>>();
    const int lane = static_cast<int>(threadIdx.x), lanes = static_cast<int>(blockDim.x);
    const int team = static_cast<int>(threadIdx.y), length = p.per_group;
    const int64_t line = static_cast<int64_t>(blockIdx.x) * blockDim.y + team;
    const bool works = line < p.outer * p.groups;
    const A mean = works ? given.mean[line] : A(0), rest = works ? given.rest[line] : A(0);
    const A rstd = works ? given.rstd[line] : A(0);
    const int first = static_cast<int>(line % p.groups) * length;
    // Sets x to elements of the line, and g to their gradients before the activation.
    const auto take = [&](int at, A(&x)[V], A(&g)[V]) {
        Loaded<T, V, 1> loaded;
        loaded.ask(0, true, images, line * length + at);
        Affine<A, V> affine;
        if (activation != Activation::kNone && !images.y) {
#pragma unroll
            for (int v = 0; v < V; ++v) affine.set(v, mean, rest, rstd, given, first + at + v);
        }
        loaded.take(0, images, activation, x, g, affine);
    };
    const auto scale = [&](int at, int v) { return given.scale ? given.scale[first + at + v] : A(1); };
    const auto normal = [&](A x) {
        return ((x * Affine<A, V>::kQuarter - mean * Affine<A, V>::kQuarter) * (rstd / Affine<A, V>::kQuarter)) -
               rest * rstd;
    };
    BlockedSum<A, 2> sum;
    if (works) {
#pragma unroll 2
        for (int at = lane * V; at < length; at += lanes * V) {
            A x[V], g[V], one = 0, two = 0;
            take(at, x, g);
            if (images.g) narrow<V>(g, images.g + line * length + at);
#pragma unroll
            for (int v = 0; v < V; ++v) {
                g[v] *= scale(at, v);
                one += g[v];
                two += g[v] * normal(x[v]);
            }
            sum.add_each([&](int v) { return v == 0 ? one : two; });
        }
    }
    if (!images.gx) return;
    Sums<A> mine[1] = {{sum[0], sum[1]}};
    add_lanes(shared.tree, mine, lane, lanes, team, static_cast<int>(blockDim.y));
    if (lane == 0) shared.totals[team] = mine[0];
    __syncthreads();
    if (!works) return;
    const A m1 = shared.totals[team].one / static_cast<A>(length),
            m2 = shared.totals[team].two / static_cast<A>(length);
#pragma unroll 2
    for (int at = lane * V; at < length; at += lanes * V) {
        A x[V], g[V];
        take(at, x, g);
#pragma unroll
        for (int v = 0; v < V; ++v) g[v] = (g[v] * scale(at, v) - m1 - normal(x[v]) * m2) * rstd;
        narrow<V>(g, images.gx + line * length + at);
    }
}

template <class T, int V>
void launch_norm_dgrad_lines(const Images<T>& images, const Given<Accumulator<T>>& given, const Problem& p,
                             Activation activation, int lanes, Stream stream) {
    const int teams = kLineThreads / lanes;
    LaunchShape shape;
    shape.grid = dim3(static_cast<unsigned>((p.outer * p.groups + teams - 1) / teams));
    shape.block = dim3(lanes, teams);
    shape.shared_bytes = sizeof(LineMemory<Accumulator<T>>);
    launch(norm_dgrad_lines<T, V>, shape, stream, images, given, p, activation);
}

}  // namespace convgpu::norm
