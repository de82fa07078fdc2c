// The product of one block on tensor cores by mma.sync: of float16, bfloat16, or float32 rounded to TF32.
//
// The block has 2 x 4 warps. Each owns kWarpM x kWarpN elements of the block's tile (64 x 32 of 128 x 128), in pieces
// of 16 x 8. Order of summation: k in ascending order, in the hardware's blocks of 16 (half types) or 8 (TF32).
#pragma once
#include "operand.h"

namespace convgpu::tile {

template <class A, class B, int kTileM, int kTileN>
class TensorCore {
public:
    using T = typename A::Element;
    using Sum = float;
    // The depth and the slots of the ring of tiles. Tiles are deep, since addresses and barriers cost as much time as
    // the products of 64 bytes.
    static constexpr int kDepth = 128 / sizeof(T), kStages = 2;
    static constexpr int kResident = 2;  // a multiprocessor holds at least so many blocks
    using TileA = Tile<A, kTileM, kDepth>;
    using TileB = Tile<B, kTileN, kDepth>;

    __device__ __forceinline__ void multiply(const TileA& a, const TileB& b) {
#pragma unroll
        for (int k = 0; k < kDepth; k += kStep) {
            uint32_t x[kM][4], w[kN / 2][4];
#pragma unroll
            for (int i = 0; i < kM; ++i) read_a(a, first_row() + i * 16, k, x[i]);
#pragma unroll
            for (int j = 0; j < kN / 2; ++j) read_b(b, first_column() + j * 16, k, w[j]);
#pragma unroll
            for (int i = 0; i < kM; ++i) {
#pragma unroll
                for (int j = 0; j < kN; ++j) {
                    const uint32_t half[2] = {w[j / 2][j % 2 * 2], w[j / 2][j % 2 * 2 + 1]};
                    multiply_add(sum_[i][j], x[i], half);
                }
            }
        }
    }

    // Writes the sums to a matrix in shared memory, at line m and column n.
    template <class Sums>
    __device__ __forceinline__ void store(Sums& sums) {
#pragma unroll
        for (int i = 0; i < kM; ++i) {
#pragma unroll
            for (int j = 0; j < kN; ++j) {
#pragma unroll
                for (int e = 0; e < 4; ++e) {
                    const int m = first_row() + i * 16 + lane() / 4 + e / 2 * 8;
                    sums.line[m][first_column() + j * 8 + lane() % 4 * 2 + e % 2] = sum_[i][j][e];
                }
            }
        }
    }

private:
    static constexpr int kWarpsN = 4, kWarpM = kTileM / 2, kWarpN = kTileN / kWarpsN;
    static constexpr int kM = kWarpM / 16, kN = kWarpN / 8;
    static constexpr int kStep = 32 / sizeof(T);  // so many k take part in one instruction
    static_assert(kN % 2 == 0, "B is read 16 columns at a time");

    __device__ __forceinline__ static int lane() { return threadIdx.x % 32; }
    __device__ __forceinline__ static int first_row() { return threadIdx.x / 32 / kWarpsN * kWarpM; }
    __device__ __forceinline__ static int first_column() { return threadIdx.x / 32 % kWarpsN * kWarpN; }

    // Reads the fragment of rows row to row + 15 and depths k to k + kStep - 1. Registers 0 and 1 hold the first half
    // of the depths, for the upper and the lower 8 rows; registers 2 and 3 hold the second half.
    __device__ __forceinline__ static void read_a(const TileA& tile, int row, int k, uint32_t (&r)[4]) {
        if constexpr (sizeof(T) == 4) {
#pragma unroll
            for (int i = 0; i < 4; ++i) r[i] = read_tf32(tile, row + i % 2 * 8, k + i / 2 * 4);
        } else if constexpr (A::kAlongDepth) {
            ptx::ldmatrix_x4(r, ptx::smem_addr(tile.at(row + lane() % 16, k + lane() / 16 * 8)));
        } else {
            const int down = lane() / 16 * 8 + lane() % 8, right = lane() / 8 % 2 * 8;
            ptx::ldmatrix_x4<true>(r, ptx::smem_addr(tile.at(row + right, k + down)));
        }
    }

    // Reads two fragments of 8 columns each. Registers 0 and 1 hold both halves of the depths for the first fragment,
    // registers 2 and 3 for the second.
    __device__ __forceinline__ static void read_b(const TileB& tile, int column, int k, uint32_t (&r)[4]) {
        if constexpr (sizeof(T) == 4) {
#pragma unroll
            for (int i = 0; i < 4; ++i) r[i] = read_tf32(tile, column + i / 2 * 8, k + i % 2 * 4);
        } else if constexpr (B::kAlongDepth) {
            const int down = lane() / 16 * 8 + lane() % 8, right = lane() / 8 % 2 * 8;
            ptx::ldmatrix_x4(r, ptx::smem_addr(tile.at(column + down, k + right)));
        } else {
            ptx::ldmatrix_x4<true>(r, ptx::smem_addr(tile.at(column + lane() / 16 * 8, k + lane() % 16)));
        }
    }

    template <class AnyTile>
    __device__ __forceinline__ static uint32_t read_tf32(const AnyTile& tile, int row, int k) {
        return ptx::to_tf32(*tile.at(row + lane() / 4, k + lane() % 4));
    }

    __device__ __forceinline__ static void multiply_add(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
        if constexpr (sizeof(T) == 4) {
            ptx::mma_m16n8k8_tf32(d, a, b);
        } else {
            ptx::mma_m16n8k16<T>(d, a, b);
        }
    }

    float sum_[kM][kN][4] = {};
};

}  // namespace convgpu::tile
