#include "channel_sum.h"

#include <stdexcept>

#include "../../common/counters.h"
#include "../../common/dispatch.h"
#include "../passes/fill_channels.cuh"

namespace convgpu::conv {
namespace {

template <class T, int V>
void launch_vectors(const T* gy, const PartOfResult<T>& result, uint32_t* counters, const ChannelSumSizes& sizes,
                    const ChannelSumPlan& plan, Stream stream) {
    const auto channels = static_cast<int>(sizes.channels);
    if (plan.rows) {
        return launch_channel_sum_rows<T, V>(gy, result, counters, sizes.images * sizes.pixels, channels, plan.parts,
                                             plan.lanes, stream);
    }
    launch_channel_sum_planes<T, V>(gy, result, counters, sizes.images, sizes.pixels, channels, plan.parts, stream);
}

}  // namespace

void channel_sum(const Array& gy, const Array& gb, const Array& counters, const ChannelSumPlan& plan,
                 const Workspace& workspace, Stream stream) {
    const char* op = "channel_sum";
    check_float(op, "gy", gy);
    const ChannelSumSizes sizes = sizes_of(plan.shape, plan.channels_last);
    check_array(op, "gy", gy, plan.shape, plan.dtype);
    check_array(op, "gb", gb, {sizes.channels}, plan.dtype);
    check_counters(op, counters);
    if (gb.size() == 0) return;
    if (gy.size() > 0 && !is_aligned(gy.data, static_cast<size_t>(plan.alignment))) {
        throw std::invalid_argument("channel_sum: expected gy to start at a multiple of " +
                                    std::to_string(plan.alignment) +
                                    " bytes, as the plan was made for, got another address");
    }
    workspace.check(op, plan.workspace);
    dispatch_float(gy.dtype, [&](auto type) {
        using T = TypeOf<decltype(type)>;
        if (gy.size() == 0) {
            return launch_fill_channels<T>(gb.as<T>(), nullptr, nullptr, nullptr, Activation::kNone, gb.size(), 1, 1,
                                           stream);
        }
        auto* const parts = plan.parts > 1 ? static_cast<Accumulator<T>*>(workspace.data) : nullptr;
        const PartOfResult<T> result{gb.as<T>(), parts};
        auto* const counts = counters.as<uint32_t>();
        if (plan.vector == 1) {
            launch_vectors<T, 1>(gy.as<const T>(), result, counts, sizes, plan, stream);
        } else {
            launch_vectors<T, kVectorBytes / sizeof(T)>(gy.as<const T>(), result, counts, sizes, plan, stream);
        }
    });
}

}  // namespace convgpu::conv
