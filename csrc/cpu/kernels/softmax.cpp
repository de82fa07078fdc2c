// Softmax over the classes of each line, its logarithm, and the gradients of both.
//
// A thread owns a tile: some whole lines, or up to kAcross lines side by side. Memory is read once: a line is found in
// the cache by the passes that follow the first.
// Layouts: without gaps, the classes along any axis.
// Order: kTerms classes, or 2 * kTerms vectors of a line, in the accumulator's type, then these in a wider type.
#include "../threads.h"
#include "classes.h"

namespace convgpu::cpu::CONVGPU_ISA {

template <class T>
void softmax(const SoftmaxCall& call) {
    using A = Accumulator<T>;
    const int64_t n = call.classes, pitch = call.inner;
    const T* const x = static_cast<const T*>(call.x);
    T* const y = static_cast<T*>(call.result);
    const bool log_of = call.log_of;
    const auto last = [log_of](Vector<A> v, Vector<A> by)
                          __attribute__((always_inline)) { return log_of ? v - by : exponential(v) * by; };
    const auto factor = [log_of](Wide<A> sum) { return static_cast<A>(log_of ? logarithm(sum) : 1 / sum); };
    for_each_line<A>(
        call, sizeof(AcrossLines<A>),
        [&](int64_t line) {
            const T* const from = x + line * n;
            T* const to = y + line * n;
            if constexpr (sizeof(T) == sizeof(A)) {  // exp(x - largest) is kept in y
                if (!log_of) {
                    const Vector<A> largest = broadcast(largest_of(from, n));
                    const Wide<A> sum = sum_of<A>(n, [&](int64_t i, int lanes) __attribute__((always_inline)) {
                        const Vector<A> e = exponential(read_lanes(from + i, lanes) - largest);
                        write_lanes(to + i, e, lanes);
                        return e;
                    });
                    const Vector<A> by = broadcast(factor(sum));
                    for_each_vector<A>(n, [&](int64_t i, int lanes) __attribute__((always_inline)) {
                        write_lanes(to + i, read_lanes(to + i, lanes) * by, lanes);
                    });
                    return;
                }
            }
            const auto found = find(from, n, false);
            const Vector<A> largest = broadcast(found.largest), by = broadcast(factor(found.sum));
            for_each_vector<A>(n, [&](int64_t i, int lanes) __attribute__((always_inline)) {
                write_lanes(to + i, last(read_lanes(from + i, lanes) - largest, by), lanes);
            });
        },
        [&](int64_t o, int64_t first, int64_t width, char* scratch) {
            auto& found = *reinterpret_cast<AcrossLines<A>*>(scratch);
            const int64_t at = o * n * pitch + first;
            find_across(x + at, n, pitch, width, false, found);
            A* const by = found.shifted.some;
            for (int64_t i = 0; i < width; ++i) by[i] = factor(found.sum.all[i]);
            for (int64_t c = 0; c < n; ++c) {
                for_each_vector<A>(width, [&](int64_t i, int lanes) __attribute__((always_inline)) {
                    const int64_t k = at + c * pitch + i;
                    write_lanes(y + k, last(read_lanes(x + k, lanes) - load(found.largest + i), load(by + i)), lanes);
                });
            }
        });
}

// y * (gy - the sum of gy * y), or gy - exp(y) * the sum of gy.
template <class T>
void softmax_dgrad(const SoftmaxCall& call) {
    using A = Accumulator<T>;
    const int64_t n = call.classes, pitch = call.inner;
    const T *const gy = static_cast<const T*>(call.gy), *const y = static_cast<const T*>(call.y);
    T* const gx = static_cast<T*>(call.gx);
    const bool log_of = call.log_of;
    const auto term = [&](int64_t k, int lanes) __attribute__((always_inline)) {
        const Vector<A> g = read_lanes(gy + k, lanes);
        return log_of ? g : g * read_lanes(y + k, lanes);
    };
    const auto put = [&](int64_t k, int lanes, Vector<A> sum) __attribute__((always_inline)) {
        const Vector<A> g = read_lanes(gy + k, lanes), v = read_lanes(y + k, lanes);
        write_lanes(gx + k, log_of ? g - exponential(v) * sum : v * (g - sum), lanes);
    };
    for_each_line<A>(
        call, sizeof(Across<A>),
        [&](int64_t line) {
            const int64_t at = line * n;
            const Vector<A> sum = broadcast(static_cast<A>(sum_of<A>(
                n, [&](int64_t i, int lanes) __attribute__((always_inline)) { return term(at + i, lanes); })));
            for_each_vector<A>(n,
                               [&](int64_t i, int lanes) __attribute__((always_inline)) { put(at + i, lanes, sum); });
        },
        [&](int64_t o, int64_t first, int64_t width, char* scratch) {
            auto& sums = *reinterpret_cast<Across<A>*>(scratch);
            const int64_t at = o * n * pitch + first;
            sums.add(n, width, [&](int64_t c, int64_t i, int lanes) __attribute__((always_inline)) {
                return term(at + c * pitch + i, lanes);
            });
            for (int64_t i = 0; i < width; ++i) sums.some[i] = static_cast<A>(sums.all[i]);
            for (int64_t c = 0; c < n; ++c) {
                for_each_vector<A>(width, [&](int64_t i, int lanes) __attribute__((always_inline)) {
                    put(at + c * pitch + i, lanes, load(sums.some + i));
                });
            }
        });
}

CONVGPU_FOR_EACH_DTYPE(softmax, SoftmaxCall)
CONVGPU_FOR_EACH_DTYPE(softmax_dgrad, SoftmaxCall)

}  // namespace convgpu::cpu::CONVGPU_ISA
