// dgrad of the pixels of one phase (problem/phases.h) on Hopper's tensor cores, of half types or of float32 as scaled
// float16 (hopper/scaled.h).
//
// A block owns tiles of 128 x kTileN elements of gx, or of parts of their sums, one after the other; what a warpgroup
// and a thread own of one, and the order of summation, stand in hopper/product.h, whose main loop this is. k counts
// the taps of the phase, and for each the filters in whole lines of 64. How the factors come to shared memory stands in
// panels.h. Layouts: gy[n][o][p][q][k], w[t][r][s][c][k], gx[n][d][h][w][c]. Assumes that pixels and the channels of a
// filter start at multiples of 16 bytes.
#pragma once
#include "../../hopper/launch.h"
#include "../problem/mend.h"
#include "panels.h"
#include "rows.h"

namespace convgpu::conv {

// The windows over gy of one phase. From tap to tap those of Dgrad step backward; these are the same, stepping forward.
struct ForwardAxes {
    WindowAxis d, h, w;
};

// gx of the pixels of one phase = activation(gy * w^T + bias): windows over gy times channels.
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
