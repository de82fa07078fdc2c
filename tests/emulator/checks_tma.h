// Checks of what TMA loads and stores, element by element, on whichever machine runs the kernels. The tests and the
// Hopper probe use them.
#pragma once
#include "../../csrc/device/device_array.h"
#include "image.h"
#include "kernels/tma_box.cuh"
#include "testing.h"

namespace checks {

using namespace convgpu;
using namespace samples;
using testing::Image;

inline std::string at_text(size_t i) { return "element " + std::to_string(i); }

template <int Rank>
std::vector<float> load(const TiledLayout& layout, const Position<Rank>& p, int floats) {
    const DeviceArray<uint8_t> raw{std::vector<uint8_t>(static_cast<size_t>(floats) * 4)};
    launch(load_box<Rank>, {dim3(1), dim3(64), sizeof(BoxSmem)}, nullptr, encode(layout), p, raw.data(), floats * 4);
    return testing::unswizzled(raw.download(), layout.swizzle);
}

// Loads the box at p and compares it with the image, element by element. `count` is the number of elements in the box.
template <int Rank>
void check_tiled(const Image& image, const std::array<uint32_t, 5>& box, const std::array<uint32_t, 5>& step,
                 Swizzle swizzle, const Position<Rank>& p) {
    const DeviceArray<float> values(image.values);
    TiledLayout layout;
    layout.tensor = image.view(Rank, values.data());
    layout.box = box;
    layout.step = step;
    layout.swizzle = swizzle;
    std::array<int, 5> count{1, 1, 1, 1, 1}, origin{};
    int floats = 1;
    for (int i = 0; i < Rank; ++i) {
        count[i] = static_cast<int>(i == 0 ? box[i] : (box[i] + step[i] - 1) / step[i]);
        floats *= count[i];
        origin[i] = p.at[i];
    }
    const auto got = load<Rank>(layout, p, floats);
    for (int i = 0; i < floats; ++i) {
        int rest = i;
        std::array<int, 5> x = origin;
        for (int axis = 0; axis < Rank; ++axis) {
            x[axis] += rest % count[axis] * static_cast<int>(axis ? step[axis] : 1);
            rest /= count[axis];
        }
        testing::expect_equal(got[i], image.at(x), at_text(i));
    }
}

constexpr std::array<uint32_t, 5> kOnes{1, 1, 1, 1, 1};

// Checks one filter tap of a convolution. Row i of the im2col matrix is the output pixel first + i. It is zero beyond
// the last pixel, and so is every channel beyond the last one. With as_half, the map describes each float as two
// elements of bfloat16, which are the same bytes.
template <int Spatial>
void check_im2col(const Image& image, std::array<int, 3> filter, int stride, int dilation, int pad, Swizzle swizzle,
                  std::array<int, 3> tap, int first, bool as_half = false) {
    constexpr int kPixels = 48;
    const DeviceArray<float> values(image.values);
    Im2colLayout l;
    l.tensor = image.channels_last_view(Spatial, values.data());
    const uint32_t channels = swizzle_bytes(swizzle) / 4;
    l.channels = channels;
    if (as_half) {
        l.tensor.type = ElementType::kBFloat16;
        l.tensor.size[0] *= 2;
        l.channels *= 2;
    }
    l.pixels = kPixels;
    l.swizzle = swizzle;
    std::array<int, 3> out{1, 1, 1};
    for (int i = 0; i < Spatial; ++i) {
        l.lower[i] = -pad;
        l.upper[i] = pad - dilation * (filter[i] - 1);
        l.step[i + 1] = static_cast<uint32_t>(stride);
        out[i] = (image.size[i + 1] + 2 * pad - dilation * (filter[i] - 1) - 1) / stride + 1;
    }
    const auto pixel = [&](int i) {  // the base coordinates of output pixel i: C, W, H, D, N
        return std::array<int, 5>{0, i % out[0] * stride - pad, i / out[0] % out[1] * stride - pad,
                                  i / out[0] / out[1] % out[2] * stride - pad, i / out[0] / out[1] / out[2]};
    };
    const auto base = pixel(first);
    Position<Spatial + 2> p{};
    Position<Spatial> offset{};
    for (int i = 0; i <= Spatial; ++i) p.at[i] = base[i];
    p.at[Spatial + 1] = base[4];
    for (int i = 0; i < Spatial; ++i) offset.at[i] = tap[i] * dilation;
    const int bytes = kPixels * static_cast<int>(channels) * 4;
    const DeviceArray<uint8_t> raw{std::vector<uint8_t>(bytes)};
    launch(samples::load_im2col<Spatial + 2>, {dim3(1), dim3(64), sizeof(BoxSmem)}, nullptr, encode(l), p, offset,
           raw.data(), bytes);
    const auto got = testing::unswizzled(raw.download(), swizzle);
    for (int i = 0; i < kPixels; ++i) {
        auto x = pixel(first + i);
        for (int axis = 0; axis < Spatial; ++axis) x[axis + 1] += tap[axis] * dilation;
        if (Spatial < 3) x[3] = 0;
        if (Spatial < 2) x[2] = 0;
        for (uint32_t c = 0; c < channels; ++c) {
            x[0] = static_cast<int>(c);
            testing::expect_equal(got[i * channels + c], image.at(x), "pixel " + std::to_string(i));
        }
    }
}

template <int Spatial>
void check_all_taps(const Image& image, std::array<int, 3> filter, int stride, int dilation, int pad, Swizzle swizzle,
                    int first = 5, bool as_half = false) {
    for (int t = 0; t < filter[2]; ++t) {
        for (int r = 0; r < filter[1]; ++r) {
            for (int s = 0; s < filter[0]; ++s) {
                check_im2col<Spatial>(image, filter, stride, dilation, pad, swizzle, {s, r, t}, first, as_half);
            }
        }
    }
}

// Stores numbered floats into the box at p, and checks that everything outside the box stays as it was.
template <int Rank>
void check_store(std::array<int, 5> size, std::array<uint32_t, 5> box, Swizzle swizzle, const Position<Rank>& p) {
    Image image(size);
    const Image before = image;
    const DeviceArray<float> values(image.values);
    TiledLayout layout;
    layout.tensor = image.view(Rank, values.data());
    layout.box = box;
    layout.swizzle = swizzle;
    int floats = 1;
    for (int i = 0; i < Rank; ++i) floats *= static_cast<int>(box[i]);
    std::vector<uint8_t> raw(static_cast<size_t>(floats) * 4);  // shared memory holds the floats -1, -2, -3, ...
    for (int i = 0; i < floats; ++i) {
        const float v = static_cast<float>(-1 - i);
        std::memcpy(&raw[i * 4], &v, 4);
    }
    const auto expected = testing::unswizzled(raw, swizzle);
    const DeviceArray<uint8_t> source(raw);
    launch(store_box<Rank>, {dim3(1), dim3(64), sizeof(BoxSmem)}, nullptr, encode(layout), p, source.data(),
           floats * 4);
    image.values = values.download();
    std::vector<bool> written(image.values.size());
    for (int i = 0; i < floats; ++i) {
        int rest = i;
        std::array<int, 5> x{};
        for (int axis = 0; axis < Rank; ++axis) {
            x[axis] = p.at[axis] + rest % static_cast<int>(box[axis]);
            rest /= static_cast<int>(box[axis]);
        }
        if (!image.inside(x)) continue;
        written[image.index(x)] = true;
        testing::expect_equal(image.at(x), expected[i], "stored " + at_text(i));
    }
    for (size_t i = 0; i < written.size(); ++i) {
        if (!written[i]) testing::expect_equal(image.values[i], before.values[i], "untouched " + at_text(i));
    }
}

}  // namespace checks
