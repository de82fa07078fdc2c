#include "geometry.h"

#include <algorithm>
#include <initializer_list>
#include <stdexcept>
#include <tuple>

namespace convgpu {
namespace {

// Pixels are counted in 32 bits along each axis. The limit leaves room for a window beyond either end.
constexpr int64_t kLongestAxis = int64_t(1) << 30;

Shape image_shape(int64_t batch, const Shape& size, int64_t channels, bool channels_last) {
    Shape shape{batch};
    if (!channels_last) shape.push_back(channels);
    shape.insert(shape.end(), size.begin(), size.end());
    if (channels_last) shape.push_back(channels);
    return shape;
}

int64_t product(const Shape& shape) {
    int64_t p = 1;
    for (const int64_t n : shape) p *= n;
    return p;
}

void require(const char* family, bool holds, const std::string& rule, int64_t got, int axis) {
    if (holds) return;
    throw std::invalid_argument(std::string(family) + " geometry: expected " + rule + ", got " + std::to_string(got) +
                                " along spatial axis " + std::to_string(axis));
}

void require_axes(const char* family, const Shape& size, std::initializer_list<const Shape*> options) {
    const size_t n = size.size();
    for (const Shape* option : options) {
        if (n < 1 || n > 3 || option->size() != n) {
            throw std::invalid_argument(std::string(family) +
                                        " geometry: expected 1 to 3 spatial axes, each with every option, got size " +
                                        text_of(size) + " and an option " + text_of(*option));
        }
    }
}

}  // namespace

int64_t output_size(int64_t n, int64_t f, int64_t stride, int64_t dilation, int64_t before, int64_t after) {
    const int64_t room = n + before + after - (dilation * (f - 1) + 1);
    return room < 0 ? 0 : room / stride + 1;
}

int64_t PoolGeometry::taps() const { return product(window); }
Shape PoolGeometry::x_shape() const { return image_shape(batch, size, channels, channels_last); }
Shape PoolGeometry::y_shape() const { return image_shape(batch, output, channels, channels_last); }

DType PoolGeometry::offset_dtype() const {
    return taps() <= 1 << 8 ? DType::kUInt8 : taps() <= 1 << 16 ? DType::kUInt16 : DType::kInt32;
}

void PoolGeometry::check() const {
    require_axes("pool", size, {&window, &stride, &before, &after, &dilation, &output});
    const auto require = [](bool holds, const std::string& rule, int64_t got, int axis) {
        convgpu::require("pool", holds, rule, got, axis);
    };
    int64_t taps = 1;
    for (int a = 0; a < rank(); ++a) {
        require(size[a] >= 0 && before[a] >= 0 && after[a] >= 0, "sizes and padding >= 0",
                std::min({size[a], before[a], after[a]}), a);
        require(window[a] >= 1 && stride[a] >= 1 && dilation[a] >= 1, "window, stride and dilation >= 1",
                std::min({window[a], stride[a], dilation[a]}), a);
        require(window[a] <= kLongestAxis / taps, "a window of at most 2^30 taps", window[a], a);
        taps *= window[a];
        const int64_t padded = size[a] + before[a] + after[a];
        require(padded <= kLongestAxis, "at most " + std::to_string(kLongestAxis) + " pixels with padding", padded, a);
        if (adaptive) {
            require(output[a] >= 1 && output[a] <= kLongestAxis, "an output of 1 to 2^30", output[a], a);
            require(window[a] <= size[a], "a window of at most " + std::to_string(size[a]), window[a], a);
            continue;
        }
        const int64_t last_tap = padded / dilation[a];  // cannot overflow, since dilation * (window - 1) < padded
        require(window[a] - 1 <= last_tap, "a window within its padded input of " + std::to_string(padded), window[a],
                a);
        const int64_t out = output_size(size[a], window[a], stride[a], dilation[a], before[a], after[a]);
        require(output[a] == out || output[a] == out + 1,
                "an output of " + std::to_string(out) + ", or one more to cover what is left over", output[a], a);
        require(output[a] <= 1 || output[a] - 1 <= (size[a] + before[a] - 1) / stride[a],
                "the last window to start in the input or the padding before it", output[a], a);
    }
}

bool operator==(const PoolGeometry& a, const PoolGeometry& b) {
    const auto all = [](const PoolGeometry& g) {
        return std::tie(g.batch, g.channels, g.size, g.window, g.stride, g.before, g.after, g.dilation, g.output,
                        g.adaptive, g.count_include_pad, g.channels_last);
    };
    return all(a) == all(b);
}

int64_t ConvGeometry::taps() const { return product(kernel); }
int64_t ConvGeometry::input_pixels() const { return product(size); }
int64_t ConvGeometry::output_pixels() const { return product(output); }
Shape ConvGeometry::x_shape() const { return image_shape(batch, size, channels, channels_last); }
Shape ConvGeometry::y_shape() const { return image_shape(batch, output, filters, channels_last); }

Shape ConvGeometry::w_shape() const {
    Shape shape = kernel;
    const Shape matrix = channels_last ? Shape{channels / groups, filters} : Shape{filters, channels / groups};
    shape.insert(channels_last ? shape.end() : shape.begin(), matrix.begin(), matrix.end());
    return shape;
}

bool ConvGeometry::padded() const {
    for (int a = 0; a < rank(); ++a) {
        const int64_t end = (output[a] - 1) * stride[a] - before[a] + dilation[a] * (kernel[a] - 1);
        if (output[a] > 0 && (before[a] > 0 || end >= size[a])) return true;
    }
    return false;
}

void ConvGeometry::check() {
    require_axes("conv", size, {&kernel, &stride, &before, &after, &dilation});
    if (batch < 0 || channels < 0 || filters < 0 || groups < 1 || channels % groups || filters % groups) {
        throw std::invalid_argument("conv geometry: expected groups that divide the channels and the filters, got " +
                                    std::to_string(groups) + " for " + std::to_string(channels) + " and " +
                                    std::to_string(filters) + " in a batch of " + std::to_string(batch));
    }
    output.clear();
    int64_t taps = 1;
    for (int a = 0; a < rank(); ++a) {
        const auto require = [a](bool holds, const std::string& rule, int64_t got) {
            convgpu::require("conv", holds, rule, got, a);
        };
        require(size[a] >= 0 && before[a] >= 0 && after[a] >= 0, "sizes and padding >= 0",
                std::min({size[a], before[a], after[a]}));
        require(kernel[a] >= 1 && stride[a] >= 1 && dilation[a] >= 1, "kernel, stride and dilation >= 1",
                std::min({kernel[a], stride[a], dilation[a]}));
        require(kernel[a] <= kLongestAxis / taps, "a filter of at most 2^30 taps", kernel[a]);
        taps *= kernel[a];
        const int64_t padded = size[a] + before[a] + after[a];
        require(padded <= kLongestAxis, "at most " + std::to_string(kLongestAxis) + " pixels with padding", padded);
        // A filter of one tap has no extent that could be dilated. A longer filter whose dilation is beyond the limit
        // gives no output.
        if (kernel[a] == 1) dilation[a] = 1;
        dilation[a] = std::min(dilation[a], kLongestAxis);
        stride[a] = std::min(stride[a], kLongestAxis);
        output.push_back(output_size(size[a], kernel[a], stride[a], dilation[a], before[a], after[a]));
    }
}

}  // namespace convgpu
