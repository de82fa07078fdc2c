// The rows of a box: where each row lies in the tensor and in shared memory. Loads and stores share this file.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>

#include "tensor_map.h"

namespace convgpu::emulator {

using Position = std::array<int64_t, 5>;

// Calls row(r, position) for every row of the box along dimension 0, in the order of shared memory.
template <class Row>
void for_each_tiled_row(const TiledLayout& l, const Position& at, Row&& row) {
    std::array<uint32_t, 5> count{};
    uint32_t rows = 1;
    for (uint32_t i = 1; i < l.tensor.rank; ++i) rows *= count[i] = (l.box[i] + l.step[i] - 1) / l.step[i];
    for (uint32_t r = 0; r < rows; ++r) {
        Position p = at;
        uint32_t rest = r;
        for (uint32_t i = 1; i < l.tensor.rank; ++i) {
            p[i] += static_cast<int64_t>(rest % count[i]) * l.step[i];
            rest /= count[i];
        }
        row(r, p);
    }
}

// Calls row(r, position) for every row of an im2col box. The walk runs over the bounding box. The offset of the filter
// tap moves the access alone, not the walk.
template <class Row>
void for_each_im2col_row(const TensorMap& map, const Position& at, const std::array<int64_t, 3>& offset, Row&& row) {
    const TensorView& t = map.tiled.tensor;
    const uint32_t spatial = t.rank - 2;
    Position base = at;
    for (uint32_t r = 0; r < map.pixels; ++r) {
        Position p = base;
        for (uint32_t i = 0; i < spatial; ++i) p[i + 1] += offset[i];
        row(r, p);
        uint32_t axis = 0;
        for (; axis < spatial; ++axis) {
            int64_t& x = base[axis + 1];
            x += map.tiled.step[axis + 1];
            if (x < static_cast<int64_t>(t.size[axis + 1]) + map.upper[axis]) break;
            x = map.lower[axis];
        }
        if (axis == spatial) ++base[t.rank - 1];
    }
}

// One row of the box. `global` is null where the whole row lies outside the tensor. Otherwise its elements [first,
// last) lie inside.
struct BoxRow {
    uint8_t* global;
    int64_t first, last;
};

inline BoxRow locate(const TensorView& t, const Position& p, uint32_t width) {
    const auto inside = [&](uint32_t i) { return p[i] >= 0 && p[i] < static_cast<int64_t>(t.size[i]); };
    int64_t offset = p[0] * static_cast<int64_t>(t.stride[0]);
    for (uint32_t i = 1; i < t.rank; ++i) {
        if (!inside(i)) return {nullptr, 0, 0};
        offset += p[i] * static_cast<int64_t>(t.stride[i]);
    }
    const int64_t first = std::max<int64_t>(0, -p[0]);
    const int64_t last = std::min<int64_t>(width, static_cast<int64_t>(t.size[0]) - p[0]);
    if (first >= last) return {nullptr, 0, 0};
    return {static_cast<uint8_t*>(const_cast<void*>(t.base)) + offset, first, last};
}

// Permutes the 16-byte chunks of a row as the swizzle does, by XOR with the bits of the address from bit 7 up.
inline uint32_t swizzled(uint32_t address, Swizzle swizzle) {
    return address ^ (address >> 3 & (swizzle_bytes(swizzle) - 16));
}

inline uint32_t row_elements(const TensorMap& map) { return map.im2col ? map.channels : map.tiled.box[0]; }

inline uint32_t box_bytes(const TensorMap& map) {
    uint32_t bytes = row_elements(map) * element_bytes(map.tiled.tensor.type);
    if (map.im2col) return bytes * map.pixels;
    const TiledLayout& l = map.tiled;
    for (uint32_t i = 1; i < l.tensor.rank; ++i) bytes *= (l.box[i] + l.step[i] - 1) / l.step[i];
    return bytes;
}

}  // namespace convgpu::emulator
