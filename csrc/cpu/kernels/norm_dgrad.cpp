// The gradients of a normalisation: of x, scale, offset and residual.
//
// With g = gy times the slope of the activation, xn = (x - mean) * rstd, and m(.) the mean over the elements that share
// a mean: gx = rstd * (scale * g - m(scale * g) - xn * m(scale * g * xn)), gscale = the sum of g * xn, goffset = the
// sum of g, gresidual = g.
//
// A thread owns a tile, and reads it once for the sums and once for gx: some columns of a segment of the rows where
// each channel is a column, else a segment of the runs of one channel. Where a run is a line of several channels, both
// steps of a line follow each other.
// Layouts: without gaps.
// Order: the terms of a block in the accumulator's type, then blocks, segments and outers in a wider type; segments
// follow from the sizes alone.
#include "../threads.h"
#include "normalize.h"

namespace convgpu::cpu::CONVGPU_ISA {
namespace {

template <class A>
constexpr int64_t kPiece = kRun<A> / 2;  // elements of a line that are summed in the accumulator's type
constexpr int64_t kLongLine = 1 << 18;

// What a vector of the elements of one or several channels needs.
template <class A>
struct Channel {
    Affine<A> affine;             // the step whose result the slope is taken at
    Vector<A> rate;               // rstd / unit, so that apart(x) * rate is xn but for the rest of the mean
    Vector<A> b, e, scale, rstd;  // gx = rstd * (scale * g - (apart(x) * b + e))
};

// What all channels of a call share, and the steps on a vector.
template <class T, bool kSilu>
struct Step {
    using A = Accumulator<T>;
    const T *gy, *x, *y;
    T *gx, *gresidual;
    Given<A> given;
    Activated<A> activated;
    bool sums;

    explicit Step(const NormCall& call)
        : gy(static_cast<const T*>(call.gy)),
          x(static_cast<const T*>(call.x)),
          y(static_cast<const T*>(call.given_y)),
          gx(static_cast<T*>(call.gx)),
          gresidual(static_cast<T*>(call.gresidual)),
          given(call),
          activated(call.activation),
          sums(call.gx || call.gscale || call.goffset) {}

    // The gradient before the activation of the elements from i.
    CONVGPU_INLINE Vector<A> gradient(int64_t i, int lanes, Vector<A> at, const Affine<A>& affine) const {
        const Vector<A> g = read_lanes(gy + i, lanes), v = y ? read_lanes(y + i, lanes) : affine(at, given.unit);
        return activated.template times_slope<kSilu>(g, v);
    }
    // Adds g and g * xn to the sums, and writes the gradient of the residual.
    CONVGPU_INLINE void add(int64_t i, int lanes, const Affine<A>& affine, Vector<A> rate, Vector<A>& one,
                            Vector<A>& two) const {
        const Vector<A> at = read_lanes(x + i, lanes), g = gradient(i, lanes, at, affine);
        if (gresidual) write_lanes(gresidual + i, g, lanes);
        one += first_lanes<A>(g, lanes);
        two += first_lanes<A>(g * (affine.apart(at, given.unit) * rate), lanes);
    }
    CONVGPU_INLINE void finish(int64_t i, int lanes, const Channel<A>& c) const {
        const Vector<A> at = read_lanes(x + i, lanes), g = gradient(i, lanes, at, c.affine);
        write_lanes(gx + i, c.rstd * (c.scale * g - (c.affine.apart(at, given.unit) * c.b + c.e)), lanes);
    }
};

// Sums of channels, [outer][segment][column], and the means of gradients that follow from them, [outer][group].
template <class A>
struct Sums {
    Memory ones, twos, means;
    Wide<A>*one, *two;
    A *m1, *m2;

    Sums(int64_t outers, int64_t each, int64_t groups)
        : ones(outers * each * sizeof(Wide<A>)),
          twos(outers * each * sizeof(Wide<A>)),
          means(2 * outers * groups * sizeof(A)),
          one(reinterpret_cast<Wide<A>*>(ones.data())),
          two(reinterpret_cast<Wide<A>*>(twos.data())),
          m1(reinterpret_cast<A*>(means.data())),
          m2(m1 + outers * groups) {}
};

// The gradients of scale and offset while they are added up.
template <class A>
struct Totals {
    Memory memory;
    Wide<A>*scale, *offset;

