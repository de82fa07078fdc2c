// Depthwise wgrad: gw[t][r][s][k] = the sum of x * gy over all pixels of y. Each block takes one part of the pixels.
//
// A thread owns V neighbouring channels and kRows x kTaps taps of their filters. It walks down columns of gy that are
// kColumns pixels wide. A block owns `lanes` vectors of channels, a chunk of the taps, and a part of the rows of all
// columns. Its threads have different columns, and after at most kTermsOfThread products for each sum they add their
// sums up in shared memory. Layouts: x[n][d][h][w][c], gy[n][o][p][q][k], and the result or its parts
// [part][t][r][s][k]. Assumes that V divides the channels, and alignment to a vector of V elements (16 bytes at most).
// kStride > 0 assumes one filter for each channel, no dilation along w, and the stride kStride along w; along d and h
// any stride and dilation are allowed. kStride == 0 allows all of these along every axis, and each thread has one tap;
// if there are more filters than channels, V is 1. Order of summation: a thread adds its products row after row, at
// most kTermsOfThread of them; the sums of a block's threads are added in rising order, in groups of 16; these are
// added to the totals as they come, in blocks of 64, and the parts by sum_parts. Padding is skipped. Half types are
// summed in float32.
#pragma once
#include "../passes/sum_parts.cuh"
#include "problem.h"

namespace convgpu::conv {

constexpr int kTermsOfThread = 64;
template <int kStride>
constexpr int kWgradColumns = kStride == 2 ? 2 : 4;  // as many columns of a thread as registers hold

// Tells which block computes what. The pixels are cut into parts, the filter into chunks of taps, and the channels into
// blocks of `lanes` vectors. A block has one part, one chunk and one block of channels. Its threads share the work
// along x by vectors of channels, and along y by columns of gy.
struct DepthwiseWork {
    int parts, blocks_of_a_part, lanes;  // lanes is a power of two
    // `columns` counts the columns of all images. `rows` counts the rows of all columns, where the columns of one block
    // count as one.
    int64_t columns, rows;
    Divisor by_chunks[3], by_channel_blocks;  // chunks along s, r and t
    Divisor by_height, by_groups, by_depth;   // the rows of gy, the columns of an image, and the planes of gy
};

template <class A, int V, int kTapsOwned>
struct DepthwiseWgradMemory {
    A sums[2][kDepthwiseThreads * V];  // the two are used in turn, so that one barrier for each tap is enough
    BlockedSum<A, kTapsOwned> totals[kDepthwiseThreads];  // each thread has its own
};

template <class T, int V, int kRows, int kTaps, int kStride>
class DepthwiseWgrad {
    using A = Accumulator<T>;
    static constexpr int kTapsOwned = kRows * kTaps, kColumns = kWgradColumns<kStride>;

public:
    using Memory = DepthwiseWgradMemory<A, V, kTapsOwned>;

    __device__ DepthwiseWgrad(const DepthwiseProblem& p, const DepthwiseWork& work) : p_(p), work_(work) {
        uint64_t rest = blockIdx.x;
        s_ = static_cast<int>(work.by_chunks[0].split(rest)) * kTaps;
        r_ = static_cast<int>(work.by_chunks[1].split(rest)) * kRows;
        t_ = static_cast<int>(work.by_chunks[2].split(rest));
        channel_block_ = static_cast<int>(work.by_channel_blocks.split(rest)) * work.lanes * V;
        part_ = static_cast<int>(rest);
        if (kRows > 1) s_ = r_ = 0;  // the filter is one chunk; this line lets the compiler know it
        k_ = channel_block_ + static_cast<int>(threadIdx.x) * V;
    }

