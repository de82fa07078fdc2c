// The sums of a tile become results in boxes of shared memory, of which each warp has two. Box by box, the results go
// to global memory.
//
// A box has 16 rows x 32 columns of results, finished and rounded, in the order of TMA's swizzle. Where the rows of a
// result are at equal distances, one thread asks TMA to write the box, and its warp goes on to the next box and then to
// the next tile. Where they are not (the pixels of a phase of dgrad), the lanes of the warp write the box in vectors.
// Where the length of a row is no multiple of 16 bytes, they write it row by row.
//
// A result has the members that tile/output.h lists: row(m) finishes sums, and put(m, n, vector) writes finished
// results.
#pragma once
#include <limits>

#include "../tile/output.h"
#include "operand.h"

namespace convgpu::hopper {

constexpr int kBoxRows = 16, kBoxColumns = 32;  // a warp owns 16 rows

struct Box {
    alignas(1024) char bytes[kBoxRows * kBoxColumns * sizeof(float)];
};

template <class R>
constexpr int kBoxLine = kBoxColumns * sizeof(R);  // the bytes of a row, as long as a line of the swizzle

// Returns the address of an element in the box. The swizzle exchanges the 16-byte pieces of a line, depending on the
// higher bits of their address.
template <class R>
__device__ __forceinline__ R* in_box(Box& box, int row, int column) {
    const uint32_t at = static_cast<uint32_t>(row * kBoxLine<R> + column * static_cast<int>(sizeof(R)));
    return reinterpret_cast<R*>(box.bytes + (at ^ (at >> 3 & (kBoxLine<R> - 16))));
}

// Describes how results lie in memory: each of `items` has `stacks`, and each of these has `rows`. The distances from
// one row, stack or item to the next are in elements.
struct ResultLayout {
    int64_t columns, rows, stacks, items;
    int64_t to_row, to_stack, to_item;
};

// The map by which TMA writes such results, if TMA can do so.
struct ResultMap {
    TensorMap map;
    Divisor by_stack;  // the number of rows of the tiles in a stack, which is at least that of the stack
    bool exists = false;

    // Starts to write the box whose first row is m and whose first column is n. Nothing is written beyond the edges.
    __device__ __forceinline__ void write(Box& box, int m, int n, int item) const {
        auto stack = static_cast<uint32_t>(m);
        const auto row = static_cast<int>(by_stack.short_split(stack));
        ptx::tma_store(&map, ptx::smem_addr(&box), {n, row, static_cast<int>(stack), item});
        ptx::tma_store_commit();
    }
};

// `even` tells whether the rows of the result are at equal distances.
template <class R>
ResultMap map_of(const R* data, const ResultLayout& l, int64_t rows_of_stack, bool even = true) {
    constexpr ElementType type = std::is_same_v<R, float> ? ElementType::kFloat32 : kElementType<R>;
    TiledLayout layout;
    layout.tensor = {data, type, 4, {}, {}};
    layout.box = {kBoxColumns, kBoxRows, 1, 1};
    layout.swizzle = kBoxLine<R> == 128 ? Swizzle::k128B : Swizzle::k64B;
    const int64_t sizes[] = {l.columns, l.rows, l.stacks, l.items};
    const int64_t distances[] = {1, l.to_row, l.to_stack, l.to_item};
    bool fits = even && reinterpret_cast<uintptr_t>(data) % kVectorBytes == 0;
    for (int i = 0; i < 4; ++i) {
        const auto bytes = static_cast<uint64_t>(sizes[i] > 1 ? distances[i] : l.to_row) * sizeof(R);
        layout.tensor.size[i] = static_cast<uint64_t>(sizes[i]);
        layout.tensor.stride[i] = bytes;
        fits = fits && sizes[i] <= std::numeric_limits<int32_t>::max();
        fits = fits && (i == 0 || (bytes % kVectorBytes == 0 && bytes > 0 && bytes >> 40 == 0));
    }
    ResultMap result;
    result.by_stack = Divisor(static_cast<uint64_t>(rows_of_stack));
    result.exists = fits;
    if (fits) result.map = encode(layout);
    return result;
}

// A thread owns runs of two columns in an upper and in a lower row of a box. They are finished in parts, one part after
// the other.
constexpr int kRuns = 2, kBoxParts = kBoxColumns / (kRuns * tile::kApart);
using Runs = Vector<float, 2>[2][kRuns];

// Activates the values one at a time, and keeps them in `box`, in words that belong to the lane. If all were done at
// once, the code of the activations would be most of a kernel.
template <class Result>
__device__ __forceinline__ void activate_each(const Result& result, Runs (&parts)[kBoxParts], Box& box) {
    constexpr int kValues = sizeof parts / sizeof(float);
    static_assert(kValues * 32 * sizeof(float) <= sizeof(Box), "the values of a warp");
    const Activation activation = result.activation();
    if (activation == Activation::kNone) return;
    const auto value = [&parts](int i) -> float& { return parts[i / 8][i / 4 % 2][i / 2 % 2].at[i % 2]; };
    if (activation == Activation::kRelu) {
#pragma unroll
        for (int i = 0; i < kValues; ++i) value(i) = activate(Activation::kRelu, value(i));
        return;
    }
    float* own = reinterpret_cast<float*>(box.bytes) + threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < kValues; ++i) own[32 * i] = value(i);
#pragma unroll 1
    for (int i = 0; i < kValues; ++i) own[32 * i] = result.activate(own[32 * i]);
#pragma unroll
    for (int i = 0; i < kValues; ++i) value(i) = own[32 * i];
    __syncwarp();
}

