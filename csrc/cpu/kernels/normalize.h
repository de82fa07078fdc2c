// What the kernels of normalisation share: the affine step, activations and their slopes, and how x is cut.
#pragma once
#include "functions.h"
#include "lanes.h"
#include "table.h"

namespace convgpu::cpu::CONVGPU_ISA {

constexpr int64_t kNormSmall = 32768;  // elements that one thread handles alone
constexpr int64_t kColumns = 512;      // columns of a strip: its parameters stay in the first cache
constexpr int64_t kRowsOfBlock = 128;  // terms of a sum in the accumulator's type, before it is added to a wider one
constexpr int64_t kNormSegments = 16;
template <class A>
constexpr int64_t kRun = 2 * kRowsOfBlock * kLanes<A>;  // elements of a block of runs, which two or more vectors add up

template <class A>
struct WideOf {
    using type = double;
};
template <>
struct WideOf<double> {
    using type = long double;
};
template <class A>
using Wide = typename WideOf<A>::type;

// Calls use(i, lanes) for every vector of n elements; lanes is a constant but for the last.
template <class A, class Use>
CONVGPU_INLINE void for_each_vector(int64_t n, Use use) {
    int64_t i = 0;
    for (; i + kLanes<A> <= n; i += kLanes<A>) use(i, kLanes<A>);
    if (i < n) use(i, static_cast<int>(n - i));
}

CONVGPU_INLINE double logarithm(double v) { return __builtin_log(v); }
CONVGPU_INLINE long double logarithm(long double v) { return __builtin_logl(v); }

// The first `n` lanes of v, and those of `rest`.
template <class A>
CONVGPU_INLINE Vector<A> first_lanes(Vector<A> v, int n, Vector<A> rest = Vector<A>{}) {
    if (n == kLanes<A>) return v;
    Integers<A> at{};
#pragma GCC unroll 16
    for (int i = 0; i < kLanes<A>; ++i) at[i] = i;
    return at < n ? v : rest;
}

template <class A>
constexpr A kInfinite = A(__builtin_inf());

// The activations. NaN stays NaN, and a slope that is 0 makes an infinite gradient 0, as in the numpy backend.
template <class A>
struct Activated {
    bool silu;
    A low, high;                // the value is limited to these
    A closed_low, closed_high;  // the slope is 0 up to closed_low, and from closed_high; nothing is up to NaN

    explicit Activated(NormActivation activation)
        : silu(activation == NormActivation::kSilu),
          low(-kInfinite<A>),
          high(kInfinite<A>),
          closed_low(__builtin_nan("")),
          closed_high(__builtin_nan("")) {
        if (activation == NormActivation::kRelu || activation == NormActivation::kRelu6) low = closed_low = 0;
        if (activation == NormActivation::kRelu6) high = closed_high = 6;
    }

    template <bool kSilu>
    CONVGPU_INLINE Vector<A> value(Vector<A> v) const {
        if (kSilu) return at_least(v, A(-750)) * sigmoid<A>(v);
        v = v <= low ? broadcast(low) : v;
        return v >= high ? broadcast(high) : v;
    }

    // g times the slope at v, which for relu and relu6 may be the activation's result.
    template <bool kSilu>
    CONVGPU_INLINE Vector<A> times_slope(Vector<A> g, Vector<A> v) const {
        if (kSilu) {
            const Vector<A> t = within(v, A(-750), A(750));
            const Sigmoid<A> s(t);
            return g * (s.of_x * (1 + t * s.of_minus_x));
        }
        g = v <= closed_low ? Vector<A>{} : g;
        return v >= closed_high ? Vector<A>{} : g;
    }
};

// xn * scale + offset = (x * unit - centre) * factor + shift. unit is 1, or less where x - mean might overflow.
template <class A>
struct Affine {
    Vector<A> centre, factor, shift;

    CONVGPU_INLINE Vector<A> apart(Vector<A> x, A unit) const { return x * unit - centre; }
    CONVGPU_INLINE Vector<A> operator()(Vector<A> x, A unit) const { return apart(x, unit) * factor + shift; }
};

// Statistics and parameters of a call.
template <class A>
struct Given {
    const A *mean, *rest, *rstd, *scale, *offset;
    A unit = 1, inverse = 1, epsilon;  // unit * inverse = 1
    bool infers;
    int64_t groups, per_group;

