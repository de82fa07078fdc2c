// Windows over images, read as the rows of a matrix that is never written out: implicit GEMM.
//
// A window is what the filter covers at one output pixel. A convolution is a product of matrices once every window is
// written out as a row (im2col): row m is the window of one output pixel, column k is one tap and one channel,
//
//     a[m][k] = x[n, o*stride + t*dilation - before, ..., c]   with m = ((n*O + o)*P + p)*Q + q, k = ((t*R + r)*S +
//     s)*C + c
//
// That matrix is R*S times as large as the image. Instead of writing it, a PixelSource finds the address of any of its
// elements. The address is a sum of one part that depends on m alone and one that depends on k alone. So are the
// coordinates, which tell whether the tap lies in the image or in its padding. All images are 3-D and channels_last
// here: an axis that is missing is a leading axis of one pixel.
#pragma once
#include "../../common/divisor.h"
#include "../../common/geometry.h"
#include "../../device/launch.h"

namespace convgpu::conv {

constexpr int kAxes = 3;

// One of the three axes of a geometry, with its options. An axis that the geometry lacks is one pixel long.
struct Axis {
    int pixels = 1, outputs = 1, taps = 1, stride = 1, dilation = 1, before = 0;
};
Axis axis_of(const ConvGeometry& geo, int axis);

// One axis as a kernel sees it: tap t of window i is the pixel first + i * stride + t * step.
struct WindowAxis {
    int pixels = 1, windows = 1, taps = 1;
    int first = 0, stride = 1, step = 1;
    Divisor by_windows, by_taps;

    WindowAxis() = default;
    WindowAxis(int pixels, int windows, int taps, int first, int stride, int step)
        : pixels(pixels),
          windows(windows),
          taps(taps),
          first(first),
          stride(stride),
          step(step),
          by_windows(static_cast<uint64_t>(windows)),
          by_taps(static_cast<uint64_t>(taps)) {}

    // Tells whether some tap of some window lies outside the image, where there is no pixel (a hole).
    bool has_holes() const {
        const int last_window = (windows - 1) * stride, last_tap = (taps - 1) * step;
        return first + (step < 0 ? last_tap : 0) < 0 || first + last_window + (step > 0 ? last_tap : 0) >= pixels;
    }
};

// How images lie in memory: the distances, in elements, from one image, plane, line or pixel to the next, and the
// number of channels of a group, which are neighbours. Distances within an image have 32 bits and their multiples have
// 64, because one instruction computes such a product.
struct Images {
    int64_t image = 0;
    int plane = 0, line = 0, pixel = 0;
    Divisor by_channels;  // divides by the channels of one group

    __device__ __forceinline__ int64_t offset(int d, int h, int w) const {
        return int64_t(d) * plane + int64_t(h) * line + int64_t(w) * pixel;
    }
};

// The windows as a factor of tile/product.h. Rows are windows. The depth of the sums runs over the taps and, for each
// tap, over the channels of one group, the first of which lies at `data`.
template <class T>
class PixelSource {
public:
    using Element = T;
    static constexpr bool kAlongDepth = true;
    // What one row, or one depth, contributes to an address and to the coordinates of the pixel there.
    struct Row {
        const T* first;
        uint32_t d, h, w;
    };
    struct Depth {
        int64_t offset;
        uint32_t d, h, w;
    };

    __device__ __forceinline__ PixelSource(const T* data, const Images& images, const WindowAxis& d,
                                           const WindowAxis& h, const WindowAxis& w, int rows, int length, bool holes)
        : data_(data), images_(images), d_(d), h_(h), w_(w), rows_(rows), length_(length), holes_(holes) {}

    __device__ __forceinline__ Row row(int m) const {
        if (m >= rows_) return {data_, kOutside, 0, 0};
        auto n = static_cast<uint32_t>(m);
        const int w = w_.first + static_cast<int>(w_.by_windows.short_split(n)) * w_.stride;
        const int h = h_.first + static_cast<int>(h_.by_windows.short_split(n)) * h_.stride;
        const int d = d_.first + static_cast<int>(d_.by_windows.short_split(n)) * d_.stride;
        return {data_ + (n * images_.image + images_.offset(d, h, w)), static_cast<uint32_t>(d),
                static_cast<uint32_t>(h), static_cast<uint32_t>(w)};
    }

    __device__ __forceinline__ Depth depth(int k) const {
        if (k >= length_) return {0, 0, kOutside, 0};
        auto t = static_cast<uint32_t>(k);
        const uint32_t c = images_.by_channels.short_split(t);
        const int w = static_cast<int>(w_.by_taps.short_split(t)) * w_.step;
        const int h = static_cast<int>(h_.by_taps.short_split(t)) * h_.step;
        const int d = static_cast<int>(t) * d_.step;
        return {images_.offset(d, h, w) + c, static_cast<uint32_t>(d), static_cast<uint32_t>(h),
                static_cast<uint32_t>(w)};
    }

    __device__ __forceinline__ const T* at(const Row& r, const Depth& k) const {
        const bool inside = r.d + k.d < static_cast<uint32_t>(d_.pixels) &&
                            r.h + k.h < static_cast<uint32_t>(h_.pixels) &&
                            r.w + k.w < static_cast<uint32_t>(w_.pixels);  // unsigned: below 0 is beyond the end too
        return inside ? r.first + k.offset : nullptr;
    }

    __device__ __forceinline__ bool has_holes() const { return holes_; }

private:
    // The coordinate of rows and depths that do not exist. Axes and windows are at most 2^30 long, so that no sum with
    // this number lies inside an image. A row has it along d, and a depth has it along h: if both had it along one
    // axis, their sum would be zero.
    static constexpr uint32_t kOutside = 1u << 31;

    const T* data_;
    const Images& images_;  // refers to the kernel's arguments, as the axes do
    const WindowAxis &d_, &h_, &w_;
    int rows_, length_;
    bool holes_;
};

// What a kernel needs to know of x and of the windows over it.
struct Windows {
    Images images;
    WindowAxis d, h, w;
    bool holes = false;  // whether some tap of some window lies in the padding
};

Images x_images(const ConvGeometry& geo);
Images y_images(const ConvGeometry& geo);
Windows windows_of(const ConvGeometry& geo);

}  // namespace convgpu::conv
