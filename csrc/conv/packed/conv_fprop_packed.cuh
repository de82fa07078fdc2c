// fprop of few channels on Hopper's tensor cores, for half types and without groups (problem/fprop.h).
// Begin with packing.h, which says what patches, pairs and runs are.
//
// A block owns 64 or 128 filters, which it keeps in shared memory, and tiles of y, which are rectangles of 128 pixels
// and are computed one after the other. Each of its two warpgroups owns 64 pixels, and a warp owns 16.
// device/ptx/wgmma.h says which sums a thread owns, and thereby which pairs of the patch it loads. While a tile is
// multiplied, the patch of the next is copied. While one block loads pairs, others on the same multiprocessor multiply.
// Layouts: x[n][d][h][w][c], w[t][r][s][c][k], y[n][o][p][q][k]. Assumes nothing of their alignment. Order of
// summation: the runs of a window one after the other, 16 terms at a time in the tensor cores.
#pragma once
#include "../../hopper/operand.h"
#include "../problem/mend.h"
#include "patch.h"

namespace convgpu::conv {

// Copies the filters of the block's tile, from filter n on. Elements that are in a pair but in no run, and those beyond
// the last filter, become zero.
template <int kTileN, class T>
__device__ __forceinline__ void write_filters(const PackedMemory<T, kTileN>& memory, const Fprop<T>& p, int n) {
    constexpr int V = 8, kPerLine = kTileN / V;
    const Packing& packing = memory.packing;
    const bool vectors = p.filters % V == 0 && reinterpret_cast<uintptr_t>(p.w) % kVectorBytes == 0;
#pragma unroll 1
    for (int at = threadIdx.x; at < packing.depth * kPerLine; at += kPackedThreads) {
        const int k = at / kPerLine, column = at % kPerLine * V;
        auto run = static_cast<uint32_t>(k / 2);
        const int pair = static_cast<int>(packing.by_pairs.short_split(run));
        const int in_run = pair * 2 + k % 2 - packing.lead;
        const bool inside = static_cast<int>(run) < packing.runs && in_run >= 0 && in_run < packing.run;
        const T* from = p.w + (int64_t(run) * packing.run + in_run) * p.filters + n + column;
        Vector<T, V> filters{};
        if (inside && vectors && n + column < p.N) {
            filters = load<V>(from);
        } else if (inside) {
#pragma unroll
            for (int v = 0; v < V; ++v) {
                if (n + column + v < p.N) filters.at[v] = from[v];
            }
        }
        unsigned char* const line = memory.filters() + column / 64 * memory.panel_bytes() + k * memory.kLine;
        store(reinterpret_cast<T*>(line + ((column % 64 / V) ^ (k % 8)) * kVectorBytes), filters);
    }
}

// Writes the table that tells where each pair of a window lies in a patch.
template <int kTileN, class T>
__device__ __forceinline__ void write_places(const PackedMemory<T, kTileN>& memory, const Windows& x) {
    const Packing& packing = memory.packing;
    for (int i = threadIdx.x; i < packing.depth / 4; i += kPackedThreads) {
        uint32_t places = 0;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            auto tap = static_cast<uint32_t>(i / 4 * 8 + half * 4 + i % 4);
            const auto in_run = packing.by_pairs.short_split(tap);
            if (static_cast<int>(tap) >= packing.runs) continue;  // any pair will do, since its weights are zeros
            const uint32_t s = packing.lines_of_filter ? 0 : x.w.by_taps.short_split(tap);
            const uint32_t r = x.h.by_taps.short_split(tap);
            const uint32_t line = tap * packing.lines + r * x.h.step;
            const uint32_t place = line * packing.line_bytes + s * x.w.step * packing.pixel_bytes + in_run * 4;
            places |= place << 16 * half;
        }
        memory.places()[i] = places;
    }
}

// Writes what stays the same as long as the block lives: filters, places and bias. It also fills the patches with
// zeros, which stay in the gaps between the pieces that are copied later.
template <int kTileN, class T>
__device__ __forceinline__ void prepare(const PackedMemory<T, kTileN>& memory, const Fprop<T>& p, int n) {
    write_filters(memory, p, n);
    write_places(memory, p.windows);
    for (int i = threadIdx.x; i < kTileN; i += kPackedThreads) {
        const bool biased = p.epilogue.c && !p.folded && n + i < p.N;
        memory.bias()[i] = biased ? static_cast<float>(p.epilogue.c[n + i]) : 0.0f;
    }
    for (int i = threadIdx.x; i < 2 * memory.packing.patch_bytes() / kVectorBytes; i += kPackedThreads) {
        store(reinterpret_cast<uint32_t*>(memory.patch(0)) + 4 * i, Vector<uint32_t, 4>{});
    }
}

