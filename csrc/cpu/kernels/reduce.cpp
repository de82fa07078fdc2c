// Sums, means, maxima and minima over axes.
//
// A thread owns a tile: a segment of the terms of up to kColumns neighbouring results, or of the runs whose terms are
// neighbours. Vectors lie across results, or along runs.
// Layouts: without gaps, any axes.
// Order: of sums, kTerms terms in the accumulator's type, then these in a wider type, which a block that
// overflows is added to term by term; then segments, which follow from the sizes alone. The maximum of numbers of which
// one is NaN is NaN.
#include "../threads.h"
#include "normalize.h"

namespace convgpu::cpu::CONVGPU_ISA {
namespace {

constexpr int64_t kTerms = 32;  // terms of a sum in the accumulator's type, before it is added to a wider one

// How terms meet, in vectors and one by one in the wide type.
template <class A>
struct Adding {
    static constexpr bool adds = true;
    static CONVGPU_INLINE A none() { return 0; }
    static CONVGPU_INLINE Vector<A> meet(Vector<A> a, Vector<A> b) { return a + b; }
    static CONVGPU_INLINE Wide<A> meet(Wide<A> a, Wide<A> b) { return a + b; }
};
template <class A, int kSign>
struct Extreme {
    static constexpr bool adds = false;
    static CONVGPU_INLINE A none() { return -kSign * kInfinite<A>; }
    static CONVGPU_INLINE Vector<A> meet(Vector<A> a, Vector<A> b) {
        return (kSign > 0 ? b > a : b < a) | (b != b) ? b : a;
    }
    static CONVGPU_INLINE Wide<A> meet(Wide<A> a, Wide<A> b) { return (kSign > 0 ? b > a : b < a) || b != b ? b : a; }
};

template <class A>
CONVGPU_INLINE bool is_finite(A a) {
    return a - a == 0;
}

// Results, from what the terms have become.
template <class T>
void put(const ReduceCall& call, int64_t i, Wide<Accumulator<T>> all) {
    if (call.function == Reduction::kMean) all /= call.terms();
    static_cast<T*>(call.y)[i] = narrowed<T>(static_cast<Accumulator<T>>(all));
}

// Where row r of the terms of `kept` begins.
CONVGPU_INLINE int64_t row_at(const ReduceCall& call, int64_t kept, int64_t r) {
    return ((r / call.middle * call.kept + kept) * call.middle + r % call.middle) * call.inner;
}

template <class T, class Op>
void by_columns(const ReduceCall& call) {
    using A = Accumulator<T>;
    using W = Wide<A>;
    const bool folds = call.kept == 1;  // rows follow each other without gaps
    const Folded f(call.kept, folds ? call.terms() : 1, folds ? call.inner : 1);
    const int64_t width = folds ? f.width : call.inner, rows = folds ? f.rows : call.terms();
    const int64_t tail = folds ? f.tail : 0, strips = parts(width, kColumns);
    int64_t segments = smaller(smaller(kNormSegments, rows / 32), parts(rows * width, 1 << 16));
    segments = larger<int64_t>(1, smaller(segments, 64 / (call.kept * strips)));
    const bool direct = segments == 1 && width == call.inner;
    const Memory memory(direct ? 0 : call.kept * segments * width * sizeof(W));
    W* const found = reinterpret_cast<W*>(memory.data());
    const T* const x = static_cast<const T*>(call.x);
    const int threads = call.size() < kNormSmall ? 1 : call.threads;
    parallel_for(
        call.kept * strips * segments, threads, kColumns * (sizeof(A) + sizeof(W)), [&](int64_t i, char* scratch) {
            const int64_t s = i % segments, column = i / segments % strips * kColumns, kept = i / segments / strips;
            const int64_t columns = smaller(kColumns, width - column);
            W* const all = direct ? reinterpret_cast<W*>(scratch) : found + (kept * segments + s) * width + column;
            A* const some = reinterpret_cast<A*>(scratch + kColumns * sizeof(W));
            for (int64_t c = 0; c < columns; ++c) all[c] = Op::none();
            const auto at = [&](int64_t r) { return column + (folds ? r * width : row_at(call, kept, r)); };
            const int64_t end = rows * (s + 1) / segments;
            const auto add_rows = [&](int64_t first, int64_t n, int64_t many) __attribute__((always_inline)) {
                for (int64_t c = 0; c < many; ++c) some[c] = Op::none();
                int64_t r = first;
                for (; r + 4 <= first + n; r += 4) {
                    const T *const a = x + at(r), *const b = x + at(r + 1), *const d = x + at(r + 2),
                                   *const e = x + at(r + 3);
                    for_each_vector<A>(many, [&](int64_t c, int lanes) __attribute__((always_inline)) {
                        const Vector<A> two = Op::meet(read_lanes(a + c, lanes), read_lanes(b + c, lanes));
                        const Vector<A> more = Op::meet(read_lanes(d + c, lanes), read_lanes(e + c, lanes));
                        store(some + c, Op::meet(load(some + c), Op::meet(two, more)));
                    });
                }
                for (; r < first + n; ++r) {
                    const T* const a = x + at(r);
                    for_each_vector<A>(many, [&](int64_t c, int lanes) __attribute__((always_inline)) {
                        store(some + c, Op::meet(load(some + c), read_lanes(a + c, lanes)));
                    });
                }
                bool finite = true;
                for (int64_t c = 0; c < many; ++c) finite &= is_finite(some[c]);
                if (!Op::adds || finite) {
                    for (int64_t c = 0; c < many; ++c) all[c] = Op::meet(all[c], W(some[c]));
                    return;
                }
                for (int64_t c = 0; c < many; ++c) {
                    for (int64_t k = first; k < first + n; ++k) all[c] += widened(x[at(k) + c]);
                }
            };
            for (int64_t r = rows * s / segments; r < end; r += kTerms) {
                add_rows(r, smaller(kTerms, end - r), columns);
            }
            if (end == rows && tail > column) add_rows(rows, 1, smaller(columns, tail - column));
            for (int64_t c = 0; direct && c < columns; ++c) put<T>(call, kept * width + column + c, all[c]);
        });
    if (direct) return;
    for (int64_t i = 0; i < call.kept * call.inner; ++i) {
        const int64_t kept = i / call.inner;
        W all = Op::none();
        for (int64_t s = 0; s < segments; ++s) {
            for (int64_t c = i % call.inner; c < width; c += call.inner) {
                all = Op::meet(all, found[(kept * segments + s) * width + c]);
            }
        }
        put<T>(call, i, all);
    }
}

// The terms of n neighbours.
template <class T, class Op>
Wide<Accumulator<T>> of_run(const T* x, int64_t n) {
    using A = Accumulator<T>;
    constexpr int L = kLanes<A>;
    Vector<A> some[4] = {broadcast(Op::none()), broadcast(Op::none()), broadcast(Op::none()), broadcast(Op::none())};
    int64_t i = 0;
    for (; i + 4 * L <= n; i += 4 * L) {
#pragma GCC unroll 4
        for (int k = 0; k < 4; ++k) some[k] = Op::meet(some[k], read_lanes(x + i + k * L, L));
    }
    for (; i < n; i += L) {
        const int lanes = static_cast<int>(smaller<int64_t>(L, n - i));
        some[0] = Op::meet(some[0], first_lanes<A>(read_lanes(x + i, lanes), lanes, broadcast(Op::none())));
    }
    const Vector<A> four = Op::meet(Op::meet(some[0], some[1]), Op::meet(some[2], some[3]));
    Wide<A> all = Op::none();
    for (int k = 0; k < L; ++k) all = Op::meet(all, Wide<A>(four[k]));
    if (!Op::adds || is_finite(all)) return all;
    all = 0;
    for (int64_t k = 0; k < n; ++k) all += widened(x[k]);
    return all;
}

template <class T, class Op>
void by_runs(const ReduceCall& call) {
    using A = Accumulator<T>;
    using W = Wide<A>;
    const int64_t n = call.middle, piece = 4 * kTerms * kLanes<A>, pieces = parts(n, piece),
                  blocks = call.outer * pieces;
    const int64_t segments = call.kept >= kNormSegments ? 1 : smaller(kNormSegments, parts(blocks, 4));
    const int64_t chunk = segments > 1 ? 1 : larger<int64_t>(1, kNormSmall / (call.outer * n));
    const Memory memory((segments > 1 ? call.kept * segments : 0) * sizeof(W));
    W* const found = reinterpret_cast<W*>(memory.data());
    const T* const x = static_cast<const T*>(call.x);
    const auto add = [&](int64_t kept, int64_t begin, int64_t end) {
        W all = Op::none();
        for (int64_t b = begin; b < end; ++b) {
            const int64_t first = b % pieces * piece;
            all = Op::meet(all,
                           of_run<T, Op>(x + (b / pieces * call.kept + kept) * n + first, smaller(piece, n - first)));
        }
        return all;
    };
    const int threads = call.size() < kNormSmall ? 1 : call.threads;
    parallel_for(parts(call.kept, chunk) * segments, threads, 0, [&](int64_t i, char*) {
        if (segments > 1) {
            const int64_t s = i % segments;
            found[i] = add(i / segments, blocks * s / segments, blocks * (s + 1) / segments);
            return;
        }
        for (int64_t kept = i * chunk; kept < smaller((i + 1) * chunk, call.kept); ++kept) {
            put<T>(call, kept, add(kept, 0, blocks));
        }
    });
    for (int64_t kept = 0; segments > 1 && kept < call.kept; ++kept) {
        W all = Op::none();
        for (int64_t s = 0; s < segments; ++s) all = Op::meet(all, found[kept * segments + s]);
        put<T>(call, kept, all);
    }
}

template <class T, class Op>
void run(const ReduceCall& call) {
    call.inner == 1 ? by_runs<T, Op>(call) : by_columns<T, Op>(call);
}

}  // namespace

template <class T>
void reduce(const ReduceCall& call) {
    using A = Accumulator<T>;
    if (call.function == Reduction::kMax) return run<T, Extreme<A, 1>>(call);
    if (call.function == Reduction::kMin) return run<T, Extreme<A, -1>>(call);
    run<T, Adding<A>>(call);
}

CONVGPU_FOR_EACH_DTYPE(reduce, ReduceCall)

}  // namespace convgpu::cpu::CONVGPU_ISA
