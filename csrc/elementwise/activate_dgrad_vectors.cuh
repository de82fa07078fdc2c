// The gradient through an activation of every element, in one pass: gx[i] = gy[i] * f'(i).
//
// A thread owns one vector of V neighbouring elements (vectors.h). Layouts: gy[i], v[i], gx[i], where v is the
// activation's result or its argument (function.h). Assumes alignment to a vector of V elements. Half types are
// computed in float32 and rounded once. Order: nothing is added.
#pragma once
#include "function.h"
#include "vectors.h"

namespace convgpu::elementwise {

constexpr int kActivateDgradEach = 1;  // vectors of a thread

template <class T, int V>
__global__ void __launch_bounds__(kThreads, 3)
    activate_dgrad_vectors(const T* __restrict__ gy, const T* __restrict__ v, T* __restrict__ gx, int64_t size,
                           const __grid_constant__ Activated<Accumulator<T>> by) {
    using A = Accumulator<T>;
    const Part<V, kActivateDgradEach> part(size);
    Vector<T, V> gradients[kActivateDgradEach], values[kActivateDgradEach];
#pragma unroll
    for (int p = 0; p < kActivateDgradEach; ++p) {
        gradients[p] = load_if<V>(part.has(p), gy + part.vector(p) * V, T(0));
        values[p] = load_if<V>(part.has(p), v + part.vector(p) * V, T(0));
    }
    with_gradient(by, [&](auto f) {
#pragma unroll
        for (int p = 0; p < kActivateDgradEach; ++p) {
#pragma unroll
            for (int e = 0; e < V; ++e) {
                T& g = gradients[p].at[e];
                g = static_cast<T>(f(static_cast<A>(g), static_cast<A>(values[p].at[e])));
            }
            if (part.has(p)) store(gx + part.vector(p) * V, gradients[p]);
        }
        part.rest([&](int64_t i) { gx[i] = static_cast<T>(f(static_cast<A>(gy[i]), static_cast<A>(v[i]))); });
    });
}

template <class T, int V>
void launch_activate_dgrad_vectors(const T* gy, const T* v, T* gx, int64_t size, const Activated<Accumulator<T>>& by,
                                   Stream stream) {
    launch(activate_dgrad_vectors<T, V>, shape_of<V, kActivateDgradEach>(size), stream, gy, v, gx, size, by);
}

}  // namespace convgpu::elementwise
