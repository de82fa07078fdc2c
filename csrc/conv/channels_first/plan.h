// How a convolution of channels_first arrays runs: which arrays are copied to channels_last, and how many images at a
// time.
#pragma once
#include <optional>
#include <vector>

#include "../../layout/plan.h"
#include "../plan.h"

namespace convgpu::conv {

// One part of the batch.
struct ChannelsFirstPart {
    std::optional<layout::Plan> x, y;  // how x and y are copied; nothing where they are read or written as they lie
    Plan plan;                         // the plan of these images in channels_last
};

// An array is copied if its elements lie differently in the two orders. If the limit of workspace has no room for all
// copies, the batch is cut into parts, and weight gradients are summed up over the parts.
struct ChannelsFirstPlan {
    bool x = false, y = false;             // whether x and y are copied
    std::optional<layout::Plan> w;         // how w is copied; nothing where it is read or written as it lies
    int64_t batch = 0, images = 0;         // images of the batch, and of each part; the last part may have fewer
    std::vector<ChannelsFirstPart> parts;  // one plan for all parts, and a second for the last part if it is smaller

    bool sums_up_parts() const;
    // Returns the part that begins with image `first`.
    const ChannelsFirstPart& part(int64_t first) const { return first + images > batch ? parts.back() : parts[0]; }
    std::string text() const;
};

// Returns the bytes of the workspace that an array takes.
size_t bytes_of(const Shape& shape, DType dtype);

// Returns the type in which weight gradients are summed up.
inline DType accumulator_of(DType dtype) { return size_of(dtype) == 2 ? DType::kFloat32 : dtype; }

// Makes the plan. Sets `bytes` to what its copies, its kernels and its sums of parts take together.
ChannelsFirstPlan plan_channels_first(const Problem& problem, const Device& device, size_t workspace_limit,
                                      size_t& bytes);

}  // namespace convgpu::conv
