// Steps of SGD, Adam and AdamW for all parameters, the norm of all elements of a list, and casts of lists.
//
// A thread owns a part of one array of every list. Gradients and casts are converted in pieces of a few KB where their
// dtype is another one.
// Layouts: lists of arrays without gaps.
// Order: the formulas are computed from left to right, in float32 for half types, without fused multiply-adds, so that
// the bits are those of convgpu/backends/numpy/optim.py with every instruction set. global_norm adds squares in float64
// in kSums sequences, these in a sequence, then the parts.
#if defined(__clang__)
#pragma clang fp contract(off)
#else
#pragma GCC optimize("fp-contract=off")
#endif
#include "../threads.h"
#include "lanes.h"
#include "rounding.h"
#include "table.h"

namespace convgpu::cpu::CONVGPU_ISA {
namespace {

constexpr int64_t kConverted = 1024;  // elements that are converted at a time
constexpr int kSums = 16;

CONVGPU_INLINE Vector<float> root(Vector<float> v) {
    for (int i = 0; i < kLanes<float>; ++i) v[i] = __builtin_sqrtf(v[i]);
    return v;
}
CONVGPU_INLINE Vector<double> root(Vector<double> v) {
    for (int i = 0; i < kLanes<double>; ++i) v[i] = __builtin_sqrt(v[i]);
    return v;
}

// Calls use(T{}) with the type of a floating dtype.
template <class Use>
CONVGPU_INLINE void with_type(DType dtype, Use use) {
    switch (dtype) {
        case DType::kFloat16:
            return use(Half{});
        case DType::kBFloat16:
            return use(BFloat16{});
        case DType::kFloat64:
            return use(double{});
        default:
            return use(float{});
    }
}

template <class A>
struct Sgd {
    A rate, momentum, weight_decay, factor;
    bool nesterov, keras, clipped;

    explicit Sgd(const SgdNumbers& n)
        : rate(static_cast<A>(n.rate)),
          momentum(static_cast<A>(n.momentum)),
          weight_decay(static_cast<A>(n.weight_decay)),
          factor(static_cast<A>(n.factor)),
          nesterov(n.nesterov),
          keras(n.keras),
          clipped(n.clipped) {}

    // The new parameters; v is updated.
    CONVGPU_INLINE Vector<A> operator()(Vector<A> p, Vector<A> g, Vector<A> (&slots)[2]) const {
        Vector<A>& v = slots[0];
        if (clipped) g = g * factor;
        if (weight_decay != 0) g = g + weight_decay * p;
        if (momentum == 0) return g * -rate + p;
        if (keras) {
            const Vector<A> change = g * rate;
            v = v * momentum - change;
            return nesterov ? v * momentum + p - change : p + v;
        }
        v = v * momentum + g;
        return (nesterov ? g + v * momentum : v) * -rate + p;
    }
};

template <class A>
struct Adam {
    A beta1, rest1, beta2, rest2, epsilon, weight_decay, factor, kept, size, per_root;
    bool decoupled, keras, clipped;

    explicit Adam(const AdamNumbers& n)
        : beta1(static_cast<A>(n.beta1)),
          rest1(static_cast<A>(n.rest1)),
          beta2(static_cast<A>(n.beta2)),
          rest2(static_cast<A>(n.rest2)),
          epsilon(static_cast<A>(n.epsilon)),
          weight_decay(static_cast<A>(n.weight_decay)),
          factor(static_cast<A>(n.factor)),
          kept(static_cast<A>(n.kept)),
          size(static_cast<A>(n.size)),
          per_root(static_cast<A>(n.per_root)),
          decoupled(n.decoupled),
          keras(n.keras),
          clipped(n.clipped) {}