// Loads a warp's share of the first factor, for kPackedStep elements of the depth. Each thread loads the pairs of two
// windows, whose pixels are 8 apart. The windows start at `pixel` and `later`.
__device__ __forceinline__ void gather(uint32_t (&a)[2][4], uint32_t places, uint32_t pixel, uint32_t later) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        const uint32_t place = ptx::ld_shared(places + i * hopper::kStep * kPlaceBytes), first = place & 0xffff,
                       second = place >> 16;
        a[i][0] = ptx::ld_shared(pixel + first);
        a[i][1] = ptx::ld_shared(later + first);
        a[i][2] = ptx::ld_shared(pixel + second);
        a[i][3] = ptx::ld_shared(later + second);
    }
}

// Computes the sums of a warpgroup's 64 pixels. `pixel` and `later` tell where this thread's two windows start.
template <int kTileN, class T>
__device__ __forceinline__ void multiply(const PackedMemory<T, kTileN>& memory, uint32_t pixel, uint32_t later,
                                         float (&sums)[kTileN / 2]) {
    constexpr int kBytes = hopper::kStep * memory.kLine;  // bytes of the filters that one instruction reads
    const int steps = memory.packing.depth / kPackedStep;
    uint32_t places = ptx::smem_addr(memory.places() + threadIdx.x % 4);
    uint64_t b = ptx::matrix_descriptor(ptx::smem_addr(memory.filters()), memory.panel_bytes(), 8 * memory.kLine,
                                        Swizzle::k128B);
#pragma unroll
    for (float& sum : sums) sum = 0;
#pragma unroll 1
    for (int step = 0; step < steps; ++step) {
        uint32_t a[2][4];
        gather(a, places, pixel, later);
        ptx::wgmma_fence();
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            ptx::wgmma<T, kTileN, true>(sums, a[i], hopper::advanced(b, i * kBytes), true);
        }
        ptx::wgmma_commit();
        ptx::wgmma_wait<0>();
        b = hopper::advanced(b, 2 * kBytes);
        places += kPackedStep * kPlaceBytes;
    }
}

// Transposes a matrix of 4 x 4 words. Each of the four lanes of a quad holds one column.
__device__ __forceinline__ void transpose_quad(uint32_t (&word)[4]) {
#pragma unroll
    for (int bit = 1; bit <= 2; bit *= 2) {
        const bool upper = threadIdx.x & bit;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            if (i & bit) continue;
            const uint32_t got = __shfl_xor_sync(0xffffffffu, upper ? word[i] : word[i + bit], bit);
            (upper ? word[i] : word[i + bit]) = got;
        }
    }
}

// Activates all values, and asks only once which activation it is. The loop over so few values can be unrolled; the one
// in hopper/results.h has too many.
template <bool kNormed, int kCount>
__device__ __forceinline__ void activate_all(Activation activation, float (&values)[kCount]) {
    if (activation == Activation::kRelu) {
#pragma unroll
        for (float& value : values) value = activate(Activation::kRelu, value);
    } else if (activation != Activation::kNone) {
#pragma unroll
        for (float& value : values) value = kNormed ? activate_any(activation, value) : activate(activation, value);
    }
}

// Turns sums of 32 filters, from filter n on, into what a normalisation makes of them: factor and shift of each filter,
// and the residual of a thread's two rows. The order of the values is that of write_pixels.
template <int kCount, class T>
__device__ __forceinline__ void normalise(const Fprop<T>& p, const int (&rows)[2], int n, float (&values)[kCount]) {
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
        const int column = n + j / 4 * 8 + threadIdx.x % 4 * 2 + j % 2, row = rows[j / 2 % 2];
        if (column >= p.N) continue;
        const auto pair = load<2>(p.folded + 2 * column);
        values[j] = values[j] * pair.at[0] + pair.at[1];
        if (p.epilogue.c && row >= 0) values[j] += static_cast<float>(p.epilogue.c[row * p.filters + column]);
    }
}

