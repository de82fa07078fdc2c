// Atomics that order memory, as PTX's atom.acq_rel does. Those of atomics.h do not, like CUDA's own functions.
#pragma once
#include <cstdint>

namespace convgpu::emulator {

// Adds 1 to *p, or sets it to 0 if it was `last` or more. Returns what it was before.
inline uint32_t atomic_inc(uint32_t* p, uint32_t last) {
    uint32_t before = __atomic_load_n(p, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(p, &before, before >= last ? 0 : before + 1, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_RELAXED)) {
    }
    return before;
}

}  // namespace convgpu::emulator
