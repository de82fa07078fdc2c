// A step of gradient descent for all parameters: v = momentum * v + g, p = p - rate * v, and their variants.
//
// A block owns one chunk of one array of each list; a thread owns every 256th vector of it. Layouts: lists of arrays,
// p, g, v, new_p, new_v, copies; v, new_v and copies may be null. Assumes nothing of addresses but the elements' own
// alignment: an array is read in vectors where all its lists allow it. Order: the formulas are computed from left to
// right, in float32 for half types, as convgpu/backends/numpy/optim.py does.
#pragma once
#include "optim.h"
#include "shared.h"
#include "table.h"

namespace convgpu::optim {

// The rule in the accumulator's dtype. `rate` and `factor` come from the device.
template <class A>
struct SgdStep {
    A rate, factor, momentum, weight_decay;
    bool nesterov, keras, skipped, clipped;

    // Returns the new parameter, and changes v.
    __device__ __forceinline__ A operator()(A p, A g, A& v) const {
        if (skipped) return p;
        if (clipped) g *= factor;
        if (weight_decay != 0) g += weight_decay * p;
        if (momentum == 0) return g * -rate + p;
        if (keras) {
            const A change = g * rate;
            v = v * momentum - change;
            return nesterov ? p + v * momentum - change : p + v;
        }
        v = v * momentum + g;
        return (nesterov ? g + v * momentum : v) * -rate + p;
    }
};

template <class P, class G>
__global__ void __launch_bounds__(kThreads)
    sgd_step(const __grid_constant__ Table table, const __grid_constant__ Sgd rule,
             const __grid_constant__ Scalars scalars, Copies kind) {
    using A = Accumulator<P>;
    const Part part = table.part();
    const P* p = table.array<const P>(0, part);
    const G* g = table.array<const G>(1, part);
    const A* v = table.array<const A>(2, part);
    P* new_p = table.array<P>(3, part);
    A* new_v = table.array<A>(4, part);
    __half* copies = table.array<__half>(5, part);
    const SgdStep<A> step{static_cast<A>(scalars.learning_rate()),
                          static_cast<A>(scalars.gradient_factor()),
                          static_cast<A>(rule.momentum),
                          static_cast<A>(rule.weight_decay),
                          rule.nesterov,
                          rule.keras,
                          scalars.skipped(),
                          rule.clip_norm < INFINITY};
    const bool aligned = vector_aligned(p) && vector_aligned(g) && vector_aligned(v) && vector_aligned(new_p) &&
                         vector_aligned(new_v) && vector_aligned(copies);
    each_vector(part, aligned, [&](auto width, int64_t i) {
        constexpr int V = decltype(width)::value;
        Vector<P, V> ps = load<V>(p + i);
        const Vector<G, V> gs = load<V>(g + i);
        Vector<A, V> vs = load_if<V>(v != nullptr, v + i, A(0));
#pragma unroll
        for (int e = 0; e < V; ++e)
            ps.at[e] = static_cast<P>(step(static_cast<A>(ps.at[e]), static_cast<A>(gs.at[e]), vs.at[e]));
        store(new_p + i, ps);
        if (new_v) store(new_v + i, vs);
        store_copies(copies, kind, i, ps);
    });
    if (blockIdx.x == 0 && threadIdx.x == 0) scalars.advance();
}

template <class P, class G>
void launch_sgd_step(const Plan& plan, const Table& table, const Sgd& rule, const Scalars& scalars, Copies kind,
                     Stream stream) {
    launch(sgd_step<P, G>, shape_of(plan), stream, table, rule, scalars, kind);
}

}  // namespace convgpu::optim
