// Dropout of every element, with the mask made on the way: y[i] = x[i] * (kept ? scale : 0).
//
// A thread owns a part of the elements. Word i % 4 of block i / 4 decides on element i.
// Layouts: without gaps.
// Half types are computed in float32 and rounded once.
// Order: nothing is added.
#include "../threads.h"
#include "lanes.h"
#include "philox.h"
#include "table.h"

namespace convgpu::cpu::CONVGPU_ISA {

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
