// Max pooling, its gradient, and the pixels of another image at the winners.
//
// A thread owns a tile of the results: some rows of pixels, and a block of channels; it takes a vector of channels at a
// time. The gradient is a gather: each pixel adds up what the windows that it has won give it.
// Layouts: any; channels that are not neighbours are copied, the elements as they are.
// Taps outside the input are skipped. The first NaN of a window wins, else the first of equal values.
// Order: windows in row-major order, in blocks of kBlock.
#include "table.h"
#include "windows.h"

namespace convgpu::cpu::CONVGPU_ISA {
namespace {

// Calls use(Type) with the type of the offsets.
template <class Use>
void with_offset_type(int bytes, Use use) {
    if (bytes == 1) return use(uint8_t{});
    if (bytes == 2) return use(uint16_t{});
    use(int32_t{});
}

// The winner of each lane of one window: its value, and its tap.
template <class T, bool kOffsets>
CONVGPU_INLINE void find_winner(const T* x, const int64_t (&step)[kAxes], const PoolAxis* axis,
                                const Range (&taps)[kAxes], int n, Vector<Accumulator<T>>& best,
                                Integers<Accumulator<T>>& winner) {
    using A = Accumulator<T>;
    bool first = true;
    for (int64_t t = taps[0].begin; t < taps[0].end; ++t) {
        for (int64_t r = taps[1].begin; r < taps[1].end; ++r) {
            const T* p = x + t * step[0] + r * step[1] + taps[2].begin * step[2];
            int64_t code = (t * axis[1].window + r) * axis[2].window + taps[2].begin;
            for (int64_t s = taps[2].begin; s < taps[2].end; ++s, p += step[2], ++code) {
                const Vector<A> v = read_lanes(p, n);
                if (first) {
                    best = v;
                    if (kOffsets) winner = static_cast<decltype(+winner[0])>(code) + Integers<A>{};
                    first = false;
                    continue;
                }
                const Integers<A> wins = ~(v <= best) & (best == best);  // v is larger, or NaN
                best = wins ? v : best;
                if (kOffsets) winner = wins ? static_cast<decltype(+winner[0])>(code) + Integers<A>{} : winner;
            }
        }
    }
}

template <class T, class Offset, bool kOffsets>
void forward(const PoolCall& call) {
    using A = Accumulator<T>;
    const PoolAxis* const axis = call.axis;
    const bool copies = call.x.step_c != 1 || call.y.step_c != 1;
    for_each_part(
        call.y, call.threads, copies, 3, sizeof(T) > 4 ? 8 : 4, call.work,
        [&](const Boxes& boxes) { return input_pixels(axis, boxes); },
        [&](const Part& part, char* scratch) {
            const auto x = read_part<T>(call.x, input_part(axis, part), scratch);
            const int64_t step[kAxes] = {x.step[0] * axis[0].dilation, x.step[1] * axis[1].dilation,
                                         x.step[2] * axis[2].dilation};
            const Box& box = part.box;
            char* const codes = scratch + parts(box.count(3) * part.channels * sizeof(T), 64) * 64;
            for (int64_t n = box.begin[0]; n < box.end[0]; ++n) {
                for (int64_t o = box.begin[1]; o < box.end[1]; ++o) {
                    for (int64_t p = box.begin[2]; p < box.end[2]; ++p) {
                        auto y = result_row<T>(call.y, part, n, o, p, scratch);
                        auto winners = result_row<Offset>(call.offset_view, part, n, o, p, codes);
                        Range taps[kAxes] = {inside(axis[0], o), inside(axis[1], p), {}};
                        for (int64_t q = box.begin[3]; q < box.end[3];
                             ++q, y.data += y.step, winners.data += winners.step) {
                            taps[2] = inside(axis[2], q);
                            const T* const at = x.at(n, start(axis[0], o), start(axis[1], p), start(axis[2], q));
                            for_each_lanes<A>(part.channels, [&](int64_t c, int lanes) __attribute__((always_inline)) {
                                Vector<A> best{};
                                Integers<A> winner{};
                                find_winner<T, kOffsets>(at + c, step, axis, taps, lanes, best, winner);
                                write_lanes(y.data + c, best, lanes);
                                if (kOffsets) write_offsets<A>(winners.data + c, winner, lanes);
                            });
                        }
                        deliver_row<T>(call.y, part, n, o, p, scratch);
                        if (kOffsets) deliver_row<Offset>(call.offset_view, part, n, o, p, codes);
                    }
                }
            }
        });
}

// What one pixel may have won from one window.
template <class T, class Offset>
struct Share {
    const T* gy;
    const Offset* winner;
    int64_t code;  // the winner's offset if the pixel has won
};
constexpr int kFew = 16;  // so many windows over a pixel are listed once, for all channels

template <class T, class Offset>
CONVGPU_INLINE Vector<Accumulator<T>> share_of(const Share<T, Offset>& share, int64_t c, int lanes) {
    using A = Accumulator<T>;
    const Integers<A> won = read_offsets<A>(share.winner + c, lanes);
    const Vector<A> g = read_lanes(share.gy + c, lanes);
    return won == static_cast<decltype(+won[0])>(share.code) + Integers<A>{} ? g : Vector<A>{};
}

template <class T, class Offset>
void backward(const PoolCall& call) {
    using A = Accumulator<T>;
    const PoolAxis* const axis = call.axis;
    const bool copies = call.gx.step_c != 1 || call.gy.step_c != 1 || call.offset_view.step_c != 1;
    for_each_part(
        call.gx, call.threads, copies, 3, sizeof(T) > 4 ? 8 : 4, call.work,
        [&](const Boxes& boxes) { return output_pixels(axis, boxes); },
        [&](const Part& part, char* scratch) {
            const Part windows = output_part(axis, part);
            const auto gy = read_part<T>(call.gy, windows, scratch);
            const auto winners = read_part<Offset>(call.offset_view, windows, scratch);
            const Box& box = part.box;
            const Covers over(axis[2], box.begin[3], box.end[3]);
            for (int64_t n = box.begin[0]; n < box.end[0]; ++n) {
                for (int64_t d = box.begin[1]; d < box.end[1]; ++d) {
                    for (int64_t h = box.begin[2]; h < box.end[2]; ++h) {
                        auto gx = result_row<T>(call.gx, part, n, d, h, scratch);
                        const Range os = covering(axis[0], d), ps = covering(axis[1], h);
                        for (int64_t w = box.begin[3]; w < box.end[3]; ++w, gx.data += gx.step) {
                            const Range qs = over[w];
                            const auto for_each_window = [&](auto use) {
                                for (int64_t o = os.begin; o < os.end; ++o) {
                                    const int64_t t = tap(axis[0], o, d);
                                    for (int64_t p = ps.begin; p < ps.end; ++p) {
                                        const int64_t r = tap(axis[1], p, h);
                                        for (int64_t q = qs.begin; q < qs.end; ++q) {
                                            const int64_t s = tap(axis[2], q, w);
                                            if (t < 0 || r < 0 || s < 0) continue;
                                            use(Share<T, Offset>{gy.at(n, o, p, q), winners.at(n, o, p, q),
                                                                 (t * axis[1].window + r) * axis[2].window + s});
                                        }
                                    }
                                }
                            };
                            if (os.count() * ps.count() * qs.count() <= kFew) {
                                Share<T, Offset> shares[kFew];
                                int count = 0;
                                for_each_window([&](const Share<T, Offset>& share) { shares[count++] = share; });
                                for_each_lanes<A>(part.channels,
                                                  [&](int64_t c, int lanes) __attribute__((always_inline)) {
                                                      Vector<A> sum{};
                                                      for (int i = 0; i < count; ++i)
                                                          sum += share_of(shares[i], c, lanes);
                                                      write_lanes(gx.data + c, sum, lanes);
                                                  });
                                continue;
                            }
                            for_each_lanes<A>(part.channels, [&](int64_t c, int lanes) __attribute__((always_inline)) {
                                VectorSum<A> sum;
                                for_each_window(
                                    [&](const Share<T, Offset>& share) { sum.add(share_of(share, c, lanes)); });
                                write_lanes(gx.data + c, sum.value(), lanes);
                            });
                        }
                        deliver_row<T>(call.gx, part, n, d, h, scratch);
                    }
                }
            }
        });
}

// y = x at the winners.
template <class T, class Offset>
void at_winners(const PoolCall& call) {
    const PoolAxis* const axis = call.axis;
    for_each_part(
        call.y, call.threads, false, 0, 0, call.work, [](const Boxes&) { return 0; },
        [&](const Part& part, char*) {
            const Box& box = part.box;
            for (int64_t n = box.begin[0]; n < box.end[0]; ++n) {
                for (int64_t o = box.begin[1]; o < box.end[1]; ++o) {
                    for (int64_t p = box.begin[2]; p < box.end[2]; ++p) {
                        for (int64_t q = box.begin[3]; q < box.end[3]; ++q) {
                            for (int64_t c = part.c; c < part.c + part.channels; ++c) {
                                const int64_t code = *call.offset_view.at<const Offset>(n, o, p, q, c);
                                const int64_t s = code % axis[2].window, r = code / axis[2].window % axis[1].window;
                                const int64_t t = code / axis[2].window / axis[1].window;
                                *call.y.at<T>(n, o, p, q, c) =
                                    *call.x.at<const T>(n, start(axis[0], o) + t * axis[0].dilation,
                                                        start(axis[1], p) + r * axis[1].dilation,
                                                        start(axis[2], q) + s * axis[2].dilation, c);
                            }
                        }
                    }
                }
            }
        });
}

}  // namespace

template <class T>
void max_pool(const PoolCall& call) {
    if (max_pool_planes<T>(call)) return;
    if (!call.offset_view.data) return forward<T, uint8_t, false>(call);
    with_offset_type(call.offset_bytes, [&](auto offset) { forward<T, decltype(offset), true>(call); });
}
template <class T>
void max_pool_dgrad(const PoolCall& call) {
    if (max_pool_dgrad_planes<T>(call)) return;
    with_offset_type(call.offset_bytes, [&](auto offset) { backward<T, decltype(offset)>(call); });
}
template <class T>
void max_pool_gather(const PoolCall& call) {
    with_offset_type(call.offset_bytes, [&](auto offset) { at_winners<T, decltype(offset)>(call); });
}

CONVGPU_FOR_EACH_DTYPE(max_pool, PoolCall)
CONVGPU_FOR_EACH_DTYPE(max_pool_dgrad, PoolCall)
CONVGPU_FOR_EACH_DTYPE(max_pool_gather, PoolCall)

}  // namespace convgpu::cpu::CONVGPU_ISA
