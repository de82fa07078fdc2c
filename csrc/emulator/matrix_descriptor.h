// Decodes the 64-bit matrix descriptor, by which wgmma finds an operand in shared memory (PTX ISA, "Matrix
// descriptor"). The canonical layouts are as CUTLASS states them (make_gmma_desc in
// cute/atom/mma_traits_sm90_gmma.hpp). With T elements in 16 bytes and S bytes in a swizzled row, element (mn, k) lies
// at
//
//     K-major,  no swizzle: mn/8 * stride + mn%8 * 16 + k/T * leading + k%T * size
//     K-major,  swizzle:    mn/8 * stride + mn%8 * S  + k * size
//     MN-major, no swizzle: mn/T * stride + mn%T * size + k/8 * leading + k%8 * 16
//     MN-major, swizzle:    mn/(S/size) * leading + mn%(S/size) * size + k/8 * stride + k%8 * S
//
// from the start address, and the swizzle then permutes the bits of the sum. CUTLASS, ThunderKittens and the PTX ISA
// agree on the two MN-major lines; no GPU has run them yet. (One public note exchanges leading and stride there.)
#pragma once
#include <cstdint>

#include "../device/tensor_layout.h"

namespace convgpu::emulator {

class MatrixDescriptor {
public:
    // The fields are bits 0-13: start address, 16-29: leading, 32-45: stride (all three in units of 16 bytes), 49-51:
    // base offset, 62-63: swizzle.
    MatrixDescriptor(uint64_t bits, bool mn_major, uint32_t element_size)
        : start_(field(bits, 0)),
          leading_(field(bits, 16)),
          stride_(field(bits, 32)),
          base_offset_(static_cast<uint32_t>(bits >> 49 & 7)),
          swizzle_(static_cast<Swizzle>(bits >> 62)),
          mn_major_(mn_major),
          size_(element_size) {}

    // The swizzle's pattern must begin at a multiple of its own length. For patterns that begin elsewhere, hardware has
    // base offsets other than 0.
    bool has_base_offset() const { return base_offset_ != 0; }
    bool mn_major() const { return mn_major_; }

    uint32_t address(uint32_t mn, uint32_t k) const {
        const uint32_t row = swizzle_bytes(swizzle_), per_chunk = 16 / size_, per_row = row / size_;
        uint32_t a = start_;
        if (!mn_major_) {
            a += mn / 8 * stride_ + mn % 8 * row;
            a += swizzle_ == Swizzle::kNone ? k / per_chunk * leading_ + k % per_chunk * size_ : k * size_;
        } else if (swizzle_ == Swizzle::kNone) {
            a += mn / per_chunk * stride_ + mn % per_chunk * size_ + k / 8 * leading_ + k % 8 * 16;
        } else {
            a += mn / per_row * leading_ + mn % per_row * size_ + k / 8 * stride_ + k % 8 * row;
        }
        return a ^ (a >> 3 & (row - 16));
    }

private:
    static uint32_t field(uint64_t bits, int shift) { return static_cast<uint32_t>(bits >> shift & 0x3fff) << 4; }

    uint32_t start_, leading_, stride_, base_offset_;
    Swizzle swizzle_;
    bool mn_major_;
    uint32_t size_;
};

}  // namespace convgpu::emulator
