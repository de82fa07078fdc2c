// Average pooling and its gradient.
//
// A thread owns a tile of the results: some rows of pixels, and a block of channels; it takes a vector of channels at a
// time. The gradient is a gather: each pixel adds up its shares of the windows that hold it.
// Layouts: any; channels that are not neighbours are copied.
// Taps outside the input are skipped.
// Order: taps, or windows, in row-major order, in blocks of kBlock.
#include <type_traits>

#include "table.h"
#include "windows.h"

namespace convgpu::cpu::CONVGPU_ISA {
namespace {

// The sum of R rows of S taps, whose rows and taps are `down` and `next` elements apart.
template <class T, int R, int S>
CONVGPU_INLINE Vector<Accumulator<T>> sum_of(const T* x, int64_t down, int64_t next, int lanes) {
    Vector<Accumulator<T>> sum{};
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
        for (int s = 0; s < S; ++s) sum += read_lanes(x + r * down + s * next, lanes);
    }
    return sum;
}

// The taps of a window that lie inside the input.
struct Taps {
    Range of[kAxes];
    int64_t step[kAxes];  // from tap to tap, in elements
    CONVGPU_INLINE int64_t count() const { return of[0].count() * of[1].count() * of[2].count(); }
};

template <class T>
CONVGPU_INLINE Vector<Accumulator<T>> sum_taps(const T* x, const Taps& taps, int lanes) {
    VectorSum<Accumulator<T>> sum;
    for (int64_t t = taps.of[0].begin; t < taps.of[0].end; ++t) {
        for (int64_t r = taps.of[1].begin; r < taps.of[1].end; ++r) {
            const T* const row = x + t * taps.step[0] + r * taps.step[1];
            for (int64_t s = taps.of[2].begin; s < taps.of[2].end; ++s)
                sum.add(read_lanes(row + s * taps.step[2], lanes));
        }
    }
    return sum.value();
}

// y[c] = the sum of a window of x, by `all`. The reciprocal of a power of two is exact, and a product is faster.
template <class T, class Sum>
CONVGPU_INLINE void average(T* y, int64_t channels, int64_t all, Sum sum) {
    using A = Accumulator<T>;
    const bool exact = (all & (all - 1)) == 0;
    const A divisor = static_cast<A>(all), factor = 1 / divisor;
    for_each_lanes<A>(channels, [&](int64_t c, int lanes) __attribute__((always_inline)) {
        const Vector<A> v = sum(c, lanes);
        write_lanes(y + c, exact ? v * factor : v / divisor, lanes);
    });
}

template <class T>
CONVGPU_INLINE void average_window(const T* x, const Taps& taps, T* y, int64_t channels, int64_t all) {
    const T* const first =
        x + taps.of[0].begin * taps.step[0] + taps.of[1].begin * taps.step[1] + taps.of[2].begin * taps.step[2];
    const auto rows = [&](auto r, auto s) __attribute__((always_inline)) {
        average(y, channels, all, [&](int64_t c, int lanes) __attribute__((always_inline)) {
            return sum_of<T, decltype(r)::value, decltype(s)::value>(first + c, taps.step[1], taps.step[2], lanes);
        });
    };
    using Two = std::integral_constant<int, 2>;
    using Three = std::integral_constant<int, 3>;
    if (taps.of[0].count() == 1 && taps.of[1].count() == 2 && taps.of[2].count() == 2) return rows(Two{}, Two{});
    if (taps.of[0].count() == 1 && taps.of[1].count() == 3 && taps.of[2].count() == 3) return rows(Three{}, Three{});
    average(y, channels, all, [&](int64_t c, int lanes) { return sum_taps(x + c, taps, lanes); });
}

// What a pixel has from one window, or from one row of windows.
template <class T>
struct Share {
    const T* gy;
    Accumulator<T> factor;
};
template <class T>
struct Line {
    const T* gy;
    int64_t divisor;
};
constexpr int kFew = 32;  // so many windows over a pixel are listed once, for all channels

}  // namespace

