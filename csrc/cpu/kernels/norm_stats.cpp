// The statistics of normalisation: mean, what is left of it, rstd, and the new running statistics.
//
// A thread owns a tile: some columns of a segment of the rows, where the elements that share a mean lie apart; else a
// segment of the runs that share one. A block of a tile is read twice, the second time from the cache: its mean is
// found, and then the sums of the differences from it and of their squares. Where the squares overflow or vanish, the
// block is computed again in a wider type.
// Layouts: without gaps.
// Order: the terms of a block in the accumulator's type, a column's in sequences of 4 rows, a run's in vectors; blocks
// in a wider type, about the first block's mean; then segments, which follow from the sizes alone.
#include "../threads.h"
#include "normalize.h"

namespace convgpu::cpu::CONVGPU_ISA {
namespace {

// Sums over n elements about a pivot, which is the first block's mean: of differences from it, and of their squares.
template <class A>
struct Moments {
    Wide<A> n = 0, one = 0, two = 0;
    A pivot = 0;

    // Adds n elements whose sums about `mean` are given.
    CONVGPU_INLINE void add(Wide<A> more, A mean, Wide<A> s, Wide<A> q) {
        if (n == 0) pivot = mean;
        const Wide<A> delta = Wide<A>(mean) - pivot;
        one += s + more * delta;
        two += q + delta * (2 * s + more * delta);
        n += more;
    }
    CONVGPU_INLINE void add(const Moments& other) {
        if (other.n != 0) add(other.n, other.pivot, other.one, other.two);
    }
};

// Whether the squares of a block are good: they have neither overflowed nor, where epsilon does not hide it, vanished.
template <class A>
struct Good {
    A most, least;

