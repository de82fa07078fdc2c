// Where a tile finds the pixels that it reads: in the array itself, or in a copy of the region that its windows cover.
//
// A copy is made where the array has another dtype or layout than kernels read, and where few channels make it worth
// while to read a row of taps as one run. Pixels outside the array are zeros in a copy.
#pragma once
#include "../gather.h"
#include "boxes.h"
#include "pixels.h"

namespace convgpu::cpu::CONVGPU_ISA {

// Pixel (n, d, h, w) is at data + n * step_n + d * step[0] + h * step[1] + w * step[2], its channels are neighbours.
template <class A>
struct Source {
    const A* data;
    int64_t step_n, step[kAxes];
};

// The range of pixels of an axis that a box reads.
struct Span {
    int64_t begin, end;
    CONVGPU_INLINE int64_t count() const { return end - begin; }
};
CONVGPU_INLINE Span span_of(const GatherAxis& axis, int64_t begin, int64_t end) {
    if (axis.taps.empty() || begin >= end) return {0, 0};
    return {begin * axis.step + axis.taps[0].offset,
            (end - 1) * axis.step + axis.taps[axis.taps.size() - 1].offset + 1};
}

// How many pixels the region of the largest box has; kTooMany stands for any larger number.
constexpr int64_t kTooMany = int64_t(1) << 40;
CONVGPU_INLINE int64_t region_pixels(const Gather& gather, const Boxes& boxes) {
    int64_t count = boxes.part(0);
    for (int a = 0; a < kAxes; ++a) {
        const int64_t span = span_of(gather.axis[a], 0, boxes.part(1 + a)).count();
        if (span > 0 && count > kTooMany / span) return kTooMany;
        count *= span;
    }
    return count;
}

// Copies the region of a box, channels [c, c + channels), and says where its pixels are.
template <class T>
Source<Accumulator<T>> copy_region(const Images& x, const Gather& gather, const Box& box, int64_t c, int64_t channels,
                                   Accumulator<T>* to) {
    using A = Accumulator<T>;
    Span span[kAxes];
    for (int a = 0; a < kAxes; ++a) span[a] = span_of(gather.axis[a], box.begin[1 + a], box.end[1 + a]);
    const int64_t width = span[2].count(), row = width * channels;
    const int64_t begin = smaller(larger<int64_t>(span[2].begin, 0), span[2].end);
    const int64_t end = larger(smaller(span[2].end, x.size[2]), begin);
    A* at = to;
    for (int64_t n = box.begin[0]; n < box.end[0]; ++n) {
        for (int64_t d = span[0].begin; d < span[0].end; ++d) {
            for (int64_t h = span[1].begin; h < span[1].end; ++h, at += row) {
                if (d < 0 || d >= x.size[0] || h < 0 || h >= x.size[1] || begin == end) {
                    std::memset(at, 0, row * sizeof(A));
                    continue;
                }
                if (begin > span[2].begin) std::memset(at, 0, (begin - span[2].begin) * channels * sizeof(A));
                fetch<T>(x.at<const T>(n, d, h, begin, c), x.step[2], x.step_c, at + (begin - span[2].begin) * channels,
                         channels, end - begin, channels);
                if (end == span[2].end) continue;
                std::memset(at + (end - span[2].begin) * channels, 0, (span[2].end - end) * channels * sizeof(A));
            }
        }
    }
    Source<A> source{to, 0, {span[1].count() * row, row, channels}};
    source.step_n = span[0].count() * source.step[0];
    source.data -= box.begin[0] * source.step_n + span[0].begin * source.step[0] + span[1].begin * source.step[1] +
                   span[2].begin * source.step[2];
    return source;
}

}  // namespace convgpu::cpu::CONVGPU_ISA
