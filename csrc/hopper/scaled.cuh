// Converts float32 to scaled float16 (scaled.h), in two passes over a factor. The first finds the largest element of
// each range. The second writes the halves, and counts how many elements each range loses.
//
// A warp owns a task, which is some lines x some vectors of 8 columns. Its lanes stand side by side in a line, or in
// several lines where these are short. A thread owns vectors, or lines, of the task at equal distances. Layouts:
// x[item][line][column] with distances between lines and items; high and low have the same layout without gaps, with
// lines rounded up to whole vectors and filled with zeros. Assumes nothing of x; its vectors are loaded whole where its
// lines are aligned. The order of summation does not matter, since a maximum and a count come out the same in any
// order.
#pragma once
#include "scaled.h"

namespace convgpu::hopper {

constexpr int kScaleThreads = 256, kScaleVector = 8;
using ScaleVector = Vector<float, kScaleVector>;

// Says how a factor is cut into tasks for warps.
struct Tasks {
    int lanes = 32;              // lanes side by side in a line; a power of two
    int lines = 1, vectors = 1;  // the size of a task
    bool aligned = false;        // whether whole vectors of x can be loaded
    Divisor along, down;         // the number of tasks along a line, and of tasks below each other in an item
    Divisor by_ranges;
    uint64_t count = 0;
};

// A vector of x: where it lies, and the range of its first element. The ranges of neighbouring elements are `step`
// apart.
struct Place {
    int64_t line, column;  // counts the lines of all items
    Range* range;
    int step;
};

// The pass that finds the largest finite |x| of each range.
struct FindLargest {
    static __device__ __forceinline__ void visit(const ScaledFactor&, const Place&, const ScaleVector& x,
                                                 uint32_t (&found)[kScaleVector]) {
#pragma unroll
        for (int v = 0; v < kScaleVector; ++v) {
            const uint32_t bits = __float_as_uint(x.at[v]) & 0x7fffffffu;
            if (bits < 0x7f800000u && bits > found[v]) found[v] = bits;
        }
    }
    static __device__ __forceinline__ uint32_t both(uint32_t a, uint32_t b) { return a > b ? a : b; }
    static __device__ __forceinline__ void keep(Range& range, uint32_t found) {
        if (found > 0) atomicMax(&range.largest, found);
    }
};

// The pass that writes the halves, and counts the elements that they lose.
struct WriteHalves {
    static __device__ __forceinline__ void visit(const ScaledFactor& scaled, const Place& place, const ScaleVector& x,
                                                 uint32_t (&found)[kScaleVector]) {
        Vector<__half, kScaleVector> high, low;
        int scale = scale_of(*place.range);
#pragma unroll
        for (int v = 0; v < kScaleVector; ++v) {
            if (v > 0 && place.step > 0 && place.column + v < scaled.from.length) scale = scale_of(place.range[v]);
            const float value = times_power_of_two(x.at[v], scale);
            high.at[v] = static_cast<__half>(value);
            low.at[v] = static_cast<__half>((value - static_cast<float>(high.at[v])) * kLow);
            if (x.at[v] != 0 && fabsf(value) < kLeastHeld) ++found[v];
        }
        const int64_t at = place.line * scaled.from.pitch() + place.column;
        store(scaled.high + at, high);
        if (scaled.low) store(scaled.low + at, low);
    }
    static __device__ __forceinline__ uint32_t both(uint32_t a, uint32_t b) { return a + b; }
    static __device__ __forceinline__ void keep(Range& range, uint32_t found) {
        if (found > 0) atomicAdd(&range.lost, found);
    }
};

__device__ __forceinline__ ScaleVector load_columns(const Factor& f, bool aligned, const float* line, int64_t column) {
    if (aligned && column + kScaleVector <= f.length) return load<kScaleVector>(line + column);
    ScaleVector x{};
#pragma unroll
    for (int v = 0; v < kScaleVector; ++v) {
        if (column + v < f.length) x.at[v] = line[column + v];
    }
    return x;
}

template <class Pass>
__device__ __forceinline__ void run_task(const ScaledFactor& scaled, const Tasks& tasks) {
    const Factor& f = scaled.from;
    // `item` first counts the tasks. Once the task's place in its item is split off, it is an item of the factor.
    uint64_t item = uint64_t(blockIdx.x) * (kScaleThreads / 32) + threadIdx.x / 32;
    if (item >= tasks.count) return;
    const int lane = threadIdx.x % 32, in_line = lane % tasks.lanes;
    const auto first_column = static_cast<int64_t>(tasks.along.split(item)) * tasks.vectors * kScaleVector;
    const auto first_line = static_cast<int64_t>(tasks.down.split(item)) * tasks.lines;
    const auto all_before = static_cast<int64_t>(item) * f.lines;
    Range* range = nullptr;
    uint32_t found[kScaleVector] = {};
    for (int i = lane / tasks.lanes; i < tasks.lines && first_line + i < f.lines; i += 32 / tasks.lanes) {
        const int64_t line = first_line + i;
        const float* from = f.x + static_cast<int64_t>(item) * f.item_stride + line * f.stride;
        uint64_t number = static_cast<uint64_t>(all_before + line);
        if (f.along) range = scaled.range + tasks.by_ranges.split(number);
        for (int j = in_line; j < tasks.vectors; j += tasks.lanes) {
            const int64_t column = first_column + int64_t(j) * kScaleVector;
            if (column >= f.length) break;
            if (!f.along) range = scaled.range + static_cast<int64_t>(item) * f.length + column;
            Pass::visit(scaled, {all_before + line, column, range, f.along ? 0 : 1},
                        load_columns(f, tasks.aligned, from, column), found);
        }
    }
    // All lanes in one line have found something for the same range. Or lanes in the same columns have found something
    // for the same eight ranges.
    if (f.along) {
#pragma unroll
        for (int v = 1; v < kScaleVector; ++v) found[0] = Pass::both(found[0], found[v]);
    }
    for (int bit = f.along ? 1 : tasks.lanes; bit < (f.along ? tasks.lanes : 32); bit *= 2) {
#pragma unroll
        for (int v = 0; v < kScaleVector; ++v) {
            if (v > 0 && f.along) break;
            found[v] = Pass::both(found[v], __shfl_xor_sync(0xffffffffu, found[v], bit));
        }
    }
    if (range == nullptr || (f.along ? in_line : lane / tasks.lanes) > 0) return;
#pragma unroll
    for (int v = 0; v < kScaleVector; ++v) {
        const int64_t column = first_column + int64_t(in_line) * kScaleVector + v;
        if (f.along ? v == 0 : column < f.length) Pass::keep(range[v], found[v]);
    }
}

// Runs a pass over both factors of a product. Each row of the grid has one factor.
template <class Pass>
__global__ void __launch_bounds__(kScaleThreads)
    over_ranges(const __grid_constant__ ScaledFactor a, const __grid_constant__ Tasks of_a,
                const __grid_constant__ ScaledFactor b, const __grid_constant__ Tasks of_b) {
    blockIdx.y == 0 ? run_task<Pass>(a, of_a) : run_task<Pass>(b, of_b);
}

__global__ void __launch_bounds__(kScaleThreads) clear_words(uint32_t* words, uint64_t count) {
    const uint64_t i = uint64_t(blockIdx.x) * kScaleThreads + threadIdx.x;
    if (i < count) words[i] = 0;
}

}  // namespace convgpu::hopper
