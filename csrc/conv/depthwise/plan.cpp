#include "plan.h"

#include <algorithm>

#include "depthwise_window.cuh"

namespace convgpu::conv {
namespace {

constexpr int64_t kMostChannels = 1 << 24;  // the sliding windows count multiples of the channels in 32 bits

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Returns how many channels a thread owns: as many as 16 bytes hold, or 1.
int vector_of(const Problem& problem) {
    const ConvGeometry& geo = problem.geo;
    const auto vector = static_cast<int>(kVectorBytes / size_of(problem.dtype));
    return problem.aligned() && geo.filters == geo.channels && geo.channels % vector == 0 ? vector : 1;
}

// Returns the stride with which windows slide along w, or 0 if the kernel for sliding windows does not take the
// problem.
int sliding_stride(const ConvGeometry& geo) {
    const bool slides = geo.filters == geo.channels && geo.dilation.back() == 1 && geo.channels <= kMostChannels;
    return slides && geo.stride.back() <= 2 ? static_cast<int>(geo.stride.back()) : 0;
}

int power_of_two_up_to(int64_t n) {
    int power = 1;
    while (int64_t(power) * 2 <= n) power *= 2;
    return power;
}

std::string text_of(Direction direction, const char* kernel, int vector, int taps, int stride) {
    return std::string(name_of(direction)) + kernel + " vector=" + std::to_string(vector) +
           " taps=" + std::to_string(taps) + " stride=" + std::to_string(stride);
}

}  // namespace

DepthwiseProblem depthwise_problem_of(Direction direction, const ConvGeometry& geo) {
    const bool gathers = direction == Direction::kDgrad;
    DepthwiseProblem problem;
    for (int i = 0; i < geo.rank(); ++i) {
        DepthwiseAxis& axis = problem.axis[3 - geo.rank() + i];
        axis.result = static_cast<int>(gathers ? geo.size[i] : geo.output[i]);
        axis.source = static_cast<int>(gathers ? geo.output[i] : geo.size[i]);
        axis.taps = static_cast<int>(geo.kernel[i]);
        axis.stride = static_cast<int>(geo.stride[i]);
        axis.before = static_cast<int>(geo.before[i]);
        axis.dilation = static_cast<int>(geo.dilation[i]);
        axis.by_stride = Divisor(geo.stride[i]);
    }
    problem.images = geo.batch;
    problem.channels = static_cast<int>(gathers ? geo.channels : geo.filters);
    problem.source_channels = static_cast<int>(gathers ? geo.filters : geo.channels);
    problem.filters = static_cast<int>(geo.filters);
    problem.multiplier = static_cast<int>(geo.filters / geo.channels);
    problem.by_multiplier = Divisor(problem.multiplier);
    return problem;
}

DepthwisePlan plan_depthwise(const Problem& problem) {
    const ConvGeometry& geo = problem.geo;
    const int vector = vector_of(problem), stride = sliding_stride(geo);
    const int64_t width = geo.kernel.back();
    if (stride == 0) return {vector};
    if (vector == 1 && stride != 1) return {vector};
    const bool few = geo.taps() <= kMostTaps;
    if (few && width == 3) return {vector, 3, stride};
    if (few && (width == 5 || width == 7) && stride == 1 && vector > 1) return {vector, static_cast<int>(width), 1};
    return {vector, kChunk, stride};
}

DepthwiseWgradPlan plan_depthwise_wgrad(const Problem& problem, const Device& device, size_t workspace_limit) {
    constexpr int64_t kWarp = 32, kLeastRows = 4;  // the fewest rows of a part
    const ConvGeometry& geo = problem.geo;
    const DType dtype = problem.dtype;
    DepthwiseWgradPlan plan;
    plan.vector = vector_of(problem);
    const int rank = geo.rank();
    const int64_t width = geo.kernel.back(), height = rank > 1 ? geo.kernel[rank - 2] : 1;
    if (plan.vector > 1 && sliding_stride(geo)) {
        plan.stride = sliding_stride(geo);
        const bool square = width == 3 && height == 3;
        plan.rows = square ? 3 : 1;
        plan.taps = square ? 3 : ceil_div(width, 4) * 4 < ceil_div(width, 5) * 5 ? 4 : 5;
    }
    const int64_t columns = plan.stride == 2 ? kWgradColumns<2> : kWgradColumns<1>;
    const int64_t depth = rank > 2 ? geo.kernel[0] : 1, P = rank > 1 ? geo.output[rank - 2] : 1;
    const int64_t groups = ceil_div(geo.output.back(), columns), O = rank > 2 ? geo.output[0] : 1;
    const int64_t vectors = geo.filters / plan.vector;
    DepthwiseWork& work = plan.work;
    work.lanes = power_of_two_up_to(std::min({kWarp, vectors, int64_t(kDepthwiseThreads / plan.vector)}));
    const int64_t channel_blocks = ceil_div(vectors, work.lanes);
    const int64_t s_chunks = ceil_div(width, plan.taps), r_chunks = ceil_div(height, plan.rows);
    work.by_chunks[0] = Divisor(s_chunks);
    work.by_chunks[1] = Divisor(r_chunks);
    work.by_chunks[2] = Divisor(depth);
    work.by_channel_blocks = Divisor(channel_blocks);
    work.columns = geo.batch * O * groups;
    work.rows = ceil_div(work.columns, kDepthwiseThreads / work.lanes) * P;
    work.by_height = Divisor(P);
    work.by_groups = Divisor(groups);
    work.by_depth = Divisor(O);
    work.blocks_of_a_part = static_cast<int>(s_chunks * r_chunks * depth * channel_blocks);

    // The goal is twice as many blocks as the multiprocessors can hold, given the registers of a block.
    const int64_t blocks = int64_t(2) * (size_of(dtype) == 2 ? 3 : 4) * device.multiprocessors;
    const int64_t bytes_of_a_part =
        geo.taps() * geo.filters * static_cast<int64_t>(dtype == DType::kFloat64 ? sizeof(double) : sizeof(float));
    const int64_t affordable = static_cast<int64_t>(workspace_limit) / bytes_of_a_part;
    const int64_t parts =
        std::min({ceil_div(blocks, work.blocks_of_a_part), ceil_div(work.rows, kLeastRows), affordable});
    work.parts = static_cast<int>(std::max<int64_t>(parts, 1));
    if (work.parts > 1) plan.workspace = static_cast<size_t>(work.parts * bytes_of_a_part);
    return plan;
}

std::string DepthwisePlan::text(Direction direction) const {
    return text_of(direction, taps == 0 ? "_depthwise_any" : "_depthwise_window", vector, taps, stride);
}

std::string DepthwiseWgradPlan::text() const {
    return text_of(Direction::kWgrad, "_depthwise", vector, taps, stride) + " rows=" + std::to_string(rows) +
           " parts=" + std::to_string(work.parts);
}

}  // namespace convgpu::conv
