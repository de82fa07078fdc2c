// The tiled kernels of one dtype and engine: the functions here lead from the plan's tile and vectors to an instance of
// the kernel. The instances of each pair of dtype and engine are compiled in a file of their own.
#pragma once
#include "../../tile/simt.h"
#include "../../tile/tensor_core.h"
#include "conv_dgrad_tiled.cuh"
#include "conv_fprop_tiled.cuh"
#include "conv_wgrad_tiled.cuh"
#include "tiled.h"

namespace convgpu::conv {

template <template <class, class, int, int> class Engine, class T>
void start_tiled(const Fprop<T>& p, int items, const tile::Plan& plan, const Workspace& workspace, Stream stream) {
    constexpr int V = tile::kFullVector<T>;
    if constexpr (sizeof(T) < 8) {
        if (plan.tile == 128)
            return launch_conv_fprop_tiled<Engine, T, 128, V, V>(p, items, plan.splits, workspace, stream);
    }
    switch (plan.vectors) {
        case tile::Vectors::kBoth:
            return launch_conv_fprop_tiled<Engine, T, 64, V, V>(p, items, plan.splits, workspace, stream);
        case tile::Vectors::kOnlyB:
            return launch_conv_fprop_tiled<Engine, T, 64, 1, V>(p, items, plan.splits, workspace, stream);
        case tile::Vectors::kNone:
            return launch_conv_fprop_tiled<Engine, T, 64, 1, 1>(p, items, plan.splits, workspace, stream);
    }
}

template <template <class, class, int, int> class Engine, class T>
void start_tiled(const Wgrad<T>& p, int items, const tile::Plan& plan, const Workspace& workspace, Stream stream) {
    constexpr int V = tile::kFullVector<T>;
    if constexpr (sizeof(T) < 8) {
        if (plan.tile == 128)
            return launch_conv_wgrad_tiled<Engine, T, 128, V, V>(p, items, plan.splits, workspace, stream);
    }
    switch (plan.vectors) {
        case tile::Vectors::kBoth:
            return launch_conv_wgrad_tiled<Engine, T, 64, V, V>(p, items, plan.splits, workspace, stream);
        case tile::Vectors::kOnlyB:
            return launch_conv_wgrad_tiled<Engine, T, 64, 1, V>(p, items, plan.splits, workspace, stream);
        case tile::Vectors::kNone:
            return launch_conv_wgrad_tiled<Engine, T, 64, 1, 1>(p, items, plan.splits, workspace, stream);
    }
}

template <template <class, class, int, int> class Engine, class T>
void start_tiled(const Dgrad<T>& p, int items, const tile::Plan& plan, const Workspace& workspace, Stream stream) {
    constexpr int V = tile::kFullVector<T>;
    if constexpr (sizeof(T) < 8) {
        if (plan.tile == 128)
            return launch_conv_dgrad_tiled<Engine, T, 128, V>(p, items, plan.splits, workspace, stream);
    }
    if (plan.vectors == tile::Vectors::kBoth)
        return launch_conv_dgrad_tiled<Engine, T, 64, V>(p, items, plan.splits, workspace, stream);
    launch_conv_dgrad_tiled<Engine, T, 64, 1>(p, items, plan.splits, workspace, stream);
}

#define CONVGPU_CONV_TILED(ENGINE, T)                                                                        \
    template void start_tiled<ENGINE, T>(const Fprop<T>&, int, const tile::Plan&, const Workspace&, Stream); \
    template void start_tiled<ENGINE, T>(const Dgrad<T>&, int, const tile::Plan&, const Workspace&, Stream); \
    template void start_tiled<ENGINE, T>(const Wgrad<T>&, int, const tile::Plan&, const Workspace&, Stream);

}  // namespace convgpu::conv