// Writes the warp's rows of y from filter n on, and returns whether there is a NaN among the sums. A thread has two of
// the rows. A quad of lanes exchanges 32 filters at a time; after that, each lane has eight neighbours that it can
// write at once.
template <bool kNormed, int kTileN, class T>
__device__ __forceinline__ bool write_pixels(const float (&sums)[kTileN / 2], const float* bias, const Fprop<T>& p,
                                             const int (&rows)[2], int n) {
    constexpr int kFilters = 32, V = 8, kSums = kFilters / 2;
    const int t = threadIdx.x % 4;
    bool nan = false;
#pragma unroll
    for (int turn = 0; turn < kTileN / kFilters; ++turn) {
        if (n + turn * kFilters >= p.N) break;
        float values[kSums];
#pragma unroll
        for (int j = 0; j < kSums; ++j) values[j] = sums[turn * kSums + j];
#pragma unroll
        for (int j = 0; j < kSums; j += 4) {
            const auto offset = load<2>(bias + turn * kFilters + j / 4 * V + t * 2);
#pragma unroll
            for (int i = j; i < j + 4; ++i) {
                nan = nan || values[i] != values[i];
                values[i] += offset.at[i % 2];
            }
        }
        if constexpr (kNormed) normalise(p, rows, n + turn * kFilters, values);
        activate_all<kNormed>(p.epilogue.activation, values);
        const int first = n + turn * kFilters + t * V;
#pragma unroll
        for (int row = 0; row < 2; ++row) {
            uint32_t words[4];
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                uint16_t pair[2];
#pragma unroll
                for (int i = 0; i < 2; ++i) {
                    const auto value = static_cast<T>(values[j * 4 + row * 2 + i]);
                    memcpy(&pair[i], &value, sizeof value);
                }
                words[j] = __byte_perm(pair[0], pair[1], 0x5410);
            }
            transpose_quad(words);
            if (rows[row] < 0 || first >= p.N) continue;
            Vector<T, V> vector;
            memcpy(static_cast<void*>(&vector), words, sizeof vector);
            T* const to = p.y + rows[row] * p.filters + first;
            if (p.vectors) {
                store(to, vector);
                continue;
            }
#pragma unroll
            for (int v = 0; v < V; ++v) {
                if (first + v < p.N) to[v] = vector.at[v];
            }
        }
    }
    return nan;
}

// kNormed tells whether the sums are normalised. That takes more registers.
template <class T, int kTileN, bool kNormed>
__global__ void __launch_bounds__(kPackedThreads, packed_resident(kTileN, kNormed))
    conv_fprop_packed(const __grid_constant__ Fprop<T> p, const __grid_constant__ Packing packing,
                      const __grid_constant__ uint32_t tiles) {
    if constexpr (kHasWgmma) {
        const PackedMemory<T, kTileN> memory{&dyn_smem<unsigned char>(), packing};
        const Windows& x = p.windows;
        const int n = static_cast<int>(blockIdx.y) * kTileN;
        prepare(memory, p, n);
        ptx::fence_proxy_async();
        __syncthreads();
        const int first_pixel = static_cast<int>(threadIdx.x) / 32 * 16, lane = threadIdx.x % 32;
        const auto place_of = [&](int pixel) {
            return (pixel >> packing.width_bits) * x.h.stride * packing.line_bytes +
                   (pixel & (packing.width() - 1)) * x.w.stride * packing.pixel_bytes + packing.skew -
                   packing.lead * static_cast<int>(sizeof(T));
        };
        const int pixel = first_pixel + lane / 4, place = place_of(pixel), later = place_of(pixel + 8);
        const auto copy = [&](int to, uint32_t tile) {
            copy_patch(memory.patch(to), p.x, p.channels, x, packing, tile_at(x, packing, tile));
        };
        int current = 0;
        copy(current, blockIdx.x);
        ptx::cp_async_commit();
#pragma unroll 1
        for (uint32_t i = blockIdx.x; i < tiles; i += gridDim.x, current ^= 1) {
            ptx::cp_async_wait<0>();
            __syncthreads();  // the patch is there for all threads, and all have finished with the one before it
            if (i + gridDim.x < tiles) copy(current ^ 1, i + gridDim.x);
            ptx::cp_async_commit();
            float sums[kTileN / 2];
            const uint32_t patch = ptx::smem_addr(memory.patch(current));
            multiply(memory, patch + place, patch + later, sums);
            const PackedTile tile = tile_at(x, packing, i);
            const int rows[2] = {row_of(x, packing, tile, pixel), row_of(x, packing, tile, pixel + 8)};
            const bool nan = write_pixels<kNormed, kTileN>(sums, memory.bias(), p, rows, n);
            if (!__any_sync(0xffffffffu, nan)) continue;
            __syncwarp();  // other lanes have written the elements that are mended
#pragma unroll 1
            for (int at = lane; at < 16 * kTileN; at += 32) {
                const int row = row_of(x, packing, tile, first_pixel + at / kTileN);
                if (row >= 0) mend(p, 0, row, n + at % kTileN);
            }
        }
    } else {
        __trap();
    }
}

}  // namespace convgpu::conv
