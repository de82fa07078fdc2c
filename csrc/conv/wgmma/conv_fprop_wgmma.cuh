// fprop on Hopper's tensor cores, for half types or for float32 as scaled float16 (hopper/scaled.h).
//
// A block owns tiles of 128 x kTileN elements of y, or of parts of their sums, and computes one tile after the other.
// The main loop is that of hopper/product.h, which says what a warpgroup and a thread own of a tile, and gives the
// order of summation. There, k runs over the taps and, for each tap, over its channels in whole lines of 64. panels.h
// says how the factors come to shared memory. Layouts: x[n][d][h][w][c], w[t][r][s][c][k], y[n][o][p][q][k]. Assumes
// that pixels and the channels of a filter start at multiples of 16 bytes.
#pragma once
#include "../../hopper/launch.h"
#include "../problem/mend.h"
#include "panels.h"
#include "rows.h"

namespace convgpu::conv {

// Computes y = activation(x * w + bias). Rows are windows, and columns are filters.
template <class T, int kTileN, int kCluster>
__global__ void __launch_bounds__(hopper::kThreads, 1)
    conv_fprop_wgmma(const __grid_constant__ hopper::Maps<T> x, const __grid_constant__ hopper::Maps<T> w,
                     const __grid_constant__ hopper::OnHopper<T, Fprop<hopper::Value<T>>, ImageRows> p,
                     const __grid_constant__ Lines lines, const __grid_constant__ hopper::ResultMap map,
                     const __grid_constant__ tile::Schedule schedule,
                     const __grid_constant__ tile::Partial<float> partial) {
    if constexpr (kHasWgmma) {
        const WindowPanels<T, true> a{x, p.windows.d, p.windows.h, p.windows.w, lines, p.channels, p.windows.holes};
        const FilterPanels<T, false, AllTaps> b{w, lines, {}, p.N};
        hopper::compute_tiles<kTileN, kCluster>(a, b, p, map, schedule, partial);
    } else {
        __trap();
    }
}

}  // namespace convgpu::conv