    explicit Given(const NormCall& call)
        : mean(static_cast<const A*>(call.mean)),
          rest(static_cast<const A*>(call.rest)),
          rstd(static_cast<const A*>(call.rstd)),
          scale(static_cast<const A*>(call.scale)),
          offset(static_cast<const A*>(call.offset)),
          epsilon(static_cast<A>(call.epsilon)),
          infers(call.infers),
          groups(call.groups),
          per_group(call.per_group()) {
        const A limit = sizeof(A) == 4 ? A(3.4e38 * 1.2e-7 / 8) : A(1.7e308 * 2.2e-16 / 8);
        const int64_t means = infers ? call.channels : call.outer * groups;
        for (int64_t i = 0; i < means; ++i) {
            if (mean[i] > limit || mean[i] < -limit) unit = A(1.0 / 65536);
        }
        inverse = 1 / unit;
    }

    CONVGPU_INLINE int64_t at(int64_t o, int64_t c) const {
        return infers ? c : o * groups + (per_group == 1 ? c : c / per_group);
    }
    CONVGPU_INLINE A rate(int64_t i) const {
        if (!infers) return rstd[i];
        return sizeof(A) == 4 ? 1 / __builtin_sqrtf(rstd[i] + epsilon) : 1 / __builtin_sqrt(rstd[i] + epsilon);
    }
    CONVGPU_INLINE A scale_of(int64_t c) const { return scale ? scale[c] : A(1); }

    // The affine step of channel c as numbers.
    CONVGPU_INLINE void get(int64_t o, int64_t c, A& centre, A& factor, A& shift) const {
        const int64_t i = at(o, c);
        centre = mean[i] * unit;
        factor = rate(i) * inverse * scale_of(c);
        shift = (offset ? offset[c] : A(0)) - (rest ? rest[i] * unit * factor : A(0));
    }
    // Those of columns [first, first + n), which are channels `column % channels`.
    CONVGPU_INLINE void of_columns(int64_t o, int64_t first, int64_t n, int64_t channels, A* centre, A* factor,
                                   A* shift) const {
        for (int64_t k = 0, c = first % channels; k < n; ++k, c = c + 1 == channels ? 0 : c + 1) {
            get(o, c, centre[k], factor[k], shift[k]);
        }
    }
};

// The affine steps of a line, whose channels share a mean; its first channel is `channel`.
template <class A>
struct OfLine {
    Vector<A> centre, rate, rest;
    const A *scale, *offset;

    OfLine(const Given<A>& given, int64_t line, int64_t channel)
        : centre(broadcast(given.mean[line] * given.unit)),
          rate(broadcast(given.rstd[line] * given.inverse)),
          rest(broadcast(given.rest[line] * given.unit)),
          scale(given.scale ? given.scale + channel : nullptr),
          offset(given.offset ? given.offset + channel : nullptr) {}

    CONVGPU_INLINE Affine<A> at(int64_t i, int lanes) const {
        const Vector<A> factor = scale ? rate * load_first(scale + i, lanes) : rate;
        return {centre, factor, (offset ? load_first(offset + i, lanes) : Vector<A>{}) - rest * factor};
    }
};

// Rows of `width` columns. Several short rows are taken as one, so that vectors are full: column k is then column
// k % row of x. `tail` columns of another row are left over at the end.
struct Folded {
    int64_t row, width, rows, tail, strips, segments;

    Folded(int64_t outer, int64_t x_rows, int64_t x_row) : row(x_row) {
        int64_t k = 1;
        if (row > 0 && row < kRowsOfBlock) {
            while (k < 16 && k * row % 16 != 0) k *= 2;
            while (k * row < 64) k *= 2;
            if (x_rows < 2 * k) k = 1;
        }
        width = k * row;
        rows = x_rows / k;
        tail = x_rows % k * row;
        strips = parts(width, kColumns);
        segments = smaller(smaller(kNormSegments, rows / 32), parts(rows * width, 1 << 17));
        segments = larger<int64_t>(1, smaller(segments, 64 / larger<int64_t>(1, outer * strips)));
    }

    int64_t rows_of_block() const {
        return larger<int64_t>(32, smaller(kRowsOfBlock, 32768 / smaller(width, kColumns)));
    }
};

// Some rows and columns of a Folded: those of one tile.
struct FoldedTile {
    int64_t outer, segment, column, columns, begin, end;
    int64_t tail;  // columns of the tail that are this tile's

    FoldedTile(const Folded& f, int64_t i) {
        segment = i % f.segments;
        column = i / f.segments % f.strips * kColumns;
        outer = i / f.segments / f.strips;
        columns = smaller(kColumns, f.width - column);
        begin = f.rows * segment / f.segments;
        end = f.rows * (segment + 1) / f.segments;
        tail = segment + 1 < f.segments ? 0 : larger<int64_t>(0, smaller(columns, f.tail - column));
    }
};

}  // namespace convgpu::cpu::CONVGPU_ISA