    explicit Totals(int64_t channels)
        : memory(2 * channels * sizeof(Wide<A>)),
          scale(reinterpret_cast<Wide<A>*>(memory.data())),
          offset(scale + channels) {
        std::memset(memory.data(), 0, 2 * channels * sizeof(Wide<A>));
    }
    void write(const NormCall& call) const {
        for (int64_t c = 0; call.gscale && c < call.channels; ++c)
            static_cast<A*>(call.gscale)[c] = static_cast<A>(scale[c]);
        for (int64_t c = 0; call.goffset && c < call.channels; ++c) {
            static_cast<A*>(call.goffset)[c] = static_cast<A>(offset[c]);
        }
    }
};

// Adds up the sums of `outers` outers from `first`, whose channel c has the columns c, c + channels, ... of each
// segment.
template <class A>
void add_up(const NormCall& call, const Given<A>& given, int64_t first, int64_t outers, int64_t segments, int64_t width,
            Sums<A>& sums, Totals<A>& totals) {
    const Wide<A> count = larger<int64_t>(call.count(), 1);
    for (int64_t o = 0; o < outers; ++o) {
        Wide<A>*const one = sums.one + o * segments * width, *const two = sums.two + o * segments * width;
        for (int64_t k = call.channels; k < segments * width; k += call.channels) {
            for (int64_t c = 0; c < call.channels; ++c) {
                one[c] += one[k + c];
                two[c] += two[k + c];
            }
        }
        Wide<A> m1 = 0, m2 = 0;
        for (int64_t c = 0, in_group = 0, i = 0; c < call.channels; ++c) {
            const int64_t s = (first + o) * call.groups + i;
            two[c] -= Wide<A>(given.rest[s]) * given.rstd[s] * one[c];
            totals.offset[c] += one[c];
            totals.scale[c] += two[c];
            m1 += given.scale_of(c) * one[c];
            m2 += given.scale_of(c) * two[c];
            if (++in_group < given.per_group) continue;
            sums.m1[o * call.groups + i] = static_cast<A>(m1 / count);
            sums.m2[o * call.groups + i] = static_cast<A>(m2 / count);
            m1 = m2 = 0;
            in_group = 0;
            ++i;
        }
    }
}

// What a Channel has, as numbers: of channel c of outer o, whose group has the means m1 and m2.
template <class A>
struct OfChannel {
    A centre, factor, shift, rate, b, e, scale, rstd;

    CONVGPU_INLINE OfChannel(const Given<A>& given, int64_t o, int64_t c, A m1, A m2) {
        const int64_t i = given.at(o, c);
        given.get(o, c, centre, factor, shift);
        rstd = given.rstd[i];
        rate = rstd * given.inverse;
        scale = given.scale_of(c);
        b = rate * m2;
        e = m1 - given.rest[i] * rstd * m2;
    }
    CONVGPU_INLINE Channel<A> spread() const {
        return {{broadcast(centre), broadcast(factor), broadcast(shift)},
                broadcast(rate),
                broadcast(b),
                broadcast(e),
                broadcast(scale),
                broadcast(rstd)};
    }
};

// --- columns

template <class A>
struct ColumnMemory {
    A centre[kColumns], factor[kColumns], shift[kColumns], rate[kColumns], b[kColumns], e[kColumns], scale[kColumns],
        rstd[kColumns], one[kColumns], two[kColumns];

