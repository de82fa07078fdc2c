// Convolution of channels_first arrays: which arrays are copied to channels_last, and how many images at a time.
#pragma once
#include <optional>
#include <vector>

#include "../../layout/plan.h"
#include "../plan.h"

namespace convgpu::conv {

// One part of the batch.
struct ChannelsFirstPart {
    std::optional<layout::Plan> x, y;  // how they are copied; nothing where they are read or written as they lie
    Plan plan;                         // of its images in channels_last
};

// Copied is what lies differently in the two orders. Where the limit of workspace has no room for all copies, the batch
// is cut into parts, and weight gradients are summed up over them.
struct ChannelsFirstPlan {
    bool x = false, y = false;             // whether they are copied
    std::optional<layout::Plan> w;         // how it is copied; nothing where it is read or written as it lies
    int64_t batch = 0, images = 0;         // of all; of each part but the last, which may have fewer
    std::vector<ChannelsFirstPart> parts;  // one for all parts, and one for the last where that is smaller

    bool sums_up_parts() const;
    // Of the images from `first` on.
    const ChannelsFirstPart& part(int64_t first) const { return first + images > batch ? parts.back() : parts[0]; }
    std::string text() const;
};

// The bytes that a piece of the workspace takes.
size_t bytes_of(const Shape& shape, DType dtype);

// What weight gradients are summed up in.
inline DType accumulator_of(DType dtype) { return size_of(dtype) == 2 ? DType::kFloat32 : dtype; }

// Puts into `bytes` what it takes: copies, kernels, sums of parts.
ChannelsFirstPlan plan_channels_first(const Problem& problem, const Device& device, size_t workspace_limit,
                                      size_t& bytes);

}  // namespace convgpu::conv
