// Plain statements of what TMA does, which share no code with the emulator: a channels-last image of numbered elements,
// and the boxes and im2col rows that one expects of it.
#pragma once
#include <array>
#include <cstdint>
#include <cstring>
#include <vector>

#include "../../csrc/device/tensor_layout.h"

namespace testing {

// An image of shape (C, W, H, D, N) whose unused dimensions have size 1. Its elements are the floats 1, 2, 3, ...
struct Image {
    std::array<int, 5> size;  // C, W, H, D, N
    std::vector<float> values;

    explicit Image(std::array<int, 5> s) : size(s), values(static_cast<size_t>(s[0]) * s[1] * s[2] * s[3] * s[4]) {
        for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i + 1);
    }
    size_t index(const std::array<int, 5>& p) const {
        return ((((static_cast<size_t>(p[4]) * size[3] + p[3]) * size[2] + p[2]) * size[1]) + p[1]) * size[0] + p[0];
    }
    bool inside(const std::array<int, 5>& p) const {
        for (int i = 0; i < 5; ++i) {
            if (p[i] < 0 || p[i] >= size[i]) return false;
        }
        return true;
    }
    float at(const std::array<int, 5>& p) const { return inside(p) ? values[index(p)] : 0; }

    // Describes the image as a tensor of `rank` dimensions: rank 1 is C alone, rank 2 is (C, W), and so on. `base` is
    // where kernels see the values.
    convgpu::TensorView view(uint32_t rank, const float* base) const {
        convgpu::TensorView t;
        t.base = base;
        t.type = convgpu::ElementType::kFloat32;
        t.rank = rank;
        uint64_t stride = 4;
        for (uint32_t i = 0; i < rank; ++i) {
            t.size[i] = static_cast<uint64_t>(size[i]);
            t.stride[i] = stride;
            stride *= t.size[i];
        }
        return t;
    }
    // Describes the image as an im2col tensor, (C, spatial..., N), whose last dimension is N whatever the rank.
    convgpu::TensorView channels_last_view(int spatial, const float* base) const {
        convgpu::TensorView t = view(5, base);
        t.rank = static_cast<uint32_t>(spatial + 2);
        t.size[spatial + 1] = static_cast<uint64_t>(size[4]);
        t.stride[spatial + 1] = 4 * index({0, 0, 0, 0, 1});
        return t;
    }
};

// Undoes the swizzle as the programming guide draws it, in lines of 128 bytes, which are 8 chunks of 16. A swizzle of
// 128 bytes keeps chunk j of line i at chunk j XOR i % 8. One of 64 bytes keeps it at j XOR i % 4, among 4 neighbours,
// and one of 32 bytes at j XOR i % 2, among 2.
inline std::vector<float> unswizzled(const std::vector<uint8_t>& raw, convgpu::Swizzle swizzle) {
    const size_t chunks = swizzle == convgpu::Swizzle::kNone ? 1 : convgpu::swizzle_bytes(swizzle) / 16;
    std::vector<float> values(raw.size() / 4);
    for (size_t chunk = 0; chunk < raw.size() / 16; ++chunk) {
        const size_t line = chunk / 8, kept_at = chunk ^ line % chunks;
        std::memcpy(&values[chunk * 4], &raw[kept_at * 16], 16);
    }
    return values;
}

}  // namespace testing
