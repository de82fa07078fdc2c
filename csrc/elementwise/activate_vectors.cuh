// An activation of every element, in one pass.
//
// A thread owns two vectors of V neighbouring elements (vectors.h). Layouts: x[i], y[i]. Assumes alignment to a
// vector of V elements. Half types are computed in float32 and rounded once. Order: nothing is added.
#pragma once
#include "function.h"
#include "vectors.h"

namespace convgpu::elementwise {

constexpr int kActivateEach = 2;  // vectors of a thread

template <class T, int V>
__global__ void __launch_bounds__(kThreads) activate_vectors(const T* __restrict__ x, T* __restrict__ y, int64_t size,
                                                             const __grid_constant__ Activated<Accumulator<T>> by) {
    using A = Accumulator<T>;
    const Part<V, kActivateEach> part(size);
    Vector<T, V> values[kActivateEach];
#pragma unroll
    for (int p = 0; p < kActivateEach; ++p) values[p] = load_if<V>(part.has(p), x + part.vector(p) * V, T(0));
    with_function(by, [&](auto f) {
#pragma unroll
        for (int p = 0; p < kActivateEach; ++p) {
#pragma unroll
            for (int v = 0; v < V; ++v) values[p].at[v] = static_cast<T>(f(static_cast<A>(values[p].at[v])));
            if (part.has(p)) store(y + part.vector(p) * V, values[p]);
        }
        part.rest([&](int64_t i) { y[i] = static_cast<T>(f(static_cast<A>(x[i]))); });
    });
}

template <class T, int V>
void launch_activate_vectors(const T* x, T* y, int64_t size, const Activated<Accumulator<T>>& by, Stream stream) {
    launch(activate_vectors<T, V>, shape_of<V, kActivateEach>(size), stream, x, y, size, by);
}

}  // namespace convgpu::elementwise
