// The product of one block by ordinary multiply-adds, for float32 and float64.
//
// The block has 16 x 16 threads. Each owns kM x kN elements of the block's tile, which are 8 x 8 of 128 x 128. Order of
// summation: k in ascending order, in blocks of 128, whose sums are added to the total in ascending order too.
#pragma once
#include "operand.h"

namespace convgpu::tile {

template <class A, class B, int kTileM, int kTileN>
class Simt {
public:
    using T = typename A::Element;
    using Sum = T;
    static constexpr int kDepth = 64 / sizeof(T), kStages = 3;  // depth and slots of the ring of tiles
    static constexpr int kResident = kTileM > 64 ? 1 : 2;       // a multiprocessor holds at least so many blocks
    using TileA = Tile<A, kTileM, kDepth>;
    using TileB = Tile<B, kTileN, kDepth>;

    __device__ __forceinline__ void multiply(const TileA& a, const TileB& b) {
#pragma unroll
        for (int k = 0; k < kDepth; k += kWidth) {
            T x[kM][kWidth], w[kN][kWidth];
            read(a, y_thread(), k, x);
            read(b, x_thread(), k, w);
#pragma unroll
            for (int d = 0; d < kWidth; ++d) {
#pragma unroll
                for (int i = 0; i < kM; ++i) {
#pragma unroll
                    for (int j = 0; j < kN; ++j) block_[i][j] += x[i][d] * w[j][d];
                }
            }
        }
        terms_ += kDepth;
        if (terms_ == kBlock) close_block();
    }

    // Writes the sums to a matrix in shared memory, at line m and column n.
    template <class Sums>
    __device__ __forceinline__ void store(Sums& sums) {
        close_block();
#pragma unroll
        for (int i = 0; i < kM; ++i) {
#pragma unroll
            for (int j = 0; j < kN; ++j) {
                sums.line[row_of<A>(y_thread(), i)][row_of<B>(x_thread(), j)] = total_[i][j];
            }
        }
    }

private:
    static constexpr int kSide = 16, kM = kTileM / kSide, kN = kTileN / kSide;
    static constexpr int kWidth = kFullVector<T>;  // the elements of one access to shared memory
    static constexpr int kBlock = 128;             // so many terms are summed up before their sum is added to the total
    static_assert(kSide * kSide == kThreads && kBlock % kDepth == 0);

    __device__ __forceinline__ static int x_thread() { return threadIdx.x % kSide; }
    __device__ __forceinline__ static int y_thread() { return threadIdx.x / kSide; }

    // Returns the row of a tile that is the i-th of a thread. Where rows are neighbours in shared memory, a thread owns
    // a vector of neighbouring rows. Elsewhere it owns every 16th row, so that the threads of a warp read different
    // banks.
    template <class Source>
    __device__ __forceinline__ static int row_of(int thread, int i) {
        return Source::kAlongDepth ? thread + i * kSide : (i / kWidth * kSide + thread) * kWidth + i % kWidth;
    }

    // Loads out[i][d] = element (row_of(thread, i), k + d).
    template <class Source, int kRows, int kCount>
    __device__ __forceinline__ static void read(const Tile<Source, kRows, kDepth>& tile, int thread, int k,
                                                T (&out)[kCount][kWidth]) {
        static_assert(kCount % kWidth == 0);
        if constexpr (Source::kAlongDepth) {
#pragma unroll
            for (int i = 0; i < kCount; ++i) {
                const auto along = load<kWidth>(tile.at(row_of<Source>(thread, i), k));
#pragma unroll
                for (int d = 0; d < kWidth; ++d) out[i][d] = along.at[d];
            }
        } else {
#pragma unroll
            for (int d = 0; d < kWidth; ++d) {
#pragma unroll
                for (int i = 0; i < kCount; i += kWidth) {
                    const auto across = load<kWidth>(tile.at(row_of<Source>(thread, i), k + d));
#pragma unroll
                    for (int j = 0; j < kWidth; ++j) out[i + j][d] = across.at[j];
                }
            }
        }
    }

    __device__ __forceinline__ void close_block() {
#pragma unroll
        for (int i = 0; i < kM; ++i) {
#pragma unroll
            for (int j = 0; j < kN; ++j) {
                total_[i][j] += block_[i][j];
                block_[i][j] = 0;
            }
        }
        terms_ = 0;
    }

    Sum total_[kM][kN] = {}, block_[kM][kN] = {};
    int terms_ = 0;
};

}  // namespace convgpu::tile
