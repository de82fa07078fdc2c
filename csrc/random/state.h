// The state of a generator, which lies in the device's memory: kernels read it there, and write the state that follows
// into other memory, so that neither a draw nor a captured graph of draws asks the host.
#pragma once
#include "philox.h"

namespace convgpu::random {

// Where a call finds its state, and where it leaves the next one. The state is three words of 64 bits (the seed, the
// stream, and how many blocks have been drawn) or, with `keyed`, two of 32 bits, as Keras's seeds are: the stream, and
// a seed, which each call makes larger by 1. Their blocks are drawn from the first one on.
struct StateAt {
    const void* from;
    void* next;
    uint64_t blocks;  // how many blocks the call draws
    bool keyed;

    __device__ __forceinline__ State load() const {
        if (keyed) {
            const auto* words = static_cast<const uint32_t*>(from);
            return {words[1], words[0], 0};
        }
        const auto* words = static_cast<const uint64_t*>(from);
        return {words[0], words[1], words[2]};
    }

    // Writes the next state. One thread of the grid calls it.
    __device__ __forceinline__ void advance(const State& state) const {
        if (keyed) {
            auto* words = static_cast<uint32_t*>(next);
            words[0] = static_cast<uint32_t>(state.stream);
            words[1] = static_cast<uint32_t>(state.seed) + 1;
            return;
        }
        auto* words = static_cast<uint64_t*>(next);
        words[0] = state.seed;
        words[1] = state.stream;
        words[2] = state.counter + blocks;
    }
};

}  // namespace convgpu::random