    __device__ __forceinline__ void run(const T* x, const T* gy, const PartOfResult<T>& gw, Memory& shared) {
        shared.totals[thread()] = {};
        int64_t row = work_.rows * part_ / work_.parts;
        for (int64_t left = work_.rows * (part_ + 1) / work_.parts - row; left > 0;) {
            A sums[kRows][kTaps][V] = {};
            for (int room = kTermsOfThread / kColumns; room > 0 && left > 0;) {
                auto block = static_cast<uint64_t>(row);
                const int top = static_cast<int>(work_.by_height.split(block)), below = p_.axis[1].result - top;
                int count = below < room ? below : room;
                if (left < count) count = static_cast<int>(left);
                add_rows(x, gy, block, top, count, sums);
                row += count, left -= count, room -= count;
            }
            reduce(sums, shared);
        }
        store_totals(shared.totals[thread()], gw);
    }

private:
    // Adds the products of `count` rows of gy, from row `top` on, in this thread's column. A block has several columns
    // side by side, and `block` is the number of this group of columns.
    __device__ __forceinline__ void add_rows(const T* x, const T* gy, uint64_t block, int top, int count,
                                             A (&sums)[kRows][kTaps][V]) const {
        uint64_t column = block * blockDim.y + threadIdx.y;
        if (k_ >= p_.channels || static_cast<int64_t>(column) >= work_.columns) return;
        const int q = static_cast<int>(work_.by_groups.split(column)) * kColumns;
        const int o = static_cast<int>(work_.by_depth.split(column));
        const auto n = static_cast<int64_t>(column);
        int d;
        if (!p_.axis[0].template source_of<Direction::kFprop>(o, t_, d)) return;
        const DepthwiseAxis &height = p_.axis[1], &width = p_.axis[2];
        const int first = q * width.stride - width.before + s_ * width.dilation;
        constexpr int kPixels = (kColumns - 1) * kStride + kTaps;
        const bool inside = kStride && first >= 0 && first + kPixels <= width.source && q + kColumns <= width.result;
        const int c = kStride ? k_ : static_cast<int>(p_.by_multiplier.short_quotient(k_));
        int h = top * height.stride - height.before + r_ * height.dilation;
        int64_t of_gy = p_.result_at(n, o, top, q, k_), of_x = p_.source_at(n, d, h, first, c);
        const int64_t next_gy = int64_t(width.result) * p_.channels, next_x = height.stride * p_.pitch();
        for (int row = 0; row < count; ++row, h += height.stride, of_gy += next_gy, of_x += next_x) {
            if (inside) {
                add_row<true, kColumns>(x, of_x, gy, of_gy, h, q, first, sums);
                continue;
            }
            // At a border each pixel is loaded before it is known whether it counts, and is held in a register until
            // then. Since registers are few, only two columns are done at a time.
            for (int j = 0; j < kColumns; j += 2) {
                if (q + j >= width.result) break;
                const int ahead = kStride ? j * kStride : j * width.stride;
                add_row<false, 2>(x, of_x + int64_t(ahead) * p_.source_channels, gy, of_gy + j * p_.channels, h, q + j,
                                  first + ahead, sums);
            }
        }
    }

    // Adds the products of kCount pixels of gy in one row, from column q on. The pixels of x that belong to them begin
    // at `of_x`, in row h and column `first`. kInside tells that all of these lie in the images.
    template <bool kInside, int kCount>
    __device__ __forceinline__ void add_row(const T* x, int64_t of_x, const T* gy, int64_t of_gy, int h, int q,
                                            int first, A (&sums)[kRows][kTaps][V]) const {
        constexpr int kPixels = kStride ? (kCount - 1) * kStride + kTaps : kCount;
        const DepthwiseAxis &height = p_.axis[1], &width = p_.axis[2];
        const T zero = static_cast<T>(0.0f);
        const int64_t next_row = height.dilation * p_.pitch();
        Vector<T, V> g[kCount];
#pragma unroll
        for (int j = 0; j < kCount; ++j) {
            g[j] = load_if<V>(kInside || q + j < width.result, gy + (of_gy + j * p_.channels), zero);
        }
#pragma unroll
        for (int r = 0; r < kRows; ++r, of_x += next_row) {
            if (!height.holds(h + r * height.dilation)) continue;
            const auto load_pixel = [&](int i) {
                const int64_t ahead = kStride ? i * p_.source_channels : int64_t(i) * width.stride * p_.source_channels;
                return load_if<V>(kInside || holds(q, first, i), x + (of_x + ahead), zero);
            };
            // All loads are issued here. Behind the branches below, each load would be waited for before the next.
            Vector<T, V> loaded[kInside ? 1 : kPixels];
#pragma unroll
            for (int i = 0; !kInside && i < kPixels; ++i) loaded[i] = load_pixel(i);
#pragma unroll
            for (int i = 0; i < kPixels; ++i) {
                if (!kInside && !holds(q, first, i)) continue;
                const auto pixel = kInside ? load_pixel(i) : loaded[kInside ? 0 : i];
#pragma unroll
                for (int j = 0; j < kCount; ++j) {
                    const int s = kStride ? i - j * kStride : 0;
                    if (s < 0 || s >= kTaps || (!kStride && i != j)) continue;
                    if (!kInside && q + j >= width.result) continue;
#pragma unroll
                    for (int v = 0; v < V; ++v) {
                        sums[r][s][v] += static_cast<A>(pixel.at[v]) * static_cast<A>(g[j].at[v]);
                    }
                }
            }
        }
    }

