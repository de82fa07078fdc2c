#include "plan.h"

#include <algorithm>

#include "../../common/workspace.h"

namespace convgpu::conv {
namespace {

// Returns the bytes of the copies of all images that `part` has.
size_t held_images(const ChannelsFirstPlan& plan, const Problem& part) {
    return (plan.x ? bytes_of(part.geo.x_shape(), part.dtype) : 0) +
           (plan.y ? bytes_of(part.geo.y_shape(), part.dtype) : 0);
}

// Returns the bytes of these copies, of the copy of the weights, and of the two sums of weight gradients over parts.
size_t held(const ChannelsFirstPlan& plan, const Problem& part, bool sums_up_parts) {
    return held_images(plan, part) + (plan.w ? bytes_of(part.geo.w_shape(), part.dtype) : 0) +
           (sums_up_parts ? 2 * bytes_of(part.geo.w_shape(), accumulator_of(part.dtype)) : 0);
}

// Returns how many images fit into `room` bytes, but at least one.
int64_t images_within(size_t room, const ChannelsFirstPlan& plan, Problem part) {
    const int64_t batch = part.geo.batch;
    part.geo.batch = 1;
    const size_t image = held_images(plan, part);
    const size_t beside = held(plan, part, part.direction == Direction::kWgrad) - image;
    const size_t images = room > beside ? (room - beside) / image : 0;
    return std::clamp<int64_t>(static_cast<int64_t>(images), 1, batch);
}

uintptr_t bytes_between(const Shape& shape, DType dtype) {
    return static_cast<uintptr_t>(Array{nullptr, shape, {}, dtype}.size()) * size_of(dtype);
}

// Returns the largest power of two, at most kFullAlignment, that divides all addresses whose bits were or-ed into
// `addresses`.
int lowest_bit(uintptr_t addresses) {
    addresses |= kFullAlignment;
    return static_cast<int>(addresses & ~(addresses - 1));
}

// Returns a power of two that divides the addresses of every part's arrays. Copies lie in the workspace, which is
// aligned. Arrays that are not copied are read where they are, from the first image of the part on.
int alignment_of(const ChannelsFirstPlan& plan, const Problem& problem, const Problem& part) {
    uintptr_t addresses = kFullAlignment;
    const auto add = [&](bool copied, const Shape& shape, bool of_images) {
        if (copied) return;
        addresses |= static_cast<uintptr_t>(problem.alignment);
        if (of_images && part.geo.batch < problem.geo.batch) addresses |= bytes_between(shape, part.dtype);
    };
    add(plan.x, part.geo.x_shape(), true);
    add(plan.w.has_value(), part.geo.w_shape(), false);
    add(plan.y, part.geo.y_shape(), true);
    return lowest_bit(addresses);
}

// Plans how the images of a part are copied. Whether the kernels read or write x and y decides the direction of the
// copy. In memory, a part begins at a multiple of the size of the first part.
ChannelsFirstPart part_of(const ChannelsFirstPlan& plan, const Problem& problem, const Problem& part, Plan kernels) {
    const bool reads_x = problem.direction != Direction::kDgrad, reads_y = problem.direction != Direction::kFprop;
    // `first` has the shapes in channels_first, and `last` those in channels_last.
    ConvGeometry first = problem.geo, last = part.geo, begin = problem.geo;
    first.batch = part.geo.batch;
    begin.batch = plan.images;
    const auto copy = [&](bool reads, const Shape& of_first, const Shape& of_last, const Shape& before) {
        uintptr_t addresses = static_cast<uintptr_t>(problem.alignment);
        if (plan.images < plan.batch) addresses |= bytes_between(before, problem.dtype);
        const int alignment = lowest_bit(addresses);
        return reads ? layout::plan(layout::Op::kNchwToNhwc, of_first, problem.dtype, alignment)
                     : layout::plan(layout::Op::kNhwcToNchw, of_last, problem.dtype, alignment);
    };
    ChannelsFirstPart made{{}, {}, std::move(kernels)};
    if (plan.x) made.x = copy(reads_x, first.x_shape(), last.x_shape(), begin.x_shape());
    if (plan.y) made.y = copy(reads_y, first.y_shape(), last.y_shape(), begin.y_shape());
    return made;
}

// Plans to run as many images at a time as the limit has room for. Even where one image takes more than the limit, one
// runs.
ChannelsFirstPlan plan_within(const Problem& problem, const Device& device, size_t workspace_limit, size_t& bytes) {
    const ConvGeometry& geo = problem.geo;
    const int sides_of_one = (geo.taps() == 1) + (geo.channels == geo.groups) + (geo.filters == 1);
    ChannelsFirstPlan plan;
    plan.x = geo.channels > 1 && geo.input_pixels() > 1;
    plan.y = geo.filters > 1 && geo.output_pixels() > 1;
    if (sides_of_one < 2) {
        ConvGeometry last = geo;
        last.channels_last = true;
        plan.w = problem.direction == Direction::kWgrad
                     ? layout::plan(layout::Op::kHwioToOihw, last.w_shape(), problem.dtype, problem.alignment)
                     : layout::plan(layout::Op::kOihwToHwio, geo.w_shape(), problem.dtype, problem.alignment);
    }
    plan.images = plan.batch = geo.batch;
    Problem part = problem;
    part.geo.channels_last = true;
    part.alignment = alignment_of(plan, problem, part);

    const auto plan_parts = [&](size_t limit) {
        plan.parts = {part_of(plan, problem, part, plan_channels_last(part, device, limit))};
        bytes = held(plan, part, plan.sums_up_parts()) + Carver::rounded_up(plan.parts[0].plan.workspace);
    };
    plan_parts(workspace_limit);
    if (bytes <= workspace_limit) return plan;
    if (plan.x || plan.y) {  // half of the limit is for copies, and the rest for the kernel
        plan.images = part.geo.batch = images_within(workspace_limit / 2, plan, part);
        part.alignment = alignment_of(plan, problem, part);
    }
    const size_t taken = held(plan, part, plan.sums_up_parts());
    plan_parts(workspace_limit > taken ? workspace_limit - taken : 0);
    bytes = std::max(bytes, workspace_limit);
    if (const int64_t last = geo.batch % plan.images) {
        part.geo.batch = last;
        Plan kernels = plan_channels_last(part, device, plan.parts[0].plan.workspace);
        plan.parts.push_back(part_of(plan, problem, part, std::move(kernels)));
    }
    return plan;
}

}  // namespace

size_t bytes_of(const Shape& shape, DType dtype) {
    return Carver::rounded_up(static_cast<size_t>(Array{nullptr, shape, {}, dtype}.size()) * size_of(dtype));
}

bool ChannelsFirstPlan::sums_up_parts() const {
    const Problem& part = parts[0].plan.problem;
    return part.direction == Direction::kWgrad && images < batch;
}

ChannelsFirstPlan plan_channels_first(const Problem& problem, const Device& device, size_t workspace_limit,
                                      size_t& bytes) {
    ChannelsFirstPlan plan = plan_within(problem, device, workspace_limit, bytes);
    // If a single image takes more than the limit, plan again with the bytes that it takes as the limit. Perhaps all
    // images fit then, since a batch in one part needs no sums of parts.
    return bytes > workspace_limit ? plan_within(problem, device, bytes, bytes) : plan;
}

std::string ChannelsFirstPlan::text() const {
    std::string names;
    for (const auto& [copied, name] : {std::pair(x, "x"), {w.has_value(), "w"}, {y, "y"}}) {
        if (copied) names += (names.empty() ? "" : ",") + std::string(name);
    }
    std::string text = parts[0].plan.kernel_text();
    if (!names.empty()) text += " transposed=" + names;
    if (x || y) text += " images=" + std::to_string(images);
    return text;
}

}  // namespace convgpu::conv
