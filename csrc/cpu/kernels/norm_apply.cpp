// The affine step of normalisation: y = activation((x - mean) * rstd * scale + offset + residual).
//
// A thread owns a tile: some columns of some rows where each channel is a column, else some runs of one channel or,
// where a run is a line of several channels, some lines. Layouts: without gaps. Order: nothing is summed.
#include "../threads.h"
#include "normalize.h"

namespace convgpu::cpu::CONVGPU_ISA {
namespace {

// The affine step of each element of a run: one for all, one for each column, or the scale and offset of each.
template <class A>
struct OfRun {
    Affine<A> affine;
    CONVGPU_INLINE Affine<A> at(int64_t, int) const { return affine; }
};
template <class A>
struct OfColumns {
    const A *centre, *factor, *shift;
    CONVGPU_INLINE Affine<A> at(int64_t i, int lanes) const {
        return {load_first(centre + i, lanes), load_first(factor + i, lanes), load_first(shift + i, lanes)};
    }
};

template <class T, bool kSilu, class Params>
CONVGPU_INLINE void apply_run(const T* x, const T* residual, T* y, int64_t n, const Params& params,
                              const Activated<Accumulator<T>>& activated, Accumulator<T> unit) {
    using A = Accumulator<T>;
    for_each_vector<A>(n, [&](int64_t i, int lanes) __attribute__((always_inline)) {
        Vector<A> v = params.at(i, lanes)(read_lanes(x + i, lanes), unit);
        if (residual) v += read_lanes(residual + i, lanes);
        write_lanes(y + i, activated.template value<kSilu>(v), lanes);
    });
}

template <class T, bool kSilu>
void by_columns(const NormCall& call) {
    using A = Accumulator<T>;
    const Folded f(call.outer, call.rows, call.channels);
    const Given<A> given(call);
    const Activated<A> activated(call.activation);
    const int64_t image = call.rows * call.channels;
    // Tiles of up to 256 rows: the parameters of their columns are found once.
    const int64_t chunks = parts(f.rows, 256);
    const int64_t tiles = call.outer * f.strips * chunks;
    parallel_for(
        tiles, call.size() < kNormSmall ? 1 : call.threads, 3 * kColumns * sizeof(A), [&](int64_t i, char* scratch) {
            const int64_t chunk = i % chunks, column = i / chunks % f.strips * kColumns, o = i / chunks / f.strips;
            const int64_t columns = smaller(kColumns, f.width - column);
            A *const centre = reinterpret_cast<A*>(scratch), *const factor = centre + kColumns,
                     *const shift = factor + kColumns;
            given.of_columns(o, column, columns, f.row, centre, factor, shift);
            const OfColumns<A> params{centre, factor, shift};
            const auto apply = [&](int64_t r, int64_t n) __attribute__((always_inline)) {
                const int64_t at = o * image + r * f.width + column;
                apply_run<T, kSilu>(static_cast<const T*>(call.x) + at,
                                    call.residual ? static_cast<const T*>(call.residual) + at : nullptr,
                                    static_cast<T*>(call.y) + at, n, params, activated, given.unit);
            };
            for (int64_t r = chunk * 256; r < smaller((chunk + 1) * 256, f.rows); ++r) apply(r, columns);
            if (chunk + 1 == chunks && f.tail > column) apply(f.rows, smaller(columns, f.tail - column));
        });
}

// Runs of one channel, of which long ones are cut.
template <class T, bool kSilu>
void by_runs(const NormCall& call) {
    using A = Accumulator<T>;
    const Given<A> given(call);
    const Activated<A> activated(call.activation);
    const int64_t pieces = parts(call.inner, kNormSmall), runs = call.outer * call.rows * call.channels;
    const int64_t chunk = larger<int64_t>(1, kNormSmall / call.inner);
    parallel_for(parts(runs, chunk) * pieces, call.size() < kNormSmall ? 1 : call.threads, 0, [&](int64_t i, char*) {
        const int64_t begin = i % pieces * kNormSmall, n = smaller(kNormSmall, call.inner - begin),
                      first = i / pieces * chunk;
        for (int64_t k = first; k < smaller(first + chunk, runs); ++k) {
            const int64_t c = k % call.channels, o = k / call.channels / call.rows, at = k * call.inner + begin;
            A centre, factor, shift;
            given.get(o, c, centre, factor, shift);
            const OfRun<A> params{{broadcast(centre), broadcast(factor), broadcast(shift)}};
            apply_run<T, kSilu>(static_cast<const T*>(call.x) + at,
                                call.residual ? static_cast<const T*>(call.residual) + at : nullptr,
                                static_cast<T*>(call.y) + at, n, params, activated, given.unit);
        }
    });
}

// Lines of channels of which each has a scale and an offset of its own, as in layer norm.
template <class T, bool kSilu>
void by_lines(const NormCall& call) {
    using A = Accumulator<T>;
    const Given<A> given(call);
    const Activated<A> activated(call.activation);
    const int64_t n = call.per_group(), lines = call.outer * call.groups, pieces = parts(n, kNormSmall);
    const int64_t chunk = larger<int64_t>(1, kNormSmall / n);
    parallel_for(parts(lines, chunk) * pieces, call.size() < kNormSmall ? 1 : call.threads, 0, [&](int64_t i, char*) {
        const int64_t begin = i % pieces * kNormSmall, m = smaller(kNormSmall, n - begin), first = i / pieces * chunk;
        for (int64_t line = first; line < smaller(first + chunk, lines); ++line) {
            const int64_t at = line * n + begin;
            apply_run<T, kSilu>(static_cast<const T*>(call.x) + at,
                                call.residual ? static_cast<const T*>(call.residual) + at : nullptr,
                                static_cast<T*>(call.y) + at, m, OfLine<A>(given, line, line % call.groups * n + begin),
                                activated, given.unit);
        }
    });
}

template <class T, bool kSilu>
void apply(const NormCall& call) {
    if (call.inner > 1) return by_runs<T, kSilu>(call);
    if (call.rows == 1 && call.per_group() > 1 && !call.infers) return by_lines<T, kSilu>(call);
    by_columns<T, kSilu>(call);
}

}  // namespace

template <class T>
void norm_apply(const NormCall& call) {
    if (call.size() == 0) return;
    call.activation == NormActivation::kSilu ? apply<T, true>(call) : apply<T, false>(call);
}

CONVGPU_FOR_EACH_DTYPE(norm_apply, NormCall)

}  // namespace convgpu::cpu::CONVGPU_ISA
