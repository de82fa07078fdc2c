// The sizes that the plan of channel_sum and its launcher share.
#pragma once
#include "../conv.h"
#include "channel_sum_planes.cuh"
#include "channel_sum_rows.cuh"

namespace convgpu::conv {

// gy has the shape [images][channels][pixels], or [pixels][channels] where the pixels are those of all images together.
struct ChannelSumSizes {
    int64_t images, channels, pixels;
};
ChannelSumSizes sizes_of(const Shape& gy, bool channels_last);

}  // namespace convgpu::conv
