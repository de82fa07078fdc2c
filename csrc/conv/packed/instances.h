// The packed kernel of one dtype: the functions here lead from the plan's tile to an instance of the kernel. The
// instances of each dtype are compiled in a file of their own.
#pragma once
#include <algorithm>

#include "conv_fprop_packed.cuh"
#include "packed.h"

namespace convgpu::conv {

template <int kTileN, class T>
void launch_conv_fprop_packed(const Fprop<T>& p, const PackedPlan& plan, uint32_t tiles, Stream stream) {
    LaunchShape shape;
    shape.grid.x = std::min(static_cast<uint32_t>(plan.blocks), tiles);
    shape.grid.y = (p.N + kTileN - 1) / kTileN;
    shape.block = dim3(kPackedThreads);
    shape.shared_bytes = PackedMemory<T, kTileN>{nullptr, plan.packing}.bytes();
    launch(conv_fprop_packed<T, kTileN>, shape, stream, p, plan.packing, tiles);
}

template <class T>
void start_packed(const Fprop<T>& p, const PackedPlan& plan, int64_t tiles, Stream stream) {
    const auto count = static_cast<uint32_t>(tiles);
    plan.tile_n == 64 ? launch_conv_fprop_packed<64>(p, plan, count, stream)
                      : launch_conv_fprop_packed<128>(p, plan, count, stream);
}

#define CONVGPU_CONV_PACKED(T) template void start_packed<T>(const Fprop<T>&, const PackedPlan&, int64_t, Stream);

}  // namespace convgpu::conv
