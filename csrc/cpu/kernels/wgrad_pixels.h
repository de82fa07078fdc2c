// The pixels of x that a box of pixels of gy reads, as products of runs take them.
//
// Packed pixels are [tile of kRows channels][pixel][kRows]: all pixels between the first and the last one that the taps
// read, within the image; of a single tap only those that it reads.
#pragma once
#include "../calls/conv.h"
#include "boxes.h"
#include "pixels.h"
#include "runs.h"
#include "source.h"

namespace convgpu::cpu::CONVGPU_ISA {

// The taps of each axis that are packed together: all of them, or one.
struct TapRange {
    int64_t begin[kAxes], end[kAxes];
};

// The pixels of an axis that a range of outputs reads through some taps: `count` of them, `apart` from each other, from
// `begin`.
struct Line {
    int64_t begin, count, apart;
};

template <class T>
class PackedPixels {
public:
    using A = Accumulator<T>;

    PackedPixels(const Images& x, const Gather& gather) : x_(x), gather_(gather) {}

    Line line(int a, int64_t begin, int64_t end, const TapRange& taps) const {
        const GatherAxis& axis = gather_.axis[a];
        const int64_t first = begin * axis.step + axis.taps[taps.begin[a]].offset;
        if (taps.end[a] - taps.begin[a] == 1) return {first, end - begin, axis.step};
        const int64_t low = larger<int64_t>(first, 0);
        const int64_t high = smaller((end - 1) * axis.step + axis.taps[taps.end[a] - 1].offset + 1, x_.size[a]);
        return {low, larger<int64_t>(high - low, 0), 1};
    }

    int64_t count(const Box& box, const TapRange& taps) const {
        int64_t pixels = box.count(0);
        for (int a = 0; a < kAxes; ++a) pixels *= line(a, box.begin[1 + a], box.end[1 + a], taps).count;
        return pixels;
    }

    // An upper bound of them for any box, for all taps or for each.
    int64_t most(const Boxes& boxes, bool tap_by_tap) const {
        int64_t pixels = boxes.part(0);
        for (int a = 0; a < kAxes; ++a) pixels *= most_of_axis(boxes, a, tap_by_tap);
        return pixels;
    }
    int64_t most_of_axis(const Boxes& boxes, int a, bool tap_by_tap) const {
        const GatherAxis& axis = gather_.axis[a];
        const int64_t part = boxes.part(1 + a), taps = axis.taps.size();
        if (tap_by_tap || taps == 1) return part;
        const int64_t span = (part - 1) * axis.step + axis.taps[taps - 1].offset - axis.taps[0].offset;
        return larger<int64_t>(smaller(span + 1, x_.size[a]), 1);
    }

    // Packs channels [c, c + channels) to `to`. `row` has room for a row of pixels.
    void pack(const Box& box, const TapRange& taps, int64_t c, int64_t channels, A* to, A* row) const {
        Line l[kAxes];
        for (int a = 0; a < kAxes; ++a) l[a] = line(a, box.begin[1 + a], box.end[1 + a], taps);
        const int64_t slots = count(box, taps);
        int64_t slot = 0;
        for (int64_t n = box.begin[0]; n < box.end[0]; ++n) {
            for (int64_t i = 0; i < l[0].count; ++i) {
                for (int64_t j = 0; j < l[1].count; ++j, slot += l[2].count) {
                    const int64_t d = l[0].begin + i * l[0].apart, h = l[1].begin + j * l[1].apart;
                    if (d < 0 || d >= x_.size[0] || h < 0 || h >= x_.size[1]) continue;  // no run reads it
                    int64_t step = 0;
                    const A* const from = row_of(n, d, h, l[2], c, channels, row, step);
                    interleave(from, step, channels, l[2].count, to + slot * kRows, slots * kRows);
                }
            }
        }
    }

private:
    // A row of pixels with neighbouring channels, and the step from pixel to pixel. It is read in place if it can be.
    const A* row_of(int64_t n, int64_t d, int64_t h, const Line& l, int64_t c, int64_t channels, A* copy,
                    int64_t& step) const {
        const int64_t end = smaller(l.count, l.begin < x_.size[2] ? parts(x_.size[2] - l.begin, l.apart) : 0);
        const int64_t begin = smaller(l.begin < 0 ? parts(-l.begin, l.apart) : 0, larger<int64_t>(end, 0));
        const int64_t outside = l.count - larger<int64_t>(end - begin, 0);
        if constexpr (sizeof(T) == sizeof(A)) {
            if (x_.step_c == 1 && outside == 0) {
                step = x_.step[2] * l.apart;
                return x_.at<const A>(n, d, h, l.begin, c);
            }
        }
        step = channels;
        if (outside > 0) std::memset(copy, 0, l.count * channels * sizeof(A));  // no run reads these
        if (end > begin) {
            fetch<T>(x_.at<const T>(n, d, h, l.begin + begin * l.apart, c), x_.step[2] * l.apart, x_.step_c,
                     copy + begin * channels, channels, end - begin, channels);
        }
        return copy;
    }

    // to[tile][pixel][lane] = from[pixel * step + tile * kRows + lane]; lanes that do not exist become zero.
    static void interleave(const A* from, int64_t step, int64_t lanes, int64_t pixels, A* to, int64_t tile_step) {
        for (int64_t first = 0; first < lanes; first += kRows, to += tile_step) {
            const int64_t count = smaller<int64_t>(kRows, lanes - first);
            if (count == kRows) {
                for (int64_t p = 0; p < pixels; ++p)
                    std::memcpy(to + p * kRows, from + p * step + first, kRows * sizeof(A));
            } else {
                for (int64_t p = 0; p < pixels; ++p) {
                    for (int r = 0; r < kRows; ++r) to[p * kRows + r] = r < count ? from[p * step + first + r] : A(0);
                }
            }
        }
    }

    const Images& x_;
    const Gather& gather_;
};

}  // namespace convgpu::cpu::CONVGPU_ISA
