// Philox4x32-10, of Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3" (2011): block i of four 32-bit words
// is a function of the state and of i alone. convgpu/philox.py has the same function for NumPy.
#pragma once
#include "../device/launch.h"

namespace convgpu::random {

// The key, the number of the sequence, and how many blocks of words have been drawn.
struct State {
    uint64_t seed, stream, counter;
};

constexpr int kWords = 4;  // of a block

struct Words {
    uint32_t at[kWords];

    // Word i of 64 bits, of two neighbouring words of which the first is the lower half.
    __device__ __forceinline__ uint64_t wide(int i) const { return at[2 * i] | uint64_t(at[2 * i + 1]) << 32; }
};

// Returns block `index` of the words that begin at the state's counter, which goes around at 2^64.
__device__ __forceinline__ Words philox(const State& state, uint64_t index) {
    const uint64_t counter = state.counter + index;
    uint32_t c0 = static_cast<uint32_t>(counter), c1 = static_cast<uint32_t>(counter >> 32);
    uint32_t c2 = static_cast<uint32_t>(state.stream), c3 = static_cast<uint32_t>(state.stream >> 32);
    uint32_t k0 = static_cast<uint32_t>(state.seed), k1 = static_cast<uint32_t>(state.seed >> 32);
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        const uint32_t upper0 = __umulhi(0xD2511F53u, c0), lower0 = 0xD2511F53u * c0;
        const uint32_t upper2 = __umulhi(0xCD9E8D57u, c2), lower2 = 0xCD9E8D57u * c2;
        c0 = upper2 ^ c1 ^ k0;
        c1 = lower2;
        c2 = upper0 ^ c3 ^ k1;
        c3 = lower0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return {{c0, c1, c2, c3}};
}

}  // namespace convgpu::random
