// The packed kernel of one dtype: the functions here lead from the plan's tile to an instance of the kernel. The
// instances of each dtype are compiled in a file of their own.
#pragma once
#include <algorithm>
#include <type_traits>

#include "conv_fprop_packed.cuh"
#include "packed.h"

namespace convgpu::conv {

template <int kTileN, bool kNormed, class T>
void launch_conv_fprop_packed(const Fprop<T>& p, const PackedPlan& plan, uint32_t tiles, Stream stream) {
    const auto resident = std::min<int64_t>(plan.resident, packed_resident(kTileN, kNormed));
    LaunchShape shape;
    shape.grid.x = std::min(static_cast<uint32_t>(std::max<int64_t>(plan.blocks * resident / plan.resident, 1)), tiles);
    shape.grid.y = (p.N + kTileN - 1) / kTileN;
    shape.block = dim3(kPackedThreads);
    shape.shared_bytes = PackedMemory<T, kTileN>{nullptr, plan.packing}.bytes();
    launch(conv_fprop_packed<T, kTileN, kNormed>, shape, stream, p, plan.packing, tiles);
}

template <class T>
void start_packed(const Fprop<T>& p, const PackedPlan& plan, int64_t tiles, Stream stream) {
    const auto count = static_cast<uint32_t>(tiles);
    const auto start = [&](auto normed) {
        plan.tile_n == 64 ? launch_conv_fprop_packed<64, normed.value>(p, plan, count, stream)
                          : launch_conv_fprop_packed<128, normed.value>(p, plan, count, stream);
    };
    p.folded ? start(std::true_type()) : start(std::false_type());
}

#define CONVGPU_CONV_PACKED(T) template void start_packed<T>(const Fprop<T>&, const PackedPlan&, int64_t, Stream);

}  // namespace convgpu::conv
