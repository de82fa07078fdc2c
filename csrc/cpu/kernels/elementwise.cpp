// Activations of single elements and their gradients, sums of arrays of one shape, and functions of two operands.
//
// A thread owns a tile of the result, and takes a vector of neighbours at a time.
// Layouts: any; what has gaps along the innermost axis is copied in pieces of a few KB.
// Half types are computed in float32 and rounded once.
// Order: add_n adds its arrays one after the other.
#include "functions.h"
#include "lanes.h"
#include "pieces.h"
#include "table.h"

namespace convgpu::cpu::CONVGPU_ISA {
namespace {

constexpr int64_t kAhead = 512;  // elements between what is computed and what is fetched: 8% of the time of gelu

// y[i] = f(i) for a vector from element i on, of which `lanes` exist.
template <class T, class F>
CONVGPU_INLINE void fill(T* y, int64_t n, F f) {
    constexpr int L = kLanes<Accumulator<T>>;
    int64_t i = 0;
    for (; i + L <= n; i += L) write_lanes(y + i, f(i, L), L);
    if (i < n) {
        const int lanes = static_cast<int>(n - i);
        write_lanes(y + i, f(i, lanes), lanes);
    }
}

// Calls use(f), where f(a, b) is the function of two operands. Maxima and minima are NaN where an operand is.
template <class A, class Use>
CONVGPU_INLINE void with_binary(elementwise::BinaryFunction function, Use use) {
    using elementwise::BinaryFunction;
    using V = Vector<A>;
    switch (function) {
        case BinaryFunction::kAdd:
            return use([](V a, V b) { return a + b; });
        case BinaryFunction::kSubtract:
            return use([](V a, V b) { return a - b; });
        case BinaryFunction::kMultiply:
            return use([](V a, V b) { return a * b; });
        case BinaryFunction::kDivide:
            return use([](V a, V b) { return a / b; });
        case BinaryFunction::kMaximum:
            return use([](V a, V b) { return (a > b) | (a != a) ? a : b; });
        case BinaryFunction::kMinimum:
            return use([](V a, V b) { return (a < b) | (a != a) ? a : b; });
        case BinaryFunction::kReversedSubtract:
            return use([](V a, V b) { return b - a; });
        case BinaryFunction::kReversedDivide:
            return use([](V a, V b) { return b / a; });
    }
}

}  // namespace

template <class T>
void activate(const ElementwiseCall& call) {
    const Pieces<T> pieces(call);
    with_function<Accumulator<T>>(call.by, [&](auto f) {
        pieces.for_each([f](const T* const* xs, T* y, int64_t n) {
            const T* const x = xs[0];
            fill(y, n, [&](int64_t i, int lanes) {
                __builtin_prefetch(x + i + kAhead);
                return f(read_lanes(x + i, lanes));
            });
        });
    });
}

template <class T>
void activate_dgrad(const ElementwiseCall& call) {
    const Pieces<T> pieces(call);
    with_gradient<Accumulator<T>>(call.by, [&](auto f) {
        pieces.for_each([f](const T* const* xs, T* gx, int64_t n) {
            const T *const gy = xs[0], *const v = xs[1];
            fill(gx, n, [&](int64_t i, int lanes) { return f(read_lanes(gy + i, lanes), read_lanes(v + i, lanes)); });
        });
    });
}

template <class T>
void add_n(const ElementwiseCall& call) {
    const int64_t count = call.count;
    Pieces<T>(call).for_each([count](const T* const* xs, T* y, int64_t n) {
        if (count == 2) {
            const T *const a = xs[0], *const b = xs[1];
            const auto sum = [&](int64_t i, int lanes) { return read_lanes(a + i, lanes) + read_lanes(b + i, lanes); };
            return fill(y, n, sum);
        }
        fill(y, n, [&](int64_t i, int lanes) {
            Vector<Accumulator<T>> sum = read_lanes(xs[0] + i, lanes);
            for (int64_t k = 1; k < count; ++k) sum += read_lanes(xs[k] + i, lanes);
            return sum;
        });
    });
}

template <class T>
void binary(const ElementwiseCall& call) {
    const Pieces<T> pieces(call);
    with_binary<Accumulator<T>>(call.function, [&](auto f) {
        pieces.for_each([f](const T* const* xs, T* y, int64_t n) {
            const T *const a = xs[0], *const b = xs[1];
            fill(y, n, [&](int64_t i, int lanes) { return f(read_lanes(a + i, lanes), read_lanes(b + i, lanes)); });
        });
    });
}

CONVGPU_FOR_EACH_DTYPE(activate, ElementwiseCall)
CONVGPU_FOR_EACH_DTYPE(activate_dgrad, ElementwiseCall)
CONVGPU_FOR_EACH_DTYPE(add_n, ElementwiseCall)
CONVGPU_FOR_EACH_DTYPE(binary, ElementwiseCall)

}  // namespace convgpu::cpu::CONVGPU_ISA
