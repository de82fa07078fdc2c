// The affine step, residual and activation where the elements of one channel are neighbours in memory.
//
// A block owns kVectorsOfThread * kApplyThreads neighbouring vectors; a thread owns every kApplyThreads-th of these, of
// V elements each. Layouts: x and y [outer][row][channel][inner]. Assumes that V divides `inner`, and alignment to a
// vector. Order: nothing is added up.
#pragma once
#include "norm_apply_rows.cuh"

namespace convgpu::norm {

constexpr int kVectorsOfThread = 4;

// Says where a vector lies: its `outer` and its channel.
struct Places {
    Divisor by_vectors;  // divides by the vectors of a plane
    int64_t count;       // vectors of all planes

    __device__ __forceinline__ void find(int64_t i, const Problem& p, int64_t& o, int& channel) const {
        auto row = by_vectors.quotient(static_cast<uint64_t>(i));
        channel = static_cast<int>(p.by_channels.split(row));
        o = p.outer_of(static_cast<int64_t>(row));
    }
};

inline Places places_of(const Problem& p, int vector) {
    const int64_t vectors = p.inner / vector;
    return {Divisor(static_cast<uint64_t>(vectors)), p.outer * p.rows * p.channels * vectors};
}

inline LaunchShape shape_of(const Places& places) {
    constexpr int64_t kVectors = int64_t(kVectorsOfThread) * kApplyThreads;
    LaunchShape shape;
    shape.grid = dim3(static_cast<unsigned>((places.count + kVectors - 1) / kVectors));
    shape.block = dim3(kApplyThreads);
    return shape;
}

template <class T, int V>
__global__ void __launch_bounds__(kApplyThreads, 3)
    norm_apply_planes(const T* __restrict__ x, const T* __restrict__ residual, T* __restrict__ y,
                      const __grid_constant__ Given<Accumulator<T>> given, const __grid_constant__ Problem p,
                      Activation activation, const __grid_constant__ Places places) {
    using A = Accumulator<T>;
    const int64_t first = static_cast<int64_t>(blockIdx.x) * kVectorsOfThread * kApplyThreads + threadIdx.x;
    Vector<T, V> from[kVectorsOfThread], more[kVectorsOfThread];
#pragma unroll
    for (int k = 0; k < kVectorsOfThread; ++k) {
        const int64_t i = first + int64_t(k) * kApplyThreads;
        from[k] = load_if<V>(i < places.count, x + i * V, static_cast<T>(0.0f));
        more[k] = load_if<V>(residual && i < places.count, residual + i * V, static_cast<T>(0.0f));
    }
#pragma unroll
    for (int k = 0; k < kVectorsOfThread; ++k) {
        const int64_t i = first + int64_t(k) * kApplyThreads;
        if (i >= places.count) return;
        int64_t o;
        int channel;
        places.find(i, p, o, channel);
        Affine<A, 1> affine;
        affine.set(0, given, p, o, channel);
        store(y + i * V, finished<T, V>(from[k], more[k], residual != nullptr, activation,
                                        [&](int, A value) { return affine(0, value); }));
    }
}

template <class T, int V>
void launch_norm_apply_planes(const T* x, const T* residual, T* y, const Given<Accumulator<T>>& given, const Problem& p,
                              Activation activation, Stream stream) {
    const Places places = places_of(p, V);
    launch(norm_apply_planes<T, V>, shape_of(places), stream, x, residual, y, given, p, activation, places);
}

}  // namespace convgpu::norm