    CONVGPU_INLINE Affine<A> affine(int64_t c) const { return {load(centre + c), load(factor + c), load(shift + c)}; }
    CONVGPU_INLINE Channel<A> channel(int64_t c) const {
        return {affine(c), load(rate + c), load(b + c), load(e + c), load(scale + c), load(rstd + c)};
    }
    void fill(const Given<A>& given, int64_t o, const FoldedTile& tile, int64_t channels, const A* m1, const A* m2) {
        for (int64_t k = 0, c = tile.column % channels; k < tile.columns; ++k, c = c + 1 == channels ? 0 : c + 1) {
            const int64_t group = given.at(0, c);
            const OfChannel<A> n(given, o, c, m1 ? m1[group] : 0, m2 ? m2[group] : 0);
            centre[k] = n.centre;
            factor[k] = n.factor;
            shift[k] = n.shift;
            rate[k] = n.rate;
            b[k] = n.b;
            e[k] = n.e;
            scale[k] = n.scale;
            rstd[k] = n.rstd;
        }
    }
};

template <class T, bool kSilu>
void sum_columns(const Step<T, kSilu>& step, const Folded& f, const FoldedTile& tile, int64_t at,
                 ColumnMemory<Accumulator<T>>& m, Wide<Accumulator<T>>* one, Wide<Accumulator<T>>* two) {
    using A = Accumulator<T>;
    for (int64_t c = 0; c < tile.columns; ++c) one[c] = two[c] = 0;
    const auto add_row = [&](int64_t i, int64_t n) __attribute__((always_inline)) {
        for_each_vector<A>(n, [&](int64_t c, int lanes) __attribute__((always_inline)) {
            Vector<A> s1 = load(m.one + c), s2 = load(m.two + c);
            step.add(i + c, lanes, m.affine(c), load(m.rate + c), s1, s2);
            store(m.one + c, s1);
            store(m.two + c, s2);
        });
    };
    for (int64_t r = tile.begin; r < tile.end; r += f.rows_of_block()) {
        std::memset(m.one, 0, sizeof(m.one));
        std::memset(m.two, 0, sizeof(m.two));
        const int64_t end = smaller(r + f.rows_of_block(), tile.end);
        for (int64_t k = r; k < end; ++k) add_row(at + k * f.width, tile.columns);
        if (end == tile.end && tile.tail) add_row(at + f.rows * f.width, tile.tail);
        for (int64_t c = 0; c < tile.columns; ++c) {
            one[c] += m.one[c];
            two[c] += m.two[c];
        }
    }
}

template <class T, bool kSilu>
void by_columns(const NormCall& call) {
    using A = Accumulator<T>;
    const Step<T, kSilu> step(call);
    const int64_t some = smaller<int64_t>(call.outer, larger<int64_t>(1, (1 << 17) / call.channels));
    const int64_t image = call.rows * call.channels;
    const Folded f(some, call.rows, call.channels);
    const int threads = call.size() < kNormSmall ? 1 : call.threads;
    Sums<A> sums(some, f.segments * f.width, call.groups);
    Totals<A> totals(call.channels);
    for (int64_t first = 0; first < call.outer; first += some) {
        const int64_t outers = smaller(some, call.outer - first);
        const auto each_tile = [&](bool last) {
            parallel_for(
                outers * f.strips * f.segments, threads, sizeof(ColumnMemory<A>), [&](int64_t i, char* scratch) {
                    const FoldedTile tile(f, i);
                    auto& m = *reinterpret_cast<ColumnMemory<A>*>(scratch);
                    const int64_t o = first + tile.outer, at = o * image + tile.column, g = tile.outer * call.groups;
                    m.fill(step.given, o, tile, call.channels, last ? sums.m1 + g : nullptr,
                           last ? sums.m2 + g : nullptr);
                    if (!last) {
                        const int64_t k = (tile.outer * f.segments + tile.segment) * f.width + tile.column;
                        return sum_columns(step, f, tile, at, m, sums.one + k, sums.two + k);
                    }
                    const auto finish_row = [&](int64_t i, int64_t n) __attribute__((always_inline)) {
                        for_each_vector<A>(n, [&](int64_t c, int lanes) __attribute__((always_inline)) {
                            step.finish(i + c, lanes, m.channel(c));
                        });
                    };
                    for (int64_t r = tile.begin; r < tile.end; ++r) finish_row(at + r * f.width, tile.columns);
                    if (tile.tail) finish_row(at + f.rows * f.width, tile.tail);
                });
        };
        each_tile(false);
        add_up(call, step.given, first, outers, f.segments, f.width, sums, totals);
        if (call.gx) each_tile(true);
    }
    totals.write(call);
}

// --- runs of one channel

template <class T, bool kSilu>
void sum_runs(const Step<T, kSilu>& step, const Channel<Accumulator<T>>& channel, int64_t at, int64_t pitch,
              int64_t rows, int64_t n, Wide<Accumulator<T>>& one, Wide<Accumulator<T>>& two) {
    using A = Accumulator<T>;
    constexpr int L = kLanes<A>;
    Vector<A> s1[2]{}, s2[2]{};
    for (int64_t r = 0; r < rows; ++r) {
        const int64_t i = at + r * pitch, whole = n / (2 * L) * (2 * L);
        for (int64_t k = 0; k < whole; k += 2 * L) {
            step.add(i + k, L, channel.affine, channel.rate, s1[0], s2[0]);
            step.add(i + k + L, L, channel.affine, channel.rate, s1[1], s2[1]);
        }
        for_each_vector<A>(n - whole, [&](int64_t k, int lanes) __attribute__((always_inline)) {
            step.add(i + whole + k, lanes, channel.affine, channel.rate, s1[0], s2[0]);
        });
    }
    for (int k = 0; k < L; ++k) {
        one += Wide<A>(s1[0][k]) + s1[1][k];
        two += Wide<A>(s2[0][k]) + s2[1][k];
    }
}

template <class T, bool kSilu>
void by_runs(const NormCall& call) {
    using A = Accumulator<T>;
    const Step<T, kSilu> step(call);
    const int64_t C = call.channels, row = C * call.inner, image = call.rows * row;
    const int64_t some = smaller<int64_t>(call.outer, larger<int64_t>(1, (1 << 17) / C));
    const int64_t rows = larger<int64_t>(1, kRun<A> / call.inner), pieces = rows > 1 ? 1 : parts(call.inner, kRun<A>);
    const int64_t blocks = rows > 1 ? parts(call.rows, rows) : call.rows * pieces;
    const int64_t segments = some * C >= kNormSegments ? 1 : smaller(kNormSegments, larger<int64_t>(1, blocks / 8));
    const int64_t chunk = segments > 1 ? 1 : larger<int64_t>(1, kNormSmall / (call.rows * call.inner));
    const int threads = call.size() < kNormSmall ? 1 : call.threads;
    Sums<A> sums(some, segments * C, call.groups);
    Totals<A> totals(C);
    for (int64_t first = 0; first < call.outer; first += some) {
        const int64_t outers = smaller(some, call.outer - first), items = outers * C;
        const auto each_item = [&](auto use) {
            parallel_for(parts(items, chunk) * segments, threads, 0, [&](int64_t i, char*) {
                const int64_t s = i % segments, begin = i / segments * chunk;
                for (int64_t item = begin; item < smaller(begin + chunk, items); ++item) {
                    const int64_t c = item % C, o = item / C, g = o * call.groups + step.given.at(0, c);
                    const auto channel = OfChannel<A>(step.given, first + o, c, sums.m1[g], sums.m2[g]).spread();
                    const int64_t at = (first + o) * image + c * call.inner, into = (o * segments + s) * C + c;
                    for (int64_t b = blocks * s / segments; b < blocks * (s + 1) / segments; ++b) {
                        const int64_t r = b / pieces * rows, k = b % pieces * kRun<A>;
                        use(channel, at + r * row + k, smaller(rows, call.rows - r),
                            pieces == 1 ? call.inner : smaller(kRun<A>, call.inner - k), into);
                    }
                }
            });
        };
        std::memset(sums.ones.data(), 0, outers * segments * C * sizeof(Wide<A>));
        std::memset(sums.twos.data(), 0, outers * segments * C * sizeof(Wide<A>));
        std::memset(sums.means.data(), 0, 2 * some * call.groups * sizeof(A));
        each_item([&](const Channel<A>& channel, int64_t at, int64_t n_rows, int64_t n, int64_t into) {
            sum_runs(step, channel, at, row, n_rows, n, sums.one[into], sums.two[into]);
        });
        add_up(call, step.given, first, outers, segments, C, sums, totals);
        if (!call.gx) continue;
        each_item([&](const Channel<A>& channel, int64_t at, int64_t n_rows, int64_t n, int64_t) {
            for (int64_t r = 0; r < n_rows; ++r) {
                for_each_vector<A>(n, [&](int64_t k, int lanes) __attribute__((always_inline)) {
                    step.finish(at + r * row + k, lanes, channel);
                });
            }
        });
    }
    totals.write(call);
}

// --- lines of channels

// What all vectors of a line need, and the sums of one vector: g, and g * xn.
template <class T, bool kSilu>
struct LineStep {
    using A = Accumulator<T>;
    const Step<T, kSilu>& step;
    const OfLine<A> line;
    const int64_t at;  // of the line's first element
    const Vector<A> rate, apart;

