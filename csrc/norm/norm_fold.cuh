// A normalisation with given statistics as one factor and one shift for each channel.
//
// A thread owns one channel; a block owns kFoldThreads neighbouring channels. Layouts: folded[channel][2], all other
// arrays [channel]. Assumes nothing. Nothing is added up.
#pragma once
#include "../device/launch.h"

namespace convgpu::norm {

constexpr int kFoldThreads = 256;

template <class A>
__global__ void __launch_bounds__(kFoldThreads)
    norm_fold(const A* __restrict__ mean, const A* __restrict__ var, const A* __restrict__ scale,
              const A* __restrict__ offset, const A* __restrict__ bias, A* __restrict__ folded, A epsilon,
              int channels) {
    const int c = static_cast<int>(blockIdx.x) * kFoldThreads + static_cast<int>(threadIdx.x);
    if (c >= channels) return;
    const A factor = (scale ? scale[c] : A(1)) / sqrt(var[c] + epsilon);
    folded[2 * c] = factor;
    folded[2 * c + 1] = (offset ? offset[c] : A(0)) + ((bias ? bias[c] : A(0)) - mean[c]) * factor;
}

template <class A>
void launch_norm_fold(const A* mean, const A* var, const A* scale, const A* offset, const A* bias, A* folded, A epsilon,
                      int channels, Stream stream) {
    LaunchShape shape;
    shape.grid = dim3(static_cast<unsigned>((channels + kFoldThreads - 1) / kFoldThreads));
    shape.block = dim3(kFoldThreads);
    launch(norm_fold<A>, shape, stream, mean, var, scale, offset, bias, folded, epsilon, channels);
}

}  // namespace convgpu::norm
