// A convolution without any product, as when there are no images, channels or pixels. Every result is activation(bias),
// or 0. `folded` has the factor and the shift of each channel of a normalisation; its shift, and the residual, are
// added.
//
// A thread owns one element of y; a block owns kFillThreads neighbouring elements. Layouts: y[...][channel][inner],
// where `inner` is 1 for channels_last and the number of pixels of an image for channels_first. Assumes nothing.
// Nothing is added.
#pragma once
#include "../../common/accumulate.h"
#include "../../common/activate.h"
#include "../../common/divisor.h"
#include "../../device/launch.h"

namespace convgpu::conv {

constexpr int kFillThreads = 256;

template <class T>
__global__ void __launch_bounds__(kFillThreads)
    fill_channels(T* __restrict__ y, const T* __restrict__ bias, const Accumulator<T>* __restrict__ folded,
                  const T* __restrict__ residual, Activation activation, uint64_t count,
                  const __grid_constant__ Divisor by_inner, const __grid_constant__ Divisor by_channels) {
    const uint64_t i = uint64_t(blockIdx.x) * kFillThreads + threadIdx.x;
    if (i >= count) return;
    uint64_t channel = by_inner.quotient(i);
    channel = by_channels.split(channel);
    auto value = static_cast<Accumulator<T>>(bias ? bias[channel] : static_cast<T>(0.0f));
    if (folded) value = folded[2 * channel + 1];
    if (residual) value += static_cast<Accumulator<T>>(residual[i]);
    y[i] = static_cast<T>(activate_any(activation, value));
}

template <class T>
void launch_fill_channels(T* y, const T* bias, const Accumulator<T>* folded, const T* residual, Activation activation,
                          int64_t count, int64_t channels, int64_t inner, Stream stream) {
    LaunchShape shape;
    shape.grid = dim3(static_cast<unsigned>((count + kFillThreads - 1) / kFillThreads));
    shape.block = dim3(kFillThreads);
    launch(fill_channels<T>, shape, stream, y, bias, folded, residual, activation, static_cast<uint64_t>(count),
           Divisor(inner), Divisor(channels));
}

}  // namespace convgpu::conv
