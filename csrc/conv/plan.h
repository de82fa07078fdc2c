// How one convolution will be computed: by which kernels, with what tiles, in how many parts, with how much workspace.
//
// A plan is made once, from sizes alone and on the host, and kept by the caller. The launchers of conv.h take it and
// decide nothing again; text() is what `explain` prints. Begin with plan.cpp, which says which kernel takes what.
#pragma once
#include <memory>
#include <optional>
#include <string>

#include "../device/properties.h"
#include "problem/problem.h"

namespace convgpu::conv {

struct Way;  // in way.h, for those that compile kernels: the plan of the one engine that runs

struct Plan {
    Problem problem;
    Device device;
    std::shared_ptr<const Way> way;
    size_t workspace = 0;  // bytes that the launcher asks for

    std::string text() const;  // "conv_fprop_tiled engine=simt tile=64 ... workspace=0"; its first word is a kernel
    std::string kernel_text() const;  // without the workspace
};

// The workspace is within `limit`, unless a single image of channels_first and its filters take more. Without a limit:
// kWorkspaceLimit, and what scaled factors of float32 take beside it where it runs so.
Plan plan(const Problem& problem, const Device& device, std::optional<size_t> limit);

// Throws std::invalid_argument unless it is 1, 2, 4, 8 or 16.
void check_alignment(int alignment);

// The plan of channels_last arrays, of a convolution that has products.
Plan plan_channels_last(const Problem& problem, const Device& device, size_t limit);

// The sum of gy over everything but its channels: how, and for which arrays.
struct ChannelSumPlan {
    Shape shape;  // of gy
    bool channels_last;
    DType dtype;
    int alignment;  // of gy
    bool rows;      // channel_sum_rows, whose threads own channels; else channel_sum_planes, whose threads own pixels
    int vector;     // neighbours that a thread loads at once
    int lanes;      // threads side by side along the channels
    int parts;      // of each sum
    size_t workspace = 0;

    std::string text() const;
};

// `alignment`: of gy, as in Problem.
ChannelSumPlan plan_channel_sum(const Shape& gy, bool channels_last, DType dtype, int alignment, const Device& device,
                                size_t limit);

}  // namespace convgpu::conv
