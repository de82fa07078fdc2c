#include <algorithm>
#include <stdexcept>

#include "../../common/counters.h"
#include "../../common/workspace.h"
#include "channel_sum.h"

namespace convgpu::conv {
namespace {

// Tells whether threads own channels. In channels_first they own pixels of one channel, unless an image has a single
// pixel: then both orders are the same, and threads that own channels have more to do.
bool reads_rows(const ChannelSumSizes& sizes, bool channels_last) { return channels_last || sizes.pixels == 1; }

}  // namespace

ChannelSumSizes sizes_of(const Shape& gy, bool channels_last) {
    constexpr int64_t kMostChannels = int64_t(1) << 24;
    if (gy.size() < 2) throw std::invalid_argument("channel_sum: expected gy of 2 axes or more, got " + text_of(gy));
    const size_t axis = channels_last ? gy.size() - 1 : 1;
    ChannelSumSizes sizes{channels_last ? 1 : gy[0], gy[axis], 1};
    for (size_t a = channels_last ? 0 : 2; a < gy.size(); ++a) sizes.pixels *= a == axis ? 1 : gy[a];
    if (sizes.channels > kMostChannels) {
        throw std::invalid_argument("channel_sum: expected at most 2^24 channels, got " + text_of(gy));
    }
    return sizes;
}

ChannelSumPlan plan_channel_sum(const Shape& gy, bool channels_last, DType dtype, int alignment, const Device& device,
                                size_t limit) {
    constexpr int64_t kLeastTerms = 32, kMostParts = 4096;  // of one thread, and of one sum
    check_alignment(alignment);
    const ChannelSumSizes sizes = sizes_of(gy, channels_last);
    const auto full = static_cast<int>(kVectorBytes / size_of(dtype));
    ChannelSumPlan plan{gy, channels_last, dtype, alignment, reads_rows(sizes, channels_last), 1, 1, 1, 0};
    const int64_t along = plan.rows ? sizes.channels : sizes.pixels;  // neighbours in memory
    if (alignment >= kFullAlignment && along % full == 0) plan.vector = full;
    const int64_t vectors = along / plan.vector;
    while (plan.rows && plan.lanes * 2 <= std::min<int64_t>(32, vectors)) plan.lanes *= 2;
    const int64_t blocks = plan.rows ? (vectors + plan.lanes - 1) / plan.lanes : sizes.channels;
    const int64_t terms =
        plan.rows ? sizes.images * sizes.pixels / (kRowsThreads / plan.lanes) : sizes.images * vectors / kPlaneThreads;
    const int64_t wanted = (int64_t(8) * device.multiprocessors + blocks - 1) / std::max<int64_t>(blocks, 1);
    const auto bytes = static_cast<int64_t>(dtype == DType::kFloat64 ? sizeof(double) : sizeof(float)) * sizes.channels;
    const int64_t affordable = static_cast<int64_t>(limit) / std::max<int64_t>(bytes, 1);
    const int64_t parts = std::min({wanted, terms / kLeastTerms, kMostParts, affordable});
    plan.parts = static_cast<int>(std::max<int64_t>(parts, 1));
    if (blocks * counters_of(plan.parts) > kCounters) plan.parts = std::min(plan.parts, kSumLanes);
    if (blocks > kCounters) plan.parts = 1;
    if (plan.parts > 1) plan.workspace = static_cast<size_t>(plan.parts * bytes);
    return plan;
}

int64_t ChannelSumPlan::launches() const { return sizes_of(shape, channels_last).channels == 0 ? 0 : 1; }

std::string ChannelSumPlan::text() const {
    return std::string(rows ? "channel_sum_rows" : "channel_sum_planes") + " vector=" + std::to_string(vector) +
           " parts=" + std::to_string(parts) + " workspace=" + std::to_string(workspace);
}

}  // namespace convgpu::conv
