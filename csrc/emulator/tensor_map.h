// The emulator's type in place of CUtensorMap.
#pragma once
#include "../device/tensor_layout.h"

namespace convgpu::emulator {

struct alignas(64) TensorMap {
    bool im2col = false;
    TiledLayout tiled;  // also holds the tensor, step, swizzle and fill of an im2col map
    std::array<int, 3> lower{}, upper{};
    uint32_t channels = 0, pixels = 0;
};

inline TensorMap encode(const TiledLayout& layout) {
    check(layout);
    TensorMap map;
    map.tiled = layout;
    map.tiled.tensor.stride[0] = element_bytes(layout.tensor.type);
    return map;
}

inline TensorMap encode(const Im2colLayout& layout) {
    check(layout);
    TensorMap map;
    map.im2col = true;
    map.tiled = {layout.tensor, {}, layout.step, layout.swizzle, layout.fill};
    map.tiled.tensor.stride[0] = element_bytes(layout.tensor.type);
    map.lower = layout.lower;
    map.upper = layout.upper;
    map.channels = layout.channels;
    map.pixels = layout.pixels;
    return map;
}

}  // namespace convgpu::emulator
