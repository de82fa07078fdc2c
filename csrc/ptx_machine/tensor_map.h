// Tensor maps as this machine encodes them, in the 128 bytes of a CUtensorMap. The driver's own encoding is not
// published.
#pragma once
#include <cstdint>
#include <vector>

namespace convgpu::ptx {

constexpr uint32_t kTensorMapMark = 0x7e4504a9;

struct TensorMap {
    uint32_t mark = kTensorMapMark;
    uint8_t rank = 0, element = 0;  // bytes
    uint8_t swizzle = 0;            // 0 none, 1 32 bytes, 2 64 bytes, 3 128 bytes
    uint8_t nan_fill = 0, im2col = 0;
    uint8_t step[5] = {1, 1, 1, 1, 1};
    uint64_t base = 0;
    uint32_t size[5] = {1, 1, 1, 1, 1};  // the innermost dimension first
    uint32_t stride16[4] = {};           // of dimensions 1 and up, in units of 16 bytes
    uint16_t box[5] = {1, 1, 1, 1, 1};
    int16_t lower[3] = {}, upper[3] = {};  // of im2col, with its channels and pixels
    uint16_t channels = 0, pixels = 0;

    // Bytes that a copy brings, whether they lie in the tensor or not.
    uint32_t bytes() const {
        if (im2col) return uint32_t(pixels) * channels * element;
        uint32_t n = element;
        for (int d = 0; d < rank; ++d) n *= (box[d] + step[d] - 1u) / step[d];
        return n;
    }
};
static_assert(sizeof(TensorMap) <= 128);

struct TensorMapOptions {
    uint64_t base = 0;
    uint32_t element = 4;
    std::vector<uint64_t> sizes, strides;  // strides in bytes, of dimensions 1 and up
    std::vector<uint32_t> box, steps;
    std::vector<int> lower, upper;
    uint32_t channels = 0, pixels = 0;
    uint32_t swizzle_bytes = 0;
    bool nan_fill = false, im2col = false;
};

// Checks what cuTensorMapEncodeTiled and cuTensorMapEncodeIm2col check. Raises Error.
TensorMap encode(const TensorMapOptions& options);

// The address of a byte with the swizzle's bits changed (5.5.7).
inline uint32_t swizzled(uint32_t address, uint32_t swizzle) {
    return address ^ ((address >> 7) & ((1u << swizzle) - 1)) << 4;
}

}  // namespace convgpu::ptx
