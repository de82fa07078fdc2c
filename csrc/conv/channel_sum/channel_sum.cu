#include <algorithm>
#include <stdexcept>

#include "../../common/check.h"
#include "../../common/dispatch.h"
#include "channel_sum_planes.cuh"
#include "channel_sum_rows.cuh"
#include "../conv.h"
#include "../passes/fill_channels.cuh"

namespace convgpu::conv {
namespace {

// gy[images][channels][pixels], or gy[pixels][channels] of all images together.
struct Sizes {
    int64_t images, channels, pixels;
};

Sizes sizes_of(const Shape& gy, bool channels_last) {
    constexpr int64_t kMostChannels = int64_t(1) << 24;
    if (gy.size() < 2) throw std::invalid_argument("channel_sum: expected gy of 2 axes or more, got " + text_of(gy));
    const size_t axis = channels_last ? gy.size() - 1 : 1;
    Sizes sizes{channels_last ? 1 : gy[0], gy[axis], 1};
    for (size_t a = channels_last ? 0 : 2; a < gy.size(); ++a) sizes.pixels *= a == axis ? 1 : gy[a];
    if (sizes.channels > kMostChannels) {
        throw std::invalid_argument("channel_sum: expected at most 2^24 channels, got " + text_of(gy));
    }
    return sizes;
}

// Planes need a thread for the pixels of each channel, rows one for each channel: rows where the pixels are one.
bool reads_rows(const Sizes& sizes, bool channels_last) { return channels_last || sizes.pixels == 1; }

struct Plan {
    bool rows;
    int vector, lanes, parts;
    size_t workspace;
};

Plan plan_of(const Shape& gy, bool channels_last, DType dtype, bool aligned, const Device& device, size_t limit) {
    constexpr int64_t kLeastTerms = 32, kMostParts = 4096;  // terms: of a thread
    const Sizes sizes = sizes_of(gy, channels_last);
    const auto full = static_cast<int>(kVectorBytes / size_of(dtype));
    Plan plan{reads_rows(sizes, channels_last), 1, 1, 1, 0};
    const int64_t along = plan.rows ? sizes.channels : sizes.pixels;  // elements side by side
    if (aligned && along % full == 0) plan.vector = full;
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
    if (plan.parts > 1) plan.workspace = static_cast<size_t>(plan.parts * bytes);
    return plan;
}

template <class T, int V>
void launch_first(const T* gy, const PartOfResult<T>& result, const Sizes& sizes, const Plan& plan, Stream stream) {
    const auto channels = static_cast<int>(sizes.channels);
    if (plan.rows) {
        return launch_channel_sum_rows<T, V>(gy, result, sizes.images * sizes.pixels, channels, plan.parts, plan.lanes,
                                             stream);
    }
    launch_channel_sum_planes<T, V>(gy, result, sizes.images, sizes.pixels, channels, plan.parts, stream);
}

}  // namespace

void channel_sum(const Array& gy, const Array& gb, bool channels_last, const Workspace& workspace, Stream stream) {
    const char* op = "channel_sum";
    check_float(op, "gy", gy);
    const Sizes sizes = sizes_of(gy.shape, channels_last);
    check_array(op, "gy", gy, gy.shape, gy.dtype);
    check_array(op, "gb", gb, {sizes.channels}, gy.dtype);
    if (gb.size() == 0) return;
    const bool aligned = is_aligned(gy.data, kVectorBytes);
    const Plan plan = plan_of(gy.shape, channels_last, gy.dtype, aligned, current_device(), workspace.bytes);
    dispatch_float(gy.dtype, [&](auto type) {
        using T = TypeOf<decltype(type)>;
        using A = Accumulator<T>;
        if (gy.size() == 0) {
            return launch_fill_channels<T>(gb.as<T>(), nullptr, Activation::kNone, gb.size(), 1, 1, stream);
        }
        A* const parts = plan.parts > 1 ? static_cast<A*>(workspace.data) : nullptr;
        const PartOfResult<T> first{gb.as<T>(), parts};
        if (plan.vector == 1) {
            launch_first<T, 1>(gy.as<const T>(), first, sizes, plan, stream);
        } else {
            launch_first<T, kVectorBytes / sizeof(T)>(gy.as<const T>(), first, sizes, plan, stream);
        }
        if (parts) launch_sum_parts<A, T>(parts, gb.as<T>(), plan.parts, gb.size(), stream);
    });
}

Choice plan_channel_sum(const Shape& gy, bool channels_last, DType dtype, const Device& device, size_t limit) {
    const Plan plan = plan_of(gy, channels_last, dtype, true, device, limit);
    return {std::string(plan.rows ? "channel_sum_rows" : "channel_sum_planes") +
                " vector=" + std::to_string(plan.vector) + " parts=" + std::to_string(plan.parts),
            plan.workspace};
}

}  // namespace convgpu::conv
