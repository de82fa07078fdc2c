// The gradient of pixels that no tap reaches: gx = activation(bias).
//
// A thread owns V neighbouring channels of one pixel. Layouts: gx[pixel][c]. Assumes that V divides the channels, and
// that gx and its pixels are aligned to V elements. Nothing is summed.
#pragma once
#include "../common/activate.h"
#include "../common/accumulate.h"
#include "../common/divisor.h"

namespace convgpu::conv {

template <class T, int V>
__global__ void __launch_bounds__(256)
    conv_dgrad_unreached(T* gx, int64_t elements, const T* bias, const __grid_constant__ Divisor by_channels,
                         Activation activation) {
    const int64_t at = (int64_t(blockIdx.x) * blockDim.x + threadIdx.x) * V;
    if (at >= elements) return;
    auto rest = static_cast<uint64_t>(at);
    const uint64_t channel = by_channels.split(rest);
    Vector<T, V> values;
#pragma unroll
    for (int v = 0; v < V; ++v) {
        const Accumulator<T> value = bias ? static_cast<Accumulator<T>>(bias[channel + v]) : Accumulator<T>(0);
        values.at[v] = static_cast<T>(activate(activation, value));
    }
    store(gx + at, values);
}

// Writes all pixels, of which those that taps reach are written again.
template <class T, int V>
void launch_conv_dgrad_unreached(T* gx, int64_t elements, int64_t channels, const T* bias, Activation activation,
                                 Stream stream) {
    constexpr int kThreads = 256;
    LaunchShape shape;
    shape.grid = dim3(static_cast<unsigned>((elements / V + kThreads - 1) / kThreads));
    shape.block = dim3(kThreads);
    launch(conv_dgrad_unreached<T, V>, shape, stream, gx, elements, bias, Divisor(static_cast<uint64_t>(channels)),
           activation);
}

}  // namespace convgpu::conv