    LineStep(const Step<T, kSilu>& step, int64_t i, int64_t first, int64_t n)
        : step(step),
          line(step.given, i, first),
          at(i * n),
          rate(broadcast(step.given.rstd[i] * step.given.inverse)),
          apart(broadcast(step.given.rest[i] * step.given.rstd[i])) {}

    CONVGPU_INLINE Vector<A> scale(int64_t c, int lanes) const {
        return line.scale ? load_first(line.scale + c, lanes) : broadcast(A(1));
    }
    CONVGPU_INLINE void sums(int64_t c, int lanes, Vector<A>& one, Vector<A>& two) const {
        step.add(at + c, lanes, line.at(c, lanes), rate, one, two);
        two -= one * apart;
    }
    CONVGPU_INLINE Channel<A> channel(int64_t i, A m1, A m2) const {
        return {Affine<A>{}, rate, rate * m2, m1 - apart * m2, Vector<A>{}, broadcast(step.given.rstd[i])};
    }
    CONVGPU_INLINE void finish(Channel<A>& channel, int64_t c, int lanes) const {
        channel.affine = line.at(c, lanes);
        channel.scale = scale(c, lanes);
        step.finish(at + c, lanes, channel);
    }
};

template <class T, bool kSilu>
void by_lines(const NormCall& call) {
    using A = Accumulator<T>;
    const Step<T, kSilu> step(call);
    const int64_t n = call.per_group(), C = call.channels;
    int64_t segments =
        smaller(smaller(kNormSegments, parts(call.size(), kNormSmall)), larger<int64_t>(1, (1 << 18) / C));
    segments = smaller(segments, call.outer);
    const Memory memory(segments * C * 2 * (sizeof(A) + sizeof(Wide<A>)));
    std::memset(memory.data(), 0, segments * C * 2 * (sizeof(A) + sizeof(Wide<A>)));
    Wide<A>* const wide = reinterpret_cast<Wide<A>*>(memory.data());
    A* const narrow_sums = reinterpret_cast<A*>(wide + segments * 2 * C);
    parallel_for(segments, call.size() < kNormSmall ? 1 : call.threads, 0, [&](int64_t s, char*) {
        A *const one = narrow_sums + s * 2 * C, *const two = one + C;
        Wide<A>*const ones = wide + s * 2 * C, *const twos = ones + C;
        const auto flush = [&] {
            for (int64_t c = 0; c < C; ++c) {
                ones[c] += one[c];
                twos[c] += two[c];
            }
            std::memset(one, 0, 2 * C * sizeof(A));
        };
        int64_t waiting = 0;
        for (int64_t o = call.outer * s / segments; o < call.outer * (s + 1) / segments; ++o) {
            for (int64_t g = 0; g < call.groups; ++g) {
                const int64_t i = o * call.groups + g, first = g * n;
                const LineStep<T, kSilu> line(step, i, first, n);
                // Of each piece in the accumulator's type, of the line in a wider one.
                Wide<A> sum1 = 0, sum2 = 0;
                for (int64_t k = 0; k < n; k += kPiece<A>) {
                    Vector<A> s1{}, s2{};
                    for_each_vector<A>(smaller(kPiece<A>, n - k),
                                       [&](int64_t j, int lanes) __attribute__((always_inline)) {
                                           const int64_t c = k + j;
                                           Vector<A> v1{}, v2{};
                                           line.sums(c, lanes, v1, v2);
                                           store_first(one + first + c, load_first(one + first + c, lanes) + v1, lanes);
                                           store_first(two + first + c, load_first(two + first + c, lanes) + v2, lanes);
                                           s1 += line.scale(c, lanes) * v1;
                                           s2 += line.scale(c, lanes) * v2;
                                       });
                    for (int j = 0; j < kLanes<A>; ++j) {
                        sum1 += s1[j];
                        sum2 += s2[j];
                    }
                }
                if (!call.gx) continue;
                auto channel = line.channel(i, static_cast<A>(sum1 / n), static_cast<A>(sum2 / n));
                for_each_vector<A>(
                    n, [&](int64_t c, int lanes) __attribute__((always_inline)) { line.finish(channel, c, lanes); });
            }
            if (++waiting == kRowsOfBlock) flush(), waiting = 0;
        }
        flush();
    });
    Totals<A> totals(C);
    for (int64_t s = 0; s < segments; ++s) {
        for (int64_t c = 0; c < C; ++c) {
            totals.offset[c] += wide[s * 2 * C + c];
            totals.scale[c] += wide[s * 2 * C + C + c];
        }
    }
    totals.write(call);
}

// --- long lines of channels

// The means of scale * g and scale * g * xn of the lines of a group.
template <class T, bool kSilu>
void means_of_lines(const NormCall& call, const Step<T, kSilu>& step, int64_t g, Accumulator<T>* m1,
                    Accumulator<T>* m2) {
    using A = Accumulator<T>;
    const int64_t n = call.per_group(), pieces = parts(n, kPiece<A>);
    const int64_t some = smaller(call.outer, larger<int64_t>(1, (1 << 20) / pieces));
    const Memory memory(2 * some * pieces * sizeof(Wide<A>));
    Wide<A>* const sums = reinterpret_cast<Wide<A>*>(memory.data());
    for (int64_t from = 0; from < call.outer; from += some) {
        const int64_t lines = smaller(some, call.outer - from);
        parallel_for(lines * pieces, call.threads, 0, [&](int64_t item, char*) {
            const int64_t i = (from + item / pieces) * call.groups + g, k = item % pieces * kPiece<A>;
            const LineStep<T, kSilu> line(step, i, g * n, n);
            Vector<A> s1{}, s2{};
            for_each_vector<A>(smaller(kPiece<A>, n - k), [&](int64_t j, int lanes) __attribute__((always_inline)) {
                Vector<A> v1{}, v2{};
                line.sums(k + j, lanes, v1, v2);
                s1 += line.scale(k + j, lanes) * v1;
                s2 += line.scale(k + j, lanes) * v2;
            });
            sums[2 * item] = sums[2 * item + 1] = 0;
            for (int j = 0; j < kLanes<A>; ++j) {
                sums[2 * item] += s1[j];
                sums[2 * item + 1] += s2[j];
            }
        });
        for (int64_t line = 0; line < lines; ++line) {
            Wide<A> one = 0, two = 0;
            for (int64_t p = line * pieces; p < (line + 1) * pieces; ++p) {
                one += sums[2 * p];
                two += sums[2 * p + 1];
            }
            m1[from + line] = static_cast<A>(one / n);
            m2[from + line] = static_cast<A>(two / n);
        }
    }
}

// Sums of all channels in every thread would be large here. So a thread owns a piece of a line for the line's sums, and
// then some channels of all lines.
template <class T, bool kSilu>
void by_long_lines(const NormCall& call) {
    using A = Accumulator<T>;
    const Step<T, kSilu> step(call);
    const int64_t n = call.per_group(), pieces = parts(n, kPiece<A>);
    const Memory means(2 * call.outer * sizeof(A));
    A *const m1 = reinterpret_cast<A*>(means.data()), *const m2 = m1 + call.outer;
    std::memset(means.data(), 0, 2 * call.outer * sizeof(A));
    for (int64_t g = 0; g < call.groups; ++g) {
        if (call.gx) means_of_lines(call, step, g, m1, m2);
        parallel_for(pieces, call.threads, 2 * kPiece<A> * (sizeof(Wide<A>) + sizeof(A)),
                     [&](int64_t p, char* scratch) {
                         const int64_t k = p * kPiece<A>, count = smaller(kPiece<A>, n - k);
                         Wide<A>*const ones = reinterpret_cast<Wide<A>*>(scratch), *const twos = ones + kPiece<A>;
                         A *const one = reinterpret_cast<A*>(twos + kPiece<A>), *const two = one + kPiece<A>;
                         std::memset(scratch, 0, 2 * kPiece<A> * (sizeof(Wide<A>) + sizeof(A)));
                         for (int64_t o = 0; o < call.outer; ++o) {
                             const int64_t i = o * call.groups + g;
                             const LineStep<T, kSilu> line(step, i, g * n, n);
                             auto channel = line.channel(i, m1[o], m2[o]);
                             for_each_vector<A>(count, [&](int64_t j, int lanes) __attribute__((always_inline)) {
                                 Vector<A> v1{}, v2{};
                                 line.sums(k + j, lanes, v1, v2);
                                 store_first(one + j, load_first(one + j, lanes) + v1, lanes);
                                 store_first(two + j, load_first(two + j, lanes) + v2, lanes);
                                 if (call.gx) line.finish(channel, k + j, lanes);
                             });
                             if ((o + 1) % kRowsOfBlock != 0 && o + 1 < call.outer) continue;
                             for (int64_t c = 0; c < count; ++c) {
                                 ones[c] += one[c];
                                 twos[c] += two[c];
                             }
                             std::memset(one, 0, 2 * kPiece<A> * sizeof(A));
                         }
                         A *const offset = static_cast<A*>(call.goffset), *const scale = static_cast<A*>(call.gscale);
                         for (int64_t c = 0; offset && c < count; ++c) offset[g * n + k + c] = static_cast<A>(ones[c]);
                         for (int64_t c = 0; scale && c < count; ++c) scale[g * n + k + c] = static_cast<A>(twos[c]);
                     });
    }
}

template <class T, bool kSilu>
void residual_alone(const NormCall& call) {
    using A = Accumulator<T>;
    const Step<T, kSilu> step(call);
    const int64_t size = call.size();
    parallel_for(parts(size, kNormSmall), call.threads, 0, [&](int64_t i, char*) {
        const int64_t at = i * kNormSmall;
        for_each_vector<A>(smaller(kNormSmall, size - at), [&](int64_t k, int lanes) __attribute__((always_inline)) {
            write_lanes(step.gresidual + at + k, step.gradient(at + k, lanes, Vector<A>{}, Affine<A>{}), lanes);
        });
    });
}

template <class T, bool kSilu>
void dgrad(const NormCall& call) {
    const bool sums = call.gx || call.gscale || call.goffset;
    if (!sums && call.given_y) return residual_alone<T, kSilu>(call);
    if (call.inner > 1) return by_runs<T, kSilu>(call);
    const bool lines = call.rows == 1 && call.per_group() > 1;
    if (lines && call.per_group() > kLongLine) return by_long_lines<T, kSilu>(call);
    if (lines) return by_lines<T, kSilu>(call);
    by_columns<T, kSilu>(call);
}

}  // namespace

template <class T>
void norm_dgrad(const NormCall& call) {
    if (call.size() == 0) return Totals<Accumulator<T>>(call.channels).write(call);
    call.activation == NormActivation::kSilu ? dgrad<T, true>(call) : dgrad<T, false>(call);
}

CONVGPU_FOR_EACH_DTYPE(norm_dgrad, NormCall)

}  // namespace convgpu::cpu::CONVGPU_ISA
