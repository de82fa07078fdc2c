// Tells which pixels a window holds, and which windows hold a pixel. Every pooling kernel computes its addresses from
// this.
//
// All kernels see 3-D images in channels_last, x[n][d][h][w][c] and y[n][o][p][q][c]. An axis that is missing is a
// leading axis of one pixel. An image in channels_first is seen as C images of one channel.
#pragma once
#include "../common/divisor.h"
#include "../common/geometry.h"
#include "../device/launch.h"

namespace convgpu::pool {

constexpr int kAxes = 3;

// The integers from begin to end - 1.
struct Range {
    int begin, end;

    __device__ __forceinline__ bool holds(int i) const { return begin <= i && i < end; }
};

// One spatial axis. Tap i of output o is the pixel start(o) + i * dilation.
struct Axis {
    int size = 1, window = 1, stride = 1, before = 0, after = 0, dilation = 1, output = 1;
    bool adaptive = false;
    Divisor by_stride, by_size, by_output;

    // Returns the pixel under tap 0 of output o. It may lie before the input.
    __device__ __forceinline__ int start(int o) const {
        if (adaptive) return static_cast<int>(by_output.quotient(uint64_t(o) * size));
        return o * stride - before;
    }
    __device__ __forceinline__ int taps(int o) const {
        if (!adaptive) return window;
        return static_cast<int>(by_output.quotient(uint64_t(o + 1) * size + output - 1)) - start(o);
    }

    // Returns the taps of output o that lie inside the input.
    __device__ __forceinline__ Range inside(int o) const {
        const int first = start(o), room = size - first;  // room is the distance to the input's end
        const int begin = first >= 0 ? 0 : dilation == 1 ? -first : (dilation - 1 - first) / dilation;
        const int end = room <= 0 ? 0 : dilation == 1 ? room : (room - 1) / dilation + 1;
        const int all = taps(o);
        return {begin, end < all ? end : all};
    }

    // These two are start and inside for an axis that is neither adaptive nor dilated.
    __device__ __forceinline__ int plain_start(int o) const { return o * stride - before; }
    __device__ __forceinline__ Range plain_inside(int o) const {
        const int first = plain_start(o), room = size - first;
        return {first >= 0 ? 0 : -first, room < window ? room : window};
    }

    // Returns the number of taps of output o that an average divides by: those inside the input, or those inside the
    // input and its padding.
    __device__ __forceinline__ int divisor(int o, bool count_include_pad) const {
        if (count_include_pad) {
            const int room = size + after - start(o);
            return room < window ? room : window;
        }
        const Range taps = inside(o);
        return taps.end - taps.begin;
    }

    // Returns the outputs whose windows reach over a pixel. A window with a dilation may step over the pixel; tap()
    // tells.
    __device__ __forceinline__ Range covering(int pixel) const {
        if (adaptive) {
            return {static_cast<int>(by_size.quotient(uint64_t(pixel) * output)),
                    static_cast<int>(by_size.quotient(uint64_t(pixel + 1) * output + size - 1))};
        }
        const int last = pixel + before, length = dilation * (window - 1) + 1;
        const int end = static_cast<int>(by_stride.short_quotient(last)) + 1;
        const int begin = last < length ? 0 : static_cast<int>(by_stride.short_quotient(last - length)) + 1;
        return {begin, end < output ? end : output};
    }

    // Returns which tap of output o a covered pixel is, or -1 if it is none.
    __device__ __forceinline__ int tap(int o, int pixel) const {
        const int distance = pixel - start(o);
        if (dilation == 1) return distance;
        return distance % dilation == 0 ? distance / dilation : -1;
    }
};

// A place in a batch of images, at the first of the channels that a thread owns.
struct Position {
    int64_t n = 0;
    int at[kAxes] = {};
    int64_t c = 0;
};

// The window of one output: the ranges of its taps (t, r, s) inside the input, and the place in x where tap (0, 0, 0)
// would lie.
struct Window {
    Range t, r, s;
    int64_t corner;
};

// Everything that a kernel needs to know of the pooling that it computes.
struct Problem {
    Axis axis[kAxes];
    int64_t images, channels;
    int64_t step[kAxes];   // from one tap to the next, in elements of x
    Divisor by_window[2];  // divide by the height and the width of a window
    bool count_include_pad;

    __device__ __forceinline__ int64_t x_at(int64_t n, int d, int h, int w, int64_t c) const {
        return (((n * axis[0].size + d) * axis[1].size + h) * axis[2].size + w) * channels + c;
    }
    __device__ __forceinline__ int64_t y_at(int64_t n, int o, int p, int q, int64_t c) const {
        return (((n * axis[0].output + o) * axis[1].output + p) * axis[2].output + q) * channels + c;
    }
    __device__ __forceinline__ int64_t y_at(const Position& y) const {
        return y_at(y.n, y.at[0], y.at[1], y.at[2], y.c);
    }

    // kPlain says that no axis is adaptive or dilated.
    template <bool kPlain>
    __device__ __forceinline__ Window window(const Position& y) const {
        Range taps[kAxes];
        int start[kAxes];
#pragma unroll
        for (int a = 0; a < kAxes; ++a) {
            taps[a] = kPlain ? axis[a].plain_inside(y.at[a]) : axis[a].inside(y.at[a]);
            start[a] = kPlain ? axis[a].plain_start(y.at[a]) : axis[a].start(y.at[a]);
        }
        return {taps[0], taps[1], taps[2], x_at(y.n, start[0], start[1], start[2], y.c)};
    }
    __device__ __forceinline__ int64_t tap_at(const Window& w, int t, int r, int s) const {
        return w.corner + t * step[0] + r * step[1] + s * step[2];
    }
    __device__ __forceinline__ int offset_of(int t, int r, int s) const {
        return (t * axis[1].window + r) * axis[2].window + s;
    }
};

// The places of a batch, in row-major order and with `vector` channels in each.
class Places {
public:
    Places(int64_t images, const int (&extent)[kAxes], int64_t channels, int vector)
        : count_(static_cast<uint64_t>(images * extent[0] * extent[1] * extent[2] * (channels / vector))),
          by_channels_(channels / vector),
          by_extent_{Divisor(extent[0]), Divisor(extent[1]), Divisor(extent[2])},
          vector_(vector) {}

    __device__ __host__ __forceinline__ uint64_t count() const { return count_; }

    // Sets `place` to the i-th place, and returns whether there is one.
    __device__ __forceinline__ bool find(uint64_t i, Position& place) const {
        if (i >= count_) return false;
        place.c = static_cast<int64_t>(by_channels_.split(i)) * vector_;
#pragma unroll
        for (int a = kAxes - 1; a >= 0; --a) place.at[a] = static_cast<int>(by_extent_[a].split(i));
        place.n = static_cast<int64_t>(i);
        return true;
    }

private:
    uint64_t count_;
    Divisor by_channels_, by_extent_[kAxes];
    int vector_;
};

Problem problem_of(const PoolGeometry& geo);

}  // namespace convgpu::pool
