// Which pixels a window holds, and which windows hold a pixel; and how the pixels of a tile are reached.
#pragma once
#include "../kernels.h"
#include "../threads.h"
#include "boxes.h"
#include "lanes.h"
#include "pixels.h"
#include "product.h"

namespace convgpu::cpu::CONVGPU_ISA {

struct Range {
    int64_t begin, end;
    CONVGPU_INLINE int64_t count() const { return end - begin; }
};

// Tap i of output o is the pixel start(o) + i * dilation.
CONVGPU_INLINE int64_t start(const PoolAxis& a, int64_t o) {
    return a.adaptive ? o * a.size / a.output : o * a.stride - a.before;
}
CONVGPU_INLINE int64_t taps_of(const PoolAxis& a, int64_t o) {
    return a.adaptive ? parts((o + 1) * a.size, a.output) - start(a, o) : a.window;
}
// How many taps it takes to reach over n pixels. Most windows have no dilation, and a division takes as long as the
// rest.
CONVGPU_INLINE int64_t taps_over(const PoolAxis& a, int64_t n) { return a.dilation == 1 ? n : parts(n, a.dilation); }
// The taps of output o that lie inside the input.
CONVGPU_INLINE Range inside(const PoolAxis& a, int64_t o) {
    const int64_t first = start(a, o);
    return {first >= 0 ? 0 : taps_over(a, -first),
            smaller(first < a.size ? taps_over(a, a.size - first) : 0, taps_of(a, o))};
}
// What an average divides by: the taps inside the input, or inside the input and its padding.
CONVGPU_INLINE int64_t divisor(const PoolAxis& a, int64_t o, bool count_include_pad) {
    if (count_include_pad) return smaller(a.window, a.size + a.after - start(a, o));
    return inside(a, o).count();
}
// The outputs whose windows reach over a pixel. A window with a dilation may step over it, as tap() tells.
CONVGPU_INLINE Range covering(const PoolAxis& a, int64_t pixel) {
    if (a.adaptive) return {pixel * a.output / a.size, parts((pixel + 1) * a.output, a.size)};
    const int64_t last = pixel + a.before, length = a.dilation * (a.window - 1) + 1;
    return {last < length ? 0 : (last - length) / a.stride + 1, smaller(last / a.stride + 1, a.output)};
}
// Which tap of output o a pixel is, or -1 if it is none.
CONVGPU_INLINE int64_t tap(const PoolAxis& a, int64_t o, int64_t pixel) {
    const int64_t distance = pixel - start(a, o);
    if (a.dilation == 1) return distance;
    return distance % a.dilation == 0 ? distance / a.dilation : -1;
}
// Whether pixel (d, h, w) is a tap of output (o, p, q), whose window reaches over it.
CONVGPU_INLINE bool holds(const PoolAxis* axis, int64_t o, int64_t p, int64_t q, int64_t d, int64_t h, int64_t w) {
    return tap(axis[0], o, d) >= 0 && tap(axis[1], p, h) >= 0 && tap(axis[2], q, w) >= 0;
}

// The outputs over each pixel of the rows of a tile. They are found once for all rows, since that takes divisions.
class Covers {
public:
    static constexpr int64_t kMost = 1024;  // pixels of a tile
    Covers(const PoolAxis& a, int64_t begin, int64_t end) : begin_(begin) {
        for (int64_t pixel = begin; pixel < end; ++pixel) over_[pixel - begin] = covering(a, pixel);
    }
    CONVGPU_INLINE Range operator[](int64_t pixel) const { return over_[pixel - begin_]; }

private:
    int64_t begin_;
    Range over_[kMost];
};

// The input pixels that outputs [begin, end) read, and the outputs that read pixels [begin, end).
CONVGPU_INLINE Range pixels_of(const PoolAxis& a, int64_t begin, int64_t end) {
    const int64_t last = end - 1, stop = start(a, last) + (taps_of(a, last) - 1) * a.dilation + 1;
    const int64_t first = smaller(larger<int64_t>(start(a, begin), 0), a.size);
    return {first, larger(smaller(stop, a.size), first)};
}
CONVGPU_INLINE Range outputs_of(const PoolAxis& a, int64_t begin, int64_t end) {
    const Range first = covering(a, begin), last = covering(a, end - 1);
    return {smaller(first.begin, last.end), larger(last.end, first.begin)};
}

// Elements of the channels of a tile, reached by pixel.
template <class E>
struct Pixels {
    E* data;
    int64_t step_n, step[kAxes];
    CONVGPU_INLINE E* at(int64_t n, int64_t d, int64_t h, int64_t w) const {
        return data + n * step_n + d * step[0] + h * step[1] + w * step[2];
    }
};

// to[p * row + c] = from[p * step_p + c * step_c], and the reverse, without conversion.
template <class E>
CONVGPU_INLINE void gather_pixels(const E* from, int64_t step_p, int64_t step_c, E* to, int64_t row, int64_t n,
                                  int64_t channels) {
    constexpr int64_t kSome = 16;
    for (int64_t p = 0; p < n; p += kSome) {
        for (int64_t c = 0; c < channels; ++c) {
            for (int64_t i = p; i < smaller(n, p + kSome); ++i) to[i * row + c] = from[i * step_p + c * step_c];
        }
    }
}
CONVGPU_INLINE void gather_pixels(const float* from, int64_t step_p, int64_t step_c, float* to, int64_t row, int64_t n,
                                  int64_t channels) {
    fetch<float>(from, step_p, step_c, to, row, n, channels);
}
template <class E>
CONVGPU_INLINE void scatter_pixels(const E* from, int64_t row, E* to, int64_t step_p, int64_t step_c, int64_t n,
                                   int64_t channels) {
    constexpr int64_t kSome = 16;
    for (int64_t p = 0; p < n; p += kSome) {
        for (int64_t c = 0; c < channels; ++c) {
            for (int64_t i = p; i < smaller(n, p + kSome); ++i) to[i * step_p + c * step_c] = from[i * row + c];
        }
    }
}
CONVGPU_INLINE void scatter_pixels(const float* from, int64_t row, float* to, int64_t step_p, int64_t step_c, int64_t n,
                                   int64_t channels) {
    deliver<float>(from, row, to, step_p, step_c, n, channels);
}

// A part of some images: a box of pixels and a block of channels.
struct Part {
    Box box;
    int64_t c, channels;
};

CONVGPU_INLINE bool neighbours(const Images& x, int64_t channels) { return x.step_c == 1 || channels == 1; }

// The pixels of a part where they are, if their channels are neighbours; else in a copy at `scratch`, which is
// advanced. `scratch` is a multiple of 64.
template <class E>
Pixels<const E> read_part(const Images& x, const Part& part, char*& scratch) {
    if (neighbours(x, part.channels)) {
        return {x.at<const E>(0, 0, 0, 0, part.c), x.step_n, {x.step[0], x.step[1], x.step[2]}};
    }
    const Box& b = part.box;
    E* to = reinterpret_cast<E*>(scratch);
    Pixels<const E> copy{to, 0, {0, b.count(3) * part.channels, part.channels}};
    copy.step[0] = b.count(2) * copy.step[1];
    copy.step_n = b.count(1) * copy.step[0];
    for (int64_t n = b.begin[0]; n < b.end[0]; ++n) {
        for (int64_t d = b.begin[1]; d < b.end[1]; ++d) {
            for (int64_t h = b.begin[2]; h < b.end[2]; ++h, to += copy.step[1]) {
                gather_pixels(x.at<const E>(n, d, h, b.begin[3], part.c), x.step[2], x.step_c, to, part.channels,
                              b.count(3), part.channels);
            }
        }
    }
    scratch += parts(b.pixels() * part.channels * sizeof(E), 64) * 64;
    copy.data -=
        b.begin[0] * copy.step_n + b.begin[1] * copy.step[0] + b.begin[2] * copy.step[1] + b.begin[3] * copy.step[2];
    return copy;
}

// Where the results of a row of pixels go: into y, or into a buffer that `deliver_row` empties.
template <class E>
struct ResultRow {
    E* data;
    int64_t step;
};
template <class E>
CONVGPU_INLINE ResultRow<E> result_row(const Images& y, const Part& part, int64_t n, int64_t d, int64_t h,
                                       char* buffer) {
    if (neighbours(y, part.channels)) return {y.at<E>(n, d, h, part.box.begin[3], part.c), y.step[2]};
    return {reinterpret_cast<E*>(buffer), part.channels};
}
template <class E>
CONVGPU_INLINE void deliver_row(const Images& y, const Part& part, int64_t n, int64_t d, int64_t h,
                                const char* buffer) {
    if (neighbours(y, part.channels)) return;
    scatter_pixels(reinterpret_cast<const E*>(buffer), part.channels, y.at<E>(n, d, h, part.box.begin[3], part.c),
                   y.step[2], y.step_c, part.box.count(3), part.channels);
}

// Cuts the pixels of `result` into tiles and calls use(part, scratch) for each. `pixels_read` tells how many pixels a
// tile of the given Boxes reads; `arrays` is how many arrays it may copy, of elements of `bytes` bytes.
template <class Extent, class Use>
void for_each_part(const Images& result, int64_t threads, bool copies, int arrays, int64_t bytes, double work,
                   Extent pixels_read, Use use) {
    constexpr int64_t kCopied = 256 << 10, kTiles = 32, kMost = Covers::kMost;
    const int64_t size[kAxes] = {result.size[0], result.size[1], result.size[2]};
    int64_t most = kMost, channels = smaller<int64_t>(result.channels, copies ? 64 : 256);
    Boxes boxes(result.batch, size, most);
    const auto copied = [&] { return (pixels_read(boxes) + boxes.part(3)) * channels * arrays * bytes; };
    while (copies && copied() > kCopied && most > size[2] && most > 1) boxes = Boxes(result.batch, size, most /= 2);
    while (copies && copied() > kCopied && channels > 1) channels = parts(channels, 2);
    while (copies && copied() > kCopied && most > 1) boxes = Boxes(result.batch, size, most /= 2);
    while (most / 2 >= 16 && boxes.count() * parts(result.channels, channels) < kTiles) {
        boxes = Boxes(result.batch, size, most /= 2);
    }
    const int64_t blocks = parts(result.channels, channels);
    // One channel is read where it is, however many pixels a window has.
    const int64_t scratch = copies ? (channels == 1 ? 0 : copied()) + (arrays + 2) * 64 : 0;
    parallel_for(boxes.count() * blocks, work < 32768 ? 1 : static_cast<int>(threads), scratch,
                 [&](int64_t i, char* memory) {
                     const int64_t c = i % blocks * channels;
                     use(Part{boxes[i / blocks], c, smaller(channels, result.channels - c)}, memory);
                 });
}

// The part of x that the outputs of `part` read; the part of y whose windows hold the pixels of `part`.
CONVGPU_INLINE Part input_part(const PoolAxis* axis, const Part& part) {
    Part read = part;
    for (int a = 0; a < kAxes; ++a) {
        const Range range = pixels_of(axis[a], part.box.begin[1 + a], part.box.end[1 + a]);
        read.box.begin[1 + a] = range.begin;
        read.box.end[1 + a] = range.end;
    }
    return read;
}
CONVGPU_INLINE Part output_part(const PoolAxis* axis, const Part& part) {
    Part read = part;
    for (int a = 0; a < kAxes; ++a) {
        const Range range = outputs_of(axis[a], part.box.begin[1 + a], part.box.end[1 + a]);
        read.box.begin[1 + a] = range.begin;
        read.box.end[1 + a] = range.end;
    }
    return read;
}
// Upper bounds of their pixels.
CONVGPU_INLINE int64_t input_pixels(const PoolAxis* axis, const Boxes& boxes) {
    int64_t pixels = boxes.part(0);
    for (int a = 0; a < kAxes; ++a) {
        const int64_t step = axis[a].adaptive ? parts(axis[a].size, axis[a].output) : axis[a].stride;
        const int64_t span = (boxes.part(1 + a) - 1) * step + (axis[a].window - 1) * axis[a].dilation + 2;
        pixels *= smaller(span, axis[a].size);
    }
    return pixels;
}
CONVGPU_INLINE int64_t output_pixels(const PoolAxis* axis, const Boxes& boxes) {
    int64_t pixels = boxes.part(0);
    for (int a = 0; a < kAxes; ++a) {
        const int64_t span = boxes.part(1 + a) + (axis[a].window - 1) * axis[a].dilation;
        const int64_t outputs =
            axis[a].adaptive ? parts(span * axis[a].output, axis[a].size) + 2 : span / axis[a].stride + 2;
        pixels *= smaller(outputs, axis[a].output);
    }
    return pixels;
}

// Calls use(c, lanes) for each vector of channels. All but the last have a number of lanes that the compiler knows,
// once `use` is inlined: it then reads and writes whole vectors without asking.
template <class A, class Use>
CONVGPU_INLINE void for_each_lanes(int64_t channels, Use use) {
    int64_t c = 0;
    for (; c + kLanes<A> <= channels; c += kLanes<A>) use(c, kLanes<A>);
    if (c < channels) use(c, static_cast<int>(channels - c));
}

// Sums of vectors, in blocks of kBlock terms.
template <class A>
class VectorSum {
public:
    CONVGPU_INLINE void add(Vector<A> v) {
        block_ += v;
        if (++terms_ % kBlock != 0) return;
        total_ += block_;
        block_ = Vector<A>{};
    }
    CONVGPU_INLINE Vector<A> value() const { return total_ + block_; }

private:
    Vector<A> total_{}, block_{};
    int terms_ = 0;
};

}  // namespace convgpu::cpu::CONVGPU_ISA