    // The new parameters; the running means m and s are updated.
    CONVGPU_INLINE Vector<A> operator()(Vector<A> p, Vector<A> g, Vector<A> (&slots)[2]) const {
        Vector<A>&m = slots[0], &s = slots[1];
        if (clipped) g = g * factor;
        if (weight_decay != 0 && decoupled) p = p * kept;
        if (weight_decay != 0 && !decoupled) g = g + weight_decay * p;
        if (keras) {
            m = m + (g - m) * rest1;
            s = s + (g * g - s) * rest2;
            return p - m / (root(s) + epsilon) * size;
        }
        m = m * beta1 + g * rest1;
        s = s * beta2 + g * g * rest2;
        return m / (root(s) * per_root + epsilon) * -size + p;
    }
};

// One part of one parameter. `g` holds its gradients in the type that is computed in.
template <class T, int kSlots, class Step>
void step_part(const StepCall& call, const ListPart& part, const Accumulator<T>* g, const Step& step) {
    using A = Accumulator<T>;
    const T* const p = call.params.part<const T>(part);
    T* const new_p = call.new_params.part<T>(part);
    const A* slots[2] = {};
    A* new_slots[2] = {};
    for (int k = 0; k < kSlots; ++k) {
        slots[k] = call.slots[k].part<const A>(part);
        new_slots[k] = call.new_slots[k].part<A>(part);
    }
    for (int64_t i = 0; i < part.size; i += kLanes<A>) {
        const int lanes = static_cast<int>(smaller<int64_t>(kLanes<A>, part.size - i));
        Vector<A> state[2] = {};
        for (int k = 0; k < kSlots; ++k) state[k] = read_lanes(slots[k] + i, lanes);
        write_lanes(new_p + i, step(read_lanes(p + i, lanes), read_lanes(g + i, lanes), state), lanes);
        for (int k = 0; k < kSlots; ++k) write_lanes(new_slots[k] + i, state[k], lanes);
    }
    if (!call.copies.at) return;
    with_type(call.copies.dtype, [&](auto type) { convert(new_p, call.copies.part<decltype(type)>(part), part.size); });
}

template <class T, int kSlots, class Step>
void step_all(const StepCall& call, const Step& step) {
    using A = Accumulator<T>;
    const bool converts = size_of(call.grads.dtype) != sizeof(A);
    parallel_for(call.parts.count, call.threads, converts ? kConverted * sizeof(A) : 0, [&](int64_t i, char* scratch) {
        const ListPart& all = call.parts.at[i];
        if (!converts) return step_part<T, kSlots>(call, all, call.grads.part<const A>(all), step);
        A* const g = reinterpret_cast<A*>(scratch);
        for (int64_t done = 0; done < all.size; done += kConverted) {
            const ListPart part{all.place, all.begin + done, smaller(kConverted, all.size - done)};
            with_type(call.grads.dtype,
                      [&](auto type) { convert(call.grads.part<const decltype(type)>(part), g, part.size); });
            step_part<T, kSlots>(call, part, g, step);
        }
    });
}

}  // namespace

template <class T>
void sgd_step(const StepCall& call) {
    const Sgd<Accumulator<T>> step(call.sgd);
    if (call.sgd.momentum == 0) return step_all<T, 0>(call, step);
    step_all<T, 1>(call, step);
}

template <class T>
void adam_step(const StepCall& call) {
    step_all<T, 2>(call, Adam<Accumulator<T>>(call.adam));
}

template <class T>
void global_norm(const GlobalNormCall& call) {
    const Memory memory(static_cast<size_t>(call.parts.count) * sizeof(double));
    double* const totals = reinterpret_cast<double*>(memory.data());
    parallel_for(call.parts.count, call.threads, 0, [&](int64_t i, char*) {
        const ListPart& part = call.parts.at[i];
        const T* const x = call.xs.part<const T>(part);
        double sums[kSums] = {};
        int64_t j = 0;
        for (; j + kSums <= part.size; j += kSums) {
            for (int k = 0; k < kSums; ++k) {
                const double value = widened(x[j + k]);
                sums[k] += value * value;
            }
        }
        for (int k = 0; j < part.size; ++j, ++k) {
            const double value = widened(x[j]);
            sums[k] += value * value;
        }
        totals[i] = 0;
        for (const double sum : sums) totals[i] += sum;
    });
    double total = 0;
    for (int64_t i = 0; i < call.parts.count; ++i) total += totals[i];
    *call.norm = __builtin_sqrt(total);
}

template <class T>
void cast_all(const CastCall& call) {
    with_type(call.ys.dtype, [&](auto type) {
        using Y = decltype(type);
        using A = decltype(Accumulator<T>{} + Accumulator<Y>{});
        const A divisor = static_cast<A>(call.divisor);
        parallel_for(call.parts.count, call.threads, 0, [&](int64_t i, char*) {
            const ListPart& part = call.parts.at[i];
            const T* const x = call.xs.part<const T>(part);
            Y* const y = call.ys.part<Y>(part);
            if (!call.divided) return convert(x, y, part.size);
            for (int64_t j = 0; j < part.size; ++j) y[j] = rounded<Y>(static_cast<A>(widened(x[j])) / divisor);
        });
    });
}

CONVGPU_FOR_EACH_DTYPE(sgd_step, StepCall)
CONVGPU_FOR_EACH_DTYPE(adam_step, StepCall)
CONVGPU_FOR_EACH_DTYPE(global_norm, GlobalNormCall)
CONVGPU_FOR_EACH_DTYPE(cast_all, CastCall)

}  // namespace convgpu::cpu::CONVGPU_ISA
