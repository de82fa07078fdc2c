// A step of Adam or AdamW for all parameters: m and s are running means of g and g^2, and p moves by about the learning
// rate along m / sqrt(s).
//
// A block owns one chunk of one array of each list; a thread owns every 256th vector of it. Layouts: lists of arrays,
// p, g, m, s, new_p, new_m, new_s, copies; copies may be null. Assumes nothing of addresses but the elements' own
// alignment: an array is read in vectors where all its lists allow it. Order: the formulas are computed from left to
// right, in float32 for half types, as convgpu/backends/numpy/optim.py does; the corrections of both means in float64,
// once per block.
#pragma once
#include "optim.h"
#include "shared.h"
#include "table.h"

namespace convgpu::optim {

// The rule in the accumulator's dtype, with what depends on the step.
template <class A>
struct AdamStep {
    A beta1, rest1, beta2, rest2, epsilon, decay, kept, factor;
    A size, per_root;  // p changes by -size * m / (sqrt(s) * per_root + epsilon)
    bool decoupled, keras, skipped, clipped;

    __device__ AdamStep() = default;
    __device__ AdamStep(const Adam& rule, const Scalars& scalars)
        : beta1(static_cast<A>(rule.beta1)),
          rest1(static_cast<A>(1 - rule.beta1)),
          beta2(static_cast<A>(rule.beta2)),
          rest2(static_cast<A>(1 - rule.beta2)),
          epsilon(static_cast<A>(rule.epsilon)),
          decay(static_cast<A>(rule.weight_decay)),
          factor(static_cast<A>(scalars.gradient_factor())),
          decoupled(rule.decoupled),
          keras(rule.keras),
          skipped(scalars.skipped()),
          clipped(rule.clip_norm < INFINITY) {
        const double rate = scalars.learning_rate(), step = static_cast<double>(scalars.steps_before() + 1);
        const double first = 1 - pow(rule.beta1, step), second = 1 - pow(rule.beta2, step);
        kept = static_cast<A>(1 - rate * rule.weight_decay);
        size = static_cast<A>(rule.keras ? rate * sqrt(second) / first : rate / first);
        per_root = static_cast<A>(1 / sqrt(second));
    }

    // Returns the new parameter, and changes m and s.
    __device__ __forceinline__ A operator()(A p, A g, A& m, A& s) const {
        if (skipped) return p;
        if (clipped) g *= factor;
        if (decay != 0 && decoupled) p *= kept;
        if (decay != 0 && !decoupled) g += decay * p;
        if (keras) {
            m += (g - m) * rest1;
            s += (g * g - s) * rest2;
            return p - m / (static_cast<A>(sqrt(s)) + epsilon) * size;
        }
        m = m * beta1 + g * rest1;
        s = s * beta2 + g * g * rest2;
        return m / (static_cast<A>(sqrt(s)) * per_root + epsilon) * -size + p;
    }
};

template <class P, class G>
__global__ void __launch_bounds__(kThreads)
    adam_step(const __grid_constant__ Table table, const __grid_constant__ Adam rule,
              const __grid_constant__ Scalars scalars, Copies kind) {
    using A = Accumulator<P>;
    auto& step = dyn_smem<AdamStep<A>>();
    if (threadIdx.x == 0) step = AdamStep<A>(rule, scalars);
    __syncthreads();
    const Part part = table.part();
    const P* p = table.array<const P>(0, part);
    const G* g = table.array<const G>(1, part);
    const A *m = table.array<const A>(2, part), *s = table.array<const A>(3, part);
    P* new_p = table.array<P>(4, part);
    A *new_m = table.array<A>(5, part), *new_s = table.array<A>(6, part);
    __half* copies = table.array<__half>(7, part);
    const bool aligned = vector_aligned(p) && vector_aligned(g) && vector_aligned(m) && vector_aligned(s) &&
                         vector_aligned(new_p) && vector_aligned(new_m) && vector_aligned(new_s) &&
                         vector_aligned(copies);
    each_vector(part, aligned, [&](auto width, int64_t i) {
        constexpr int V = decltype(width)::value;
        Vector<P, V> ps = load<V>(p + i);
        const Vector<G, V> gs = load<V>(g + i);
        Vector<A, V> ms = load<V>(m + i), ss = load<V>(s + i);
#pragma unroll
        for (int e = 0; e < V; ++e)
            ps.at[e] = static_cast<P>(step(static_cast<A>(ps.at[e]), static_cast<A>(gs.at[e]), ms.at[e], ss.at[e]));
        store(new_p + i, ps);
        store(new_m + i, ms);
        store(new_s + i, ss);
        store_copies(copies, kind, i, ps);
    });
    if (blockIdx.x == 0 && threadIdx.x == 0) scalars.advance();
}

template <class P, class G>
void launch_adam_step(const Plan& plan, const Table& table, const Adam& rule, const Scalars& scalars, Copies kind,
                      Stream stream) {
    LaunchShape shape = shape_of(plan);
    shape.shared_bytes = sizeof(AdamStep<Accumulator<P>>);
    launch(adam_step<P, G>, shape, stream, table, rule, scalars, kind);
}

}  // namespace convgpu::optim
