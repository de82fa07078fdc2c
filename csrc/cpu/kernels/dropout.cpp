// Dropout of every element, with the mask made on the way: y[i] = x[i] * (kept ? scale : 0).
//
// A thread owns a part of the elements, and computes the words of kBlocks blocks side by side. Philox4x32-10 as in
// csrc/random/philox.h and convgpu/generator.py; word i % 4 of block i / 4 decides on element i.
// Layouts: without gaps.
// Half types are computed in float32 and rounded once.
// Order: nothing is added.
#include "../threads.h"
#include "lanes.h"
#include "table.h"

namespace convgpu::cpu::CONVGPU_ISA {
namespace {

constexpr int kBlocks = 16, kWords = 4 * kBlocks;
constexpr int64_t kPart = 1 << 15;  // elements of a tile: whole groups of kWords

// The words of kBlocks blocks from `block` on; the counter goes around at 2^64.
CONVGPU_INLINE void draw(const RandomState& state, uint64_t block, uint32_t (&words)[kWords]) {
    uint32_t c[4][kBlocks];
    for (int b = 0; b < kBlocks; ++b) {
        const uint64_t counter = state.counter + block + b;
        c[0][b] = static_cast<uint32_t>(counter);
        c[1][b] = static_cast<uint32_t>(counter >> 32);
        c[2][b] = static_cast<uint32_t>(state.stream);
        c[3][b] = static_cast<uint32_t>(state.stream >> 32);
    }
    uint32_t key0 = static_cast<uint32_t>(state.seed), key1 = static_cast<uint32_t>(state.seed >> 32);
    for (int round = 0; round < 10; ++round) {
        for (int b = 0; b < kBlocks; ++b) {
            const uint64_t first = uint64_t(0xD2511F53u) * c[0][b], second = uint64_t(0xCD9E8D57u) * c[2][b];
            c[0][b] = static_cast<uint32_t>(second >> 32) ^ c[1][b] ^ key0;
            c[1][b] = static_cast<uint32_t>(second);
            c[2][b] = static_cast<uint32_t>(first >> 32) ^ c[3][b] ^ key1;
            c[3][b] = static_cast<uint32_t>(first);
        }
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    for (int b = 0; b < kBlocks; ++b) {
        for (int w = 0; w < 4; ++w) words[4 * b + w] = c[w][b];
    }
}

}  // namespace

template <class T>
void dropout(const DropoutCall& call) {
    using A = Accumulator<T>;
    constexpr int L = kLanes<A>;
    const T* const x = static_cast<const T*>(call.x);
    T* const y = static_cast<T*>(call.y);
    const A scale = static_cast<A>(call.scale);
    const auto least = static_cast<int32_t>(call.threshold);
    parallel_for(parts(call.size, kPart), call.threads, 0, [&](int64_t tile, char*) {
        const int64_t end = smaller(call.size, (tile + 1) * kPart);
        for (int64_t begin = tile * kPart; begin < end; begin += kWords) {
            uint32_t words[kWords];
            A factors[kWords];
            draw(call.state, static_cast<uint64_t>(begin) / 4, words);
            for (int i = 0; i < kWords; ++i) factors[i] = static_cast<int32_t>(words[i] >> 8) >= least ? scale : A(0);
            for (int i = 0; i < kWords && begin + i < end; i += L) {
                const int lanes = static_cast<int>(smaller<int64_t>(L, end - begin - i));
                write_lanes(y + begin + i, read_lanes(x + begin + i, lanes) * load(factors + i), lanes);
            }
        }
    });
}

CONVGPU_FOR_EACH_DTYPE(dropout, DropoutCall)

}  // namespace convgpu::cpu::CONVGPU_ISA