template <class T>
void avg_pool(const PoolCall& call) {
    if (avg_pool_planes<T>(call)) return;
    const PoolAxis* const axis = call.axis;
    const bool copies = call.x.step_c != 1 || call.y.step_c != 1;
    for_each_part(
        call.y, call.threads, copies, 2, sizeof(T), call.work,
        [&](const Boxes& boxes) { return input_pixels(axis, boxes); },
        [&](const Part& part, char* scratch) {
            const auto x = read_part<T>(call.x, input_part(axis, part), scratch);
            Taps taps{{}, {x.step[0] * axis[0].dilation, x.step[1] * axis[1].dilation, x.step[2] * axis[2].dilation}};
            const Box& box = part.box;
            for (int64_t n = box.begin[0]; n < box.end[0]; ++n) {
                for (int64_t o = box.begin[1]; o < box.end[1]; ++o) {
                    for (int64_t p = box.begin[2]; p < box.end[2]; ++p) {
                        auto y = result_row<T>(call.y, part, n, o, p, scratch);
                        taps.of[0] = inside(axis[0], o);
                        taps.of[1] = inside(axis[1], p);
                        const int64_t rows =
                            divisor(axis[0], o, call.count_include_pad) * divisor(axis[1], p, call.count_include_pad);
                        for (int64_t q = box.begin[3]; q < box.end[3]; ++q, y.data += y.step) {
                            taps.of[2] = inside(axis[2], q);
                            average_window(x.at(n, start(axis[0], o), start(axis[1], p), start(axis[2], q)), taps,
                                           y.data, part.channels, rows * divisor(axis[2], q, call.count_include_pad));
                        }
                        deliver_row<T>(call.y, part, n, o, p, scratch);
                    }
                }
            }
        });
}

template <class T>
void avg_pool_dgrad(const PoolCall& call) {
    if (avg_pool_dgrad_planes<T>(call)) return;
    using A = Accumulator<T>;
    const PoolAxis* const axis = call.axis;
    const bool copies = call.gx.step_c != 1 || call.gy.step_c != 1;
    for_each_part(
        call.gx, call.threads, copies, 2, sizeof(T), call.work,
        [&](const Boxes& boxes) { return output_pixels(axis, boxes); },
        [&](const Part& part, char* scratch) {
            const auto gy = read_part<T>(call.gy, output_part(axis, part), scratch);
            const Box& box = part.box;
            const Covers over(axis[2], box.begin[3], box.end[3]);
            for (int64_t n = box.begin[0]; n < box.end[0]; ++n) {
                for (int64_t d = box.begin[1]; d < box.end[1]; ++d) {
                    for (int64_t h = box.begin[2]; h < box.end[2]; ++h) {
                        auto gx = result_row<T>(call.gx, part, n, d, h, scratch);
                        const Range os = covering(axis[0], d), ps = covering(axis[1], h);
                        const auto for_each_line = [&](auto use) {
                            for (int64_t o = os.begin; o < os.end; ++o) {
                                if (tap(axis[0], o, d) < 0) continue;
                                const int64_t planes = divisor(axis[0], o, call.count_include_pad);
                                for (int64_t p = ps.begin; p < ps.end; ++p) {
                                    if (tap(axis[1], p, h) < 0) continue;
                                    use(Line<T>{gy.at(n, o, p, 0),
                                                planes * divisor(axis[1], p, call.count_include_pad)});
                                }
                            }
                        };
                        const auto for_each_share = [&](const Line<T>& line, int64_t w, auto use) {
                            for (int64_t q = over[w].begin; q < over[w].end; ++q) {
                                if (tap(axis[2], q, w) < 0) continue;
                                const int64_t all = line.divisor * divisor(axis[2], q, call.count_include_pad);
                                use(Share<T>{line.gy + q * gy.step[2], 1 / static_cast<A>(all)});
                            }
                        };
                        Line<T> lines[kFew];
                        int64_t count = 0, most = os.count() * ps.count();
                        if (most <= kFew) for_each_line([&](const Line<T>& line) { lines[count++] = line; });
                        for (int64_t w = box.begin[3]; w < box.end[3]; ++w, gx.data += gx.step) {
                            if (most * over[w].count() <= kFew) {
                                Share<T> shares[kFew];
                                int few = 0;
                                for (int64_t i = 0; i < count; ++i) {
                                    for_each_share(lines[i], w, [&](const Share<T>& share) { shares[few++] = share; });
                                }
                                for_each_lanes<A>(part.channels,
                                                  [&](int64_t c, int lanes) __attribute__((always_inline)) {
                                                      Vector<A> sum{};
                                                      for (int i = 0; i < few; ++i)
                                                          sum += read_lanes(shares[i].gy + c, lanes) * shares[i].factor;
                                                      write_lanes(gx.data + c, sum, lanes);
                                                  });
                                continue;
                            }
                            for_each_lanes<A>(part.channels, [&](int64_t c, int lanes) __attribute__((always_inline)) {
                                VectorSum<A> sum;
                                for_each_line([&](const Line<T>& line) {
                                    for_each_share(line, w, [&](const Share<T>& share) {
                                        sum.add(read_lanes(share.gy + c, lanes) * share.factor);
                                    });
                                });
                                write_lanes(gx.data + c, sum.value(), lanes);
                            });
                        }
                        deliver_row<T>(call.gx, part, n, d, h, scratch);
                    }
                }
            }
        });
}

CONVGPU_FOR_EACH_DTYPE(avg_pool, PoolCall)
CONVGPU_FOR_EACH_DTYPE(avg_pool_dgrad, PoolCall)

}  // namespace convgpu::cpu::CONVGPU_ISA
