// dgrad of the pixels of one phase (problem/phases.h) on Hopper's tensor cores, for half types or for float32 as scaled
// float16 (hopper/scaled.h).
//
// A block owns tiles of 128 x kTileN elements of gx, or of parts of their sums, and computes one tile after the other.
// The main loop is that of hopper/product.h, which says what a warpgroup and a thread own of a tile, and gives the
// order of summation. There, k runs over the taps of the phase and, for each tap, over the filters in whole lines of
// 64. panels.h says how the factors come to shared memory. Layouts: gy[n][o][p][q][k], w[t][r][s][c][k],
// gx[n][d][h][w][c]. Assumes that pixels and the channels of a filter start at multiples of 16 bytes.
#pragma once
#include "../../hopper/launch.h"
#include "../problem/mend.h"
#include "panels.h"
#include "rows.h"

namespace convgpu::conv {

// The windows over gy of one phase. Those of Dgrad step backward from tap to tap; these are the same windows, stepping
// forward.
struct ForwardAxes {
    WindowAxis d, h, w;
};

// Computes gx = activation(gy * w^T + bias) for the pixels of one phase. Rows are windows over gy, and columns are
// channels.
template <class T, int kTileN, int kCluster>
__global__ void __launch_bounds__(hopper::kThreads, 1)
    conv_dgrad_wgmma(const __grid_constant__ hopper::Maps<T> gy, const __grid_constant__ hopper::Maps<T> w,
                     const __grid_constant__ hopper::OnHopper<T, Dgrad<hopper::Value<T>>, ImageRows> p,
                     const __grid_constant__ ForwardAxes forward, const __grid_constant__ Lines lines,
                     const __grid_constant__ hopper::ResultMap map, const __grid_constant__ tile::Schedule schedule,
                     const __grid_constant__ tile::Partial<float> partial) {
    if constexpr (kHasWgmma) {
        const WindowPanels<T, true> a{gy, forward.d, forward.h, forward.w, lines, p.filters, p.holes};
        const PhaseTaps taps{p.phase[0][0], p.phase[1][0], p.phase[2][0]};
        const FilterPanels<T, true, PhaseTaps> b{w, lines, taps, p.filters};
        hopper::compute_tiles<kTileN, kCluster>(a, b, p, map, schedule, partial);
    } else {
        __trap();
    }
}

}  // namespace convgpu::conv
