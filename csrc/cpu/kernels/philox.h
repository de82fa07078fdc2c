// Philox4x32-10, as in csrc/random/philox.h and convgpu/philox.py: the words of kBlocks blocks are computed side by
// side.
#pragma once
#include "../calls/random.h"
#include "vector.h"

namespace convgpu::cpu::CONVGPU_ISA {

typedef uint64_t Wide __attribute__((vector_size(kVectorBytes)));  // a word of 32 bits in each lane

constexpr int kLanesWide = kVectorBytes / 8, kVectors = 16 / kLanesWide, kBlocks = 16, kWords = 4 * kBlocks;

// The products of 64 bits of the lower halves of the lanes.
CONVGPU_INLINE Wide product(Wide a, uint32_t b) {
#if defined(__AVX512F__)
    return (Wide)_mm512_maskz_mul_epu32(0xff, (__m512i)a, _mm512_set1_epi64(b));
#elif defined(__AVX2__)
    return (Wide)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi64x(b));
#else
    return (a & 0xffffffffu) * b;
#endif
}

// The words of kLanesWide blocks from `block` on, of which words[4 * b + w] is word w of block b. The counter goes
// around at 2^64. The upper halves of lanes hold what the products leave there, which nothing reads.
CONVGPU_INLINE void draw_vector(const RandomState& state, uint64_t block, uint32_t* words) {
    Wide counter;
    for (int b = 0; b < kLanesWide; ++b) counter[b] = state.counter + block + b;
    Wide c0 = counter, c1 = counter >> 32, c2 = Wide{} + state.stream, c3 = Wide{} + (state.stream >> 32);
    uint32_t key0 = static_cast<uint32_t>(state.seed), key1 = static_cast<uint32_t>(state.seed >> 32);
#pragma GCC unroll 10
    for (int round = 0; round < 10; ++round) {
        const Wide first = product(c0, 0xD2511F53u), second = product(c2, 0xCD9E8D57u);
        c0 = (second >> 32) ^ c1 ^ key0;
        c1 = second;
        c2 = (first >> 32) ^ c3 ^ key1;
        c3 = first;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    const Wide lower = (c0 & 0xffffffffu) | c1 << 32, upper = (c2 & 0xffffffffu) | c3 << 32;
    for (int b = 0; b < kLanesWide; ++b) {
        const uint64_t pairs[2] = {lower[b], upper[b]};
        for (int w = 0; w < 4; ++w) words[4 * b + w] = static_cast<uint32_t>(pairs[w / 2] >> w % 2 * 32);
    }
}
// The words of kBlocks blocks, in their order.
CONVGPU_INLINE void draw(const RandomState& state, uint64_t block, uint32_t* words) {
    for (int v = 0; v < kVectors; ++v) {
        const int b = v * kLanesWide;
        draw_vector(state, block + b, words + 4 * b);
    }
}

constexpr int64_t kPart = 1 << 15;  // elements of a tile: whole groups of kBlocks blocks

}  // namespace convgpu::cpu::CONVGPU_ISA