    explicit Good(double epsilon)
        : most(sizeof(A) == 4 ? A(1e37) : A(1e307)), least(sizeof(A) == 4 ? A(1e-28) : A(1e-288)) {
        if (epsilon > least) least = -1;
    }
    CONVGPU_INLINE bool operator()(A q) const { return q < most && q > least; }
};

// The sums of n elements that lie `pitch` apart in a wider type.
template <class T, class A = Accumulator<T>>
void add_wide(const T* x, int64_t n, int64_t pitch, A& mean, Wide<A>& s, Wide<A>& q) {
    Wide<A> sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += widened(x[i * pitch]);
    mean = static_cast<A>(sum / n);
    s = q = 0;
    for (int64_t i = 0; i < n; ++i) {
        const Wide<A> d = Wide<A>(widened(x[i * pitch])) - mean;
        s += d;
        q += d * d;
    }
}

// Writes what follows from the moments of statistic i.
template <class A>
void finish(const NormCall& call, int64_t i, const Moments<A>& m) {
    const Wide<A> n = m.n > 0 ? m.n : 1, apart = m.one / n;
    Wide<A> var = m.two / n - apart * apart;
    if (var < 0) var = 0;
    const Wide<A> mean = m.pivot + apart;
    const A high = static_cast<A>(mean);
    const auto root = [](Wide<A> v) {
        return sizeof(A) == 4 ? Wide<A>(__builtin_sqrt(double(v))) : Wide<A>(__builtin_sqrtl(v));
    };
    static_cast<A*>(call.found_mean)[i] = high;
    static_cast<A*>(call.found_mean)[call.outer * call.groups + i] = static_cast<A>((Wide<A>(m.pivot) - high) + apart);
    static_cast<A*>(call.found_rstd)[i] = static_cast<A>(1 / root(var + Wide<A>(call.epsilon)));
    if (!call.running_mean) return;
    const Wide<A> momentum = call.momentum, unbiased = var * (n / (n > call.correction + 1 ? n - call.correction : 1));
    const auto learned = [&](const void* old, Wide<A> now) {
        return static_cast<A>(momentum * static_cast<const A*>(old)[i] + (1 - momentum) * now);
    };
    static_cast<A*>(call.new_mean)[i] = learned(call.running_mean, mean);
    static_cast<A*>(call.new_var)[i] = learned(call.running_var, unbiased);
}

// --- columns

// Where a tile gathers the moments of its columns.
template <class A>
struct ColumnMoments {
    A* pivot;
    Wide<A>*one, *two;
};

// Working memory of a tile of columns.
template <class A>
struct ColumnSums {
    A mean[kColumns], s[kColumns], q[kColumns];
};

// Calls use(a few rows of x at column c, lanes), 4 rows at a time and then one by one.
template <class T, class Many, class One>
CONVGPU_INLINE void each_row(const T* x, int64_t pitch, int64_t n, int64_t columns, Many many, One one) {
    using A = Accumulator<T>;
    int64_t r = 0;
    for (; r + 4 <= n; r += 4, x += 4 * pitch) {
        for_each_vector<A>(columns, [&](int64_t c, int lanes) __attribute__((always_inline)) {
            many(c, lanes, read_lanes(x + c, lanes), read_lanes(x + c + pitch, lanes),
                 read_lanes(x + c + 2 * pitch, lanes), read_lanes(x + c + 3 * pitch, lanes));
        });
    }
    for (; r < n; ++r, x += pitch) {
        for_each_vector<A>(columns, [&](int64_t c, int lanes)
                                        __attribute__((always_inline)) { one(c, lanes, read_lanes(x + c, lanes)); });
    }
}

// Adds a block of n rows to the moments of its columns, to which `before` rows were added earlier.
template <class T>
void add_block(const T* x, int64_t pitch, int64_t n, int64_t columns, int64_t before, const Good<Accumulator<T>>& good,
               ColumnSums<Accumulator<T>>& sums, const ColumnMoments<Accumulator<T>>& all) {
    using A = Accumulator<T>;
    using V = Vector<A>;
    A *const mean = sums.mean, *const s = sums.s, *const q = sums.q;
    std::memset(&sums, 0, sizeof(sums));
    each_row(
        x, pitch, n, columns,
        [&](int64_t c, int, V a, V b, V d, V e)
            __attribute__((always_inline)) { store(mean + c, load(mean + c) + ((a + b) + (d + e))); },
        [&](int64_t c, int, V a) __attribute__((always_inline)) { store(mean + c, load(mean + c) + a); });
    const A share = A(1) / static_cast<A>(n);
    for (int64_t c = 0; c < columns; ++c) mean[c] *= share;
    each_row(
        x, pitch, n, columns,
        [&](int64_t c, int, V a, V b, V d, V e) __attribute__((always_inline)) {
            const V m = load(mean + c);
            a -= m;
            b -= m;
            d -= m;
            e -= m;
            store(s + c, load(s + c) + ((a + b) + (d + e)));
            store(q + c, load(q + c) + ((a * a + b * b) + (d * d + e * e)));
        },
        [&](int64_t c, int, V a) __attribute__((always_inline)) {
            const V d = a - load(mean + c);
            store(s + c, load(s + c) + d);
            store(q + c, load(q + c) + d * d);
        });
    bool all_good = true;
    for (int64_t c = 0; c < columns; ++c) all_good &= good(q[c]);
    const auto more = static_cast<Wide<A>>(n);
    if (before == 0) std::memcpy(all.pivot, mean, columns * sizeof(A));
    if (all_good) {
        for (int64_t c = 0; c < columns; ++c) {
            const Wide<A> delta = Wide<A>(mean[c]) - all.pivot[c];
            all.one[c] += s[c] + more * delta;
            all.two[c] += q[c] + delta * (2 * Wide<A>(s[c]) + more * delta);
        }
        return;
    }
    for (int64_t c = 0; c < columns; ++c) {
        Moments<A> moments{static_cast<Wide<A>>(before), all.one[c], all.two[c], all.pivot[c]};
        A about = mean[c];
        Wide<A> one = s[c], two = q[c];
        if (!good(q[c])) add_wide(x + c, n, pitch, about, one, two);
        moments.add(more, about, one, two);
        all.pivot[c] = moments.pivot;
        all.one[c] = moments.one;
        all.two[c] = moments.two;
    }
}

// Adds the moments of all segments to those of the first.
template <class A>
void merge_segments(const Folded& f, const ColumnMoments<A>& all) {
    for (int64_t s = 1; s < f.segments; ++s) {
        const int64_t n = f.rows * (s + 1) / f.segments - f.rows * s / f.segments, at = s * f.width;
        const int64_t longer = s + 1 == f.segments ? f.tail : 0;
        for (int64_t c = 0; c < f.width; ++c) {
            const Wide<A> more = c < longer ? n + 1 : n, delta = Wide<A>(all.pivot[at + c]) - all.pivot[c];
            all.two[c] += all.two[at + c] + delta * (2 * all.one[at + c] + more * delta);
            all.one[c] += all.one[at + c] + more * delta;
        }
    }
}

template <class T>
void by_columns(const NormCall& call) {
    using A = Accumulator<T>;
    const int64_t row = call.channels * call.inner, image = call.rows * row, run = call.per_group() * call.inner;
    const int64_t some = smaller<int64_t>(call.outer, larger<int64_t>(1, (1 << 17) / row));  // outers at a time
    const Folded f(some, call.rows, row);
    const int64_t each = f.segments * f.width;
    const Memory pivots(some * each * sizeof(A)), ones(some * each * sizeof(Wide<A>)),
        twos(some * each * sizeof(Wide<A>));
    A* const pivot = reinterpret_cast<A*>(pivots.data());
    Wide<A>*const one = reinterpret_cast<Wide<A>*>(ones.data()), *const two = reinterpret_cast<Wide<A>*>(twos.data());
    const Good<A> good(call.epsilon);
    for (int64_t first = 0; first < call.outer; first += some) {
        const int64_t outers = smaller(some, call.outer - first);
        parallel_for(outers * f.strips * f.segments, call.size() < kNormSmall ? 1 : call.threads, sizeof(ColumnSums<A>),
                     [&](int64_t i, char* scratch) {
                         const FoldedTile tile(f, i);
                         const int64_t at = (tile.outer * f.segments + tile.segment) * f.width + tile.column;
                         const ColumnMoments<A> all{pivot + at, one + at, two + at};
                         for (int64_t c = 0; c < tile.columns; ++c) all.one[c] = all.two[c] = 0;
                         auto& sums = *reinterpret_cast<ColumnSums<A>*>(scratch);
                         const T* const x = static_cast<const T*>(call.x) + (first + tile.outer) * image + tile.column;
                         int64_t r = tile.begin;
                         for (; r < tile.end; r += f.rows_of_block()) {
                             add_block(x + r * f.width, f.width, smaller(f.rows_of_block(), tile.end - r), tile.columns,
                                       r - tile.begin, good, sums, all);
                         }
                         if (tile.tail) {
                             add_block(x + f.rows * f.width, f.width, 1, tile.tail, tile.end - tile.begin, good, sums,
                                       all);
                         }
                     });
        parallel_for(outers, call.threads, 0, [&](int64_t o, char*) {
            const int64_t at = o * each;
            merge_segments(f, ColumnMoments<A>{pivot + at, one + at, two + at});
            for (int64_t g = 0; g < call.groups; ++g) {
                Moments<A> moments;
                for (int64_t fold = g * run; fold < f.width; fold += row) {
                    for (int64_t c = fold; c < fold + run; ++c) {
                        const auto n = static_cast<Wide<A>>(f.rows + (c < f.tail));
                        moments.add(Moments<A>{n, one[at + c], two[at + c], pivot[at + c]});
                    }
                }
                finish(call, (first + o) * call.groups + g, moments);
            }
        });
    }
}

// --- runs

// Adds `rows` runs of n elements.
template <class T>
void add_runs(const T* x, int64_t pitch, int64_t rows, int64_t n, const Good<Accumulator<T>>& good,
              Moments<Accumulator<T>>& moments) {
    using A = Accumulator<T>;
    using V = Vector<A>;
    constexpr int L = kLanes<A>;
    V sum[4]{};
    const auto total = [](V v) {
        Wide<A> all = 0;
        for (int i = 0; i < L; ++i) all += v[i];
        return all;
    };
    const int64_t whole = n / (4 * L) * (4 * L);
    for (int64_t r = 0; r < rows; ++r) {
        const T* const p = x + r * pitch;
        for (int64_t i = 0; i < whole; i += 4 * L) {
#pragma GCC unroll 4
            for (int k = 0; k < 4; ++k) sum[k] += read_lanes(p + i + k * L, L);
        }
        for_each_vector<A>(n - whole, [&](int64_t i, int lanes) __attribute__((always_inline)) {
            sum[0] += read_lanes(p + whole + i, lanes);
        });
    }
    const int64_t count = rows * n;
    A mean = static_cast<A>(total((sum[0] + sum[1]) + (sum[2] + sum[3])) / count);
    const V m = broadcast(mean);
    V s[4]{}, q[4]{};
    for (int64_t r = 0; r < rows; ++r) {
        const T* const p = x + r * pitch;
        for (int64_t i = 0; i < whole; i += 4 * L) {
#pragma GCC unroll 4
            for (int k = 0; k < 4; ++k) {
                const V d = read_lanes(p + i + k * L, L) - m;
                s[k] += d;
                q[k] += d * d;
            }
        }
        for (int64_t i = whole; i < n; i += L) {
            const int lanes = static_cast<int>(smaller<int64_t>(L, n - i));
            const V d = first_lanes<A>(read_lanes(p + i, lanes) - m, lanes);
            s[0] += d;
            q[0] += d * d;
        }
    }
    Wide<A> one = total((s[0] + s[1]) + (s[2] + s[3])), two = total((q[0] + q[1]) + (q[2] + q[3]));
    if (!good(static_cast<A>(two))) {
        for (int64_t r = 0; r < rows; ++r) {
            add_wide(x + r * pitch, n, 1, mean, one, two);
            moments.add(static_cast<Wide<A>>(n), mean, one, two);
        }
        return;
    }
    moments.add(static_cast<Wide<A>>(count), mean, one, two);
}

template <class T>
void by_runs(const NormCall& call) {
    using A = Accumulator<T>;
    const int64_t row = call.channels * call.inner, run = call.per_group() * call.inner,
                  items = call.outer * call.groups;
    // A block has several short runs, or a piece of a long one.
    const int64_t rows = larger<int64_t>(1, kRun<A> / run), pieces = rows > 1 ? 1 : parts(run, kRun<A>);
    const int64_t blocks = rows > 1 ? parts(call.rows, rows) : call.rows * pieces;
    const int64_t segments = items >= kNormSegments ? 1 : smaller(kNormSegments, larger<int64_t>(1, blocks / 8));
    const int64_t chunk = segments > 1 ? 1 : larger<int64_t>(1, kNormSmall / (call.rows * run));  // items of a tile
    const Good<A> good(call.epsilon);
    const Memory memory((segments > 1 ? items * segments : 1) * sizeof(Moments<A>));
    auto* const found = reinterpret_cast<Moments<A>*>(memory.data());
    const auto add = [&](int64_t item, int64_t begin, int64_t end) {
        const T* const x =
            static_cast<const T*>(call.x) + item / call.groups * call.rows * row + item % call.groups * run;
        Moments<A> moments;
        for (int64_t b = begin; b < end; ++b) {
            const int64_t r = b / pieces * rows, at = b % pieces * kRun<A>;
            add_runs(x + r * row + at, row, smaller(rows, call.rows - r),
                     pieces == 1 ? run : smaller(kRun<A>, run - at), good, moments);
        }
        return moments;
    };
    parallel_for(parts(items, chunk) * segments, call.size() < kNormSmall ? 1 : call.threads, 0, [&](int64_t i, char*) {
        if (segments > 1) {
            const int64_t s = i % segments;
            found[i] = add(i / segments, blocks * s / segments, blocks * (s + 1) / segments);
            return;
        }
        for (int64_t item = i * chunk; item < smaller((i + 1) * chunk, items); ++item) {
            finish(call, item, add(item, 0, blocks));
        }
    });
    for (int64_t item = 0; segments > 1 && item < items; ++item) {
        Moments<A> moments;
        for (int64_t s = 0; s < segments; ++s) moments.add(found[item * segments + s]);
        finish(call, item, moments);
    }
}

}  // namespace

template <class T>
void norm_stats(const NormCall& call) {
    if (call.size() == 0) {
        for (int64_t i = 0; i < call.outer * call.groups; ++i) finish(call, i, Moments<Accumulator<T>>{});
        return;
    }
    const int64_t run = call.per_group() * call.inner;
    call.rows > 1 && run < 32 ? by_columns<T>(call) : by_runs<T>(call);
}

CONVGPU_FOR_EACH_DTYPE(norm_stats, NormCall)

}  // namespace convgpu::cpu::CONVGPU_ISA