// Writes the rows from m on and the columns from n on, at most `columns` of them, of one item of a result. The sums are
// those of a warp, and `box` tells which box was used last. `issues` is true in one lane, which asks TMA for all boxes
// of its warp, because only the thread that has asked can wait. Returns whether a sum was NaN.
template <int kTileN, class Result>
__device__ __forceinline__ bool leave(Box (&boxes)[2], int& box, const float (&sums)[kTileN / 2], const Result& result,
                                      const ResultMap& map, int m, int n, int item, int columns, bool issues) {
    using R = typename Result::Value;
    constexpr int V = kVectorBytes / sizeof(R), kVectors = kBoxColumns / V;
    const int lane = threadIdx.x % 32;
    const auto upper = result.row(m + lane / 4), lower = result.row(m + lane / 4 + 8);
    bool nan = false;
#pragma unroll
    for (int i = 0; i < kTileN / kBoxColumns; ++i, n += kBoxColumns) {
        if (i * kBoxColumns >= columns) break;
        box ^= 1;
        if (map.exists) {  // waits until TMA has read this box; only the other one may still be on its way
            if (issues) ptx::tma_store_wait_read<1>();
            __syncwarp();
        }
        Runs parts[kBoxParts];
#pragma unroll
        for (int part = 0; part < kBoxParts; ++part) {
            Runs& runs = parts[part];
#pragma unroll
            for (int j = 0; j < 2 * kRuns; ++j) {
                const int first = ((i * kBoxParts + part) * 2 * kRuns + j) * 2;
                runs[j % 2][j / 2] = {sums[first], sums[first + 1]};
                nan = nan || tile::has_nan(runs[j % 2][j / 2]);
            }
            const auto columns_of_runs =
                result.template columns<2, kRuns>(n + part * kRuns * tile::kApart + lane % 4 * 2);
            upper.finish(columns_of_runs, runs[0]);
            lower.finish(columns_of_runs, runs[1]);
        }
        activate_each(result, parts, boxes[box]);
#pragma unroll
        for (int j = 0; j < kBoxParts * 2 * kRuns; ++j) {
            const int run = j / 2;
            const Vector<float, 2>& pair = parts[run / kRuns][j % 2][run % kRuns];
            store(in_box<R>(boxes[box], lane / 4 + j % 2 * 8, run * tile::kApart + lane % 4 * 2),
                  Vector<R, 2>{static_cast<R>(pair.at[0]), static_cast<R>(pair.at[1])});
        }
        if (map.exists) ptx::fence_proxy_async();
        __syncwarp();
        if (map.exists) {
            if (issues) map.write(boxes[box], m, n, item);
            continue;
        }
        if (result.in_vectors()) {
#pragma unroll 1
            for (int at = lane; at < kBoxRows * kVectors; at += 32) {
                const int row = at / kVectors, column = at % kVectors * V;
                result.put(m + row, n + column, load<V>(in_box<R>(boxes[box], row, column)));
            }
        } else {
            static_assert(kBoxColumns == 32, "a lane for each");
#pragma unroll 1
            for (int row = 0; row < kBoxRows; ++row) {
                result.put(m + row, n + lane, load<1>(in_box<R>(boxes[box], row, lane)));
            }
        }
        __syncwarp();
    }
    return nan;
}

}  // namespace convgpu::hopper
