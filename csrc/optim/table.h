// The table by which a kernel finds the arrays of its lists. Kernels' arguments hold 4 KB, and a network has hundreds
// of arrays, so the table lies in the workspace.
#pragma once
#include <algorithm>

#include "../common/vector.h"
#include "../device/launch.h"
#include "plan.h"

namespace convgpu::optim {

constexpr int kThreads = 256;  // the threads of a block
constexpr int kVector = 4;     // elements that a thread loads in one access where addresses allow it
constexpr int kLists = 8;      // the most lists that an op has

// What one block owns: the elements begin <= i < end of one array of each list.
struct Part {
    int64_t array, begin, end;
};

// A piece of an array, as the table names it.
struct Piece {
    uint32_t array, number;
};

struct Table {
    const Piece* pieces;     // one per block
    const int64_t* sizes;    // one per array
    void* const* addresses;  // of the arrays of the first list, then of the second, ...
    int64_t arrays, chunk;

    __device__ __forceinline__ Part part() const {
        const Piece piece = pieces[blockIdx.x];
        const int64_t begin = piece.number * chunk, size = sizes[piece.array];
        return {piece.array, begin, begin + chunk < size ? begin + chunk : size};
    }
    template <class T>
    __device__ __forceinline__ T* array(int list, const Part& part) const {
        return static_cast<T*>(addresses[list * arrays + part.array]);
    }
};

inline size_t table_bytes(const Plan& plan) {
    return static_cast<size_t>(plan.blocks) * sizeof(Piece) +
           plan.sizes.size() * (sizeof(int64_t) + kLists * sizeof(void*));
}

// Returns whether a thread may load or store kVector elements at once from p, or p is null.
template <class T>
__device__ __forceinline__ bool vector_aligned(const T* p) {
    constexpr size_t kBytes = sizeof(T) * kVector < kVectorBytes ? sizeof(T) * kVector : kVectorBytes;
    return reinterpret_cast<uintptr_t>(p) % kBytes == 0;
}

template <int V>
struct Width {
    static constexpr int value = V;
};

// Calls use(Width<V>{}, i) so that every element of the part is one of the V elements from i of one call. Neighbouring
// threads get neighbouring elements.
template <class Use>
__device__ __forceinline__ void each_vector(const Part& part, bool aligned, Use use) {
    int64_t scalars = part.begin;
    if (aligned) {
        scalars = part.begin + (part.end - part.begin) / kVector * kVector;
        for (int64_t i = part.begin + threadIdx.x * kVector; i < scalars; i += kThreads * kVector)
            use(Width<kVector>{}, i);
    }
    for (int64_t i = scalars + threadIdx.x; i < part.end; i += kThreads) use(Width<1>{}, i);
}

inline LaunchShape shape_of(const Plan& plan) {
    LaunchShape shape;
    shape.grid = dim3(static_cast<unsigned>(plan.blocks));
    shape.block = dim3(kThreads);
    return shape;
}

}  // namespace convgpu::optim
