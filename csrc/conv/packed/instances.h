// The launcher of the packed kernel of one dtype, compiled in a file of its own each.
#pragma once
#include <algorithm>

#include "conv_fprop_packed.cuh"
#include "plan.h"

namespace convgpu::conv {

template <int kTileN, class T>
void launch_conv_fprop_packed(const Fprop<T>& p, const PackedPlan& plan, uint32_t tiles, const Device& device,
                              Stream stream) {
    const int columns = (p.N + kTileN - 1) / kTileN;
    LaunchShape shape;
    shape.grid.x = std::clamp<uint32_t>(device.multiprocessors * plan.resident / columns, 1, tiles);
    shape.grid.y = columns;
    shape.block = dim3(kPackedThreads);
    shape.shared_bytes = PackedMemory<T, kTileN>{nullptr, plan.packing}.bytes();
    launch(conv_fprop_packed<T, kTileN>, shape, stream, p, plan.packing, tiles);
}

// `images` of p.
template <class T>
void run_packed(const Fprop<T>& p, const ConvGeometry& geo, int images, const PackedPlan& plan, const Device& device,
                Stream stream) {
    const auto tiles = static_cast<uint32_t>(tiles_of(plan.packing, geo, images));
    plan.tile_n == 64 ? launch_conv_fprop_packed<64>(p, plan, tiles, device, stream)
                      : launch_conv_fprop_packed<128>(p, plan, tiles, device, stream);
}

#define CONVGPU_CONV_PACKED_INSTANCES(T) \
    template void run_packed<T>(const Fprop<T>&, const ConvGeometry&, int, const PackedPlan&, const Device&, Stream);

}  // namespace convgpu::conv