    // Tells whether pixel i of a row of x, counted from column `first`, lies in the image.
    __device__ __forceinline__ bool holds(int q, int first, int i) const {
        const DepthwiseAxis& width = p_.axis[2];
        if (kStride) return width.holds(first + i);
        return q + i < width.result && width.holds(first + i * width.stride);
    }

    // Adds the sums of all threads to the totals, tap after tap. The first threads of the block add up one channel
    // each, and each of them keeps its totals.
    __device__ __forceinline__ void reduce(const A (&sums)[kRows][kTaps][V], Memory& shared) {
        const int channels = work_.lanes * V, me = thread();
        A of_block[kTapsOwned];
#pragma unroll
        for (int tap = 0; tap < kTapsOwned; ++tap) {
            A* const written = shared.sums[tap % 2];
#pragma unroll
            for (int v = 0; v < V; ++v) written[me * V + v] = sums[tap / kTaps][tap % kTaps][v];
            __syncthreads();
            of_block[tap] = me < channels ? sum_in_groups(written + me, static_cast<int>(blockDim.y), channels) : A(0);
        }
        __syncthreads();  // the next call begins with the first buffer again
        shared.totals[me].add_each([&](int tap) { return of_block[tap]; });
    }

    __device__ __forceinline__ void store_totals(const BlockedSum<A, kTapsOwned>& totals,
                                                 const PartOfResult<T>& gw) const {
        const int me = thread(), k = channel_block_ + me;
        if (me >= work_.lanes * V || k >= p_.channels) return;
        const int64_t part = int64_t(part_) * p_.axis[0].taps;
#pragma unroll
        for (int tap = 0; tap < kTapsOwned; ++tap) {
            const int r = r_ + tap / kTaps, s = s_ + tap % kTaps;
            if (r >= p_.axis[1].taps || s >= p_.axis[2].taps) continue;
            const int64_t row = (part + t_) * p_.axis[1].taps + r;
            gw.put((row * p_.axis[2].taps + s) * p_.channels + k, totals[tap]);
        }
    }

    __device__ __forceinline__ int thread() const { return static_cast<int>(threadIdx.y * blockDim.x + threadIdx.x); }

    const DepthwiseProblem& p_;
    const DepthwiseWork& work_;
    int t_, r_, s_;          // the first tap that this thread owns
    int channel_block_, k_;  // the first channel of the block, and that of this thread
    int part_;
};

template <class T, int V, int kRows, int kTaps, int kStride>
__global__ void __launch_bounds__(kDepthwiseThreads, kDepthwiseResident)
    conv_wgrad_depthwise(const T* __restrict__ x, const T* __restrict__ gy, const __grid_constant__ PartOfResult<T> gw,
                         const __grid_constant__ DepthwiseProblem p, const __grid_constant__ DepthwiseWork work) {
    using Wgrad = DepthwiseWgrad<T, V, kRows, kTaps, kStride>;
    Wgrad(p, work).run(x, gy, gw, dyn_smem<typename Wgrad::Memory>());
}

template <class T, int V, int kRows, int kTaps, int kStride>
void launch_conv_wgrad_depthwise(const T* x, const T* gy, const PartOfResult<T>& gw, const DepthwiseProblem& p,
                                 const DepthwiseWork& work, Stream stream) {
    LaunchShape shape;
    shape.grid = dim3(static_cast<unsigned>(work.parts * work.blocks_of_a_part));
    shape.block = dim3(work.lanes, kDepthwiseThreads / work.lanes);
    shape.shared_bytes = sizeof(typename DepthwiseWgrad<T, V, kRows, kTaps, kStride>::Memory);
    launch(conv_wgrad_depthwise<T, V, kRows, kTaps, kStride>, shape, stream, x, gy, gw, p, work);
}

}  // namespace convgpu::conv
