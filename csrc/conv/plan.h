// How one convolution is computed: by which kernels, with what tiles, in how many parts, with how much workspace.
//
// A plan is made once, from sizes alone and on the host, and the caller keeps it. The launchers of conv.h take it and
// decide nothing again; text() is what `explain` prints. Begin with plan.cpp, which says which kernel takes what.
#pragma once
#include <memory>
#include <optional>
#include <string>

#include "../device/properties.h"
#include "problem/problem.h"

namespace convgpu::conv {

// Way is defined in way.h, for files that compile kernels. It holds the plan of the one engine that runs.
struct Way;

struct Plan {
    Problem problem;
    Device device;
    std::shared_ptr<const Way> way;
    size_t workspace = 0;  // bytes that the launcher asks for

    std::string text() const;  // "conv_fprop_tiled engine=simt tile=64 ... workspace=0"; its first word is a kernel
    std::string kernel_text() const;  // the same text without the workspace
    int64_t launches() const;         // how many kernels the launcher starts (launches.cpp)
    double clocks() const;            // the time that an estimate gives; 0 where the engine has none
};

// Makes the plan. Its workspace stays within `limit`, unless a single image of channels_first and its filters take
// more. Without a limit, it stays within kWorkspaceLimit, and where float32 runs as scaled factors it may take their
// bytes beside that.
Plan plan(const Problem& problem, const Device& device, std::optional<size_t> limit);

// Throws std::invalid_argument unless the alignment is 1, 2, 4, 8 or 16.
void check_alignment(int alignment);

// Makes the plan for channels_last arrays and a convolution that has products.
Plan plan_channels_last(const Problem& problem, const Device& device, size_t limit);

// The plan of a bias gradient, which is the sum of gy over everything but its channels.
struct ChannelSumPlan {
    Shape shape;  // the shape of gy
    bool channels_last;
    DType dtype;
    int alignment;  // the alignment of gy
    // channel_sum_rows runs if `rows` holds, and its threads own channels. Else channel_sum_planes runs, and its
    // threads own pixels.
    bool rows;
    int vector;  // neighbours that a thread loads at once
    int lanes;   // threads side by side along the channels
    int parts;   // parts of each sum
    size_t workspace = 0;

    std::string text() const;
    int64_t launches() const;  // how many kernels the launcher starts
};

// `alignment` is that of gy, as in Problem.
ChannelSumPlan plan_channel_sum(const Shape& gy, bool channels_last, DType dtype, int alignment, const Device& device,
                                size_t limit);

}  // namespace convgpu::conv
