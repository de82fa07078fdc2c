// The product of bfloat16 on AMX, the matrix unit of Xeon processors since 2023.
//
// The unit has eight registers, each a tile of 16 rows of 64 bytes. One instruction, tdpbf16ps, multiplies a tile of A
// (16 rows of 32 terms) by a tile of B (16 pairs of terms, each of 16 columns) and adds the products to a tile of 16 x
// 16 sums in float32: 8,192 products in 16 cycles, where two units for vectors of float32 do 512.
//
//                     | B 6      B 7         Each tile of A and of B that is loaded serves two products.
//           ----------+------------------
//             A 4     | sums 0   sums 1
//             A 5     | sums 2   sums 3
//
// A call owns up to 32 rows and 32 columns of sums.
// Layouts: those of pairs.h. A tile is loaded from rows that are any number of bytes apart.
// Order: in each step of 32 terms, the even ones and the odd ones in a sequence each, then both together, then to what
// the tile holds; the caller ends a sequence of steps after kPairBlock terms.
#include "pairs.h"

#if defined(CONVGPU_PAIRS)
namespace convgpu::cpu::CONVGPU_ISA {
namespace {

#define CONVGPU_AMX __attribute__((target("amx-tile,amx-bf16")))

constexpr int kTileRows = 16;

// The operand of ldtilecfg: palette 1, and the size of every tile: bytes of a row, and rows.
struct alignas(64) TileConfiguration {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
};
const TileConfiguration kConfiguration = {1, 0, {}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};

CONVGPU_AMX void begin() { _tile_loadconfig(&kConfiguration); }

CONVGPU_AMX void end() { _tile_release(); }

// R tiles of rows by C tiles of columns.
template <int R, int C>
CONVGPU_AMX void multiply_tiles(const BFloat16* a, int64_t step_a, const BFloat16* b, int64_t steps, float* sums) {
    const int64_t apart = step_a * sizeof(BFloat16);             // bytes from row to row of A
    constexpr int kApart = 2 * kPairColumns * sizeof(BFloat16);  // and from pair to pair of B
    constexpr int kSums = kPairColumns * sizeof(float);
    _tile_zero(0);
    if constexpr (C == 2) _tile_zero(1);
    if constexpr (R == 2) _tile_zero(2);
    if constexpr (R == 2 && C == 2) _tile_zero(3);
    for (int64_t s = 0; s < steps; ++s, a += kPairTerms, b += kPairTerms * kPairColumns) {
        _tile_loadd(6, b, kApart);
        _tile_loadd(4, a, apart);
        _tile_dpbf16ps(0, 4, 6);
        if constexpr (C == 2) {
            _tile_loadd(7, b + kPairColumns, kApart);
            _tile_dpbf16ps(1, 4, 7);
        }
        if constexpr (R == 2) {
            _tile_loadd(5, a + kTileRows * step_a, apart);
            _tile_dpbf16ps(2, 5, 6);
        }
        if constexpr (R == 2 && C == 2) _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, sums, kSums);
    if constexpr (C == 2) _tile_stored(1, sums + 16, kSums);
    if constexpr (R == 2) _tile_stored(2, sums + kTileRows * kPairColumns, kSums);
    if constexpr (R == 2 && C == 2) _tile_stored(3, sums + kTileRows * kPairColumns + 16, kSums);
}

CONVGPU_AMX void multiply(const BFloat16* a, int64_t step_a, const BFloat16* b, int64_t steps, float* sums, int rows,
                          int columns, bool add) {
    alignas(64) float block[kPairRows * kPairColumns];
    float* const to = add ? block : sums;
    const bool tall = rows > kTileRows, wide = columns > 16;
    if (tall && wide) multiply_tiles<2, 2>(a, step_a, b, steps, to);
    if (tall && !wide) multiply_tiles<2, 1>(a, step_a, b, steps, to);
    if (!tall && wide) multiply_tiles<1, 2>(a, step_a, b, steps, to);
    if (!tall && !wide) multiply_tiles<1, 1>(a, step_a, b, steps, to);
    if (!add) return;
    for (int r = 0; r < rows; ++r) {
        for (int c = 0; c < columns; c += 16) {
            float* const sum = sums + r * kPairColumns + c;
            store(sum, load(sum) + load(block + r * kPairColumns + c));
        }
    }
}

}  // namespace

const PairUnit kAmx = {begin, multiply, end};

}  // namespace convgpu::cpu::CONVGPU_ISA
#endif
