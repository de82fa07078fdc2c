#include "plan.h"

#include <algorithm>
#include <stdexcept>

#include "../common/vector.h"
#include "pool.h"

namespace convgpu::pool {
namespace {

// Above these, a thread alone would walk too long; below, its loads fill the machine without help.
constexpr int64_t kManyTaps = 256, kSomeTaps = 32;
constexpr int64_t kFewThreads = 1 << 16;  // less than a GPU of 132 multiprocessors holds at a quarter of its room
constexpr int64_t kDisjointTaps = 16;     // pixels that one thread writes

int64_t channels_inside(const PoolGeometry& geo) { return geo.channels_last ? geo.channels : 1; }

int vector_of(const PoolGeometry& geo, DType dtype, bool aligned) {
    const auto vector = static_cast<int>(kVectorBytes / size_of(dtype));
    return aligned && channels_inside(geo) % vector == 0 ? vector : 1;
}

int power_of_two_up_to(int64_t n) {
    int power = 1;
    while (int64_t(power) * 2 <= n) power *= 2;
    return power;
}

// One entry for all axes, or 0.
int square_side(const PoolGeometry& geo) {
    const int64_t side = geo.window.back();
    if (geo.adaptive || geo.rank() < 2 || side < 2 || side > 3) return 0;
    const bool square = geo.window[geo.rank() - 2] == side && (geo.rank() == 2 || geo.window[0] == 1);
    const bool dilated = std::any_of(geo.dilation.begin(), geo.dilation.end(), [](int64_t d) { return d != 1; });
    return square && !dilated ? static_cast<int>(side) : 0;
}

bool wants_split(const PoolGeometry& geo, int vector) {
    const int64_t taps = geo.taps();
    if (taps > kManyTaps) return true;
    if (taps < kSomeTaps) return false;
    const Array y{nullptr, geo.y_shape(), {}, DType::kUInt8};
    const bool few = y.size() / vector < kFewThreads;
    const bool far_apart = channels_inside(geo) == 1 && geo.stride.back() >= 8;  // neighbouring threads' loads
    return few || far_apart;
}

// As many threads along the channels as a warp has, then at least 4 taps for each thread of a window.
Lanes lanes_of(const PoolGeometry& geo, int vector) {
    constexpr int64_t kWarp = 32;
    const int x = power_of_two_up_to(std::min(kWarp, channels_inside(geo) / vector));
    const int y = power_of_two_up_to(std::clamp<int64_t>(geo.taps() / 4, 1, kThreads / x));
    return {x, y, kThreads / (x * y)};
}

const char* name_of(const std::string& op, Kernel kernel) {
    switch (kernel) {
        case Kernel::kWindow:
            return op == "max_pool" ? "max_pool_window" : "avg_pool_window";
        case Kernel::kSplit:
            return op == "max_pool" ? "max_pool_split" : "avg_pool_split";
        case Kernel::kDisjoint:
            return "max_pool_dgrad_disjoint";
        case Kernel::kGather:
            break;
    }
    return op == "max_pool_dgrad" ? "max_pool_dgrad_gather" : op == "avg_pool_dgrad" ? "avg_pool_dgrad_gather" : "";
}

}  // namespace

Plan plan_forward(const PoolGeometry& geo, DType dtype, bool aligned) {
    const int vector = vector_of(geo, dtype, aligned);
    if (wants_split(geo, vector)) return {Kernel::kSplit, vector, 0, lanes_of(geo, vector)};
    return {Kernel::kWindow, vector, square_side(geo)};
}

Plan plan_max_dgrad(const PoolGeometry& geo, DType dtype, bool aligned) {
    const bool dilated = std::any_of(geo.dilation.begin(), geo.dilation.end(), [](int64_t d) { return d != 1; });
    const bool disjoint = !geo.adaptive && !dilated && geo.stride == geo.window && geo.taps() <= kDisjointTaps;
    return {disjoint ? Kernel::kDisjoint : Kernel::kGather, vector_of(geo, dtype, aligned)};
}

Plan plan_places(const PoolGeometry& geo, DType dtype, bool aligned) {
    return {Kernel::kGather, vector_of(geo, dtype, aligned)};
}

std::string plan(const std::string& op, const PoolGeometry& geo, DType dtype) {
    Plan plan;
    if (op == "max_pool" || op == "avg_pool") {
        plan = plan_forward(geo, dtype, true);
    } else if (op == "max_pool_dgrad") {
        plan = plan_max_dgrad(geo, dtype, true);
    } else if (op == "max_pool_gather" || op == "max_pool_indices" || op == "avg_pool_dgrad") {
        plan = plan_places(geo, dtype, true);
    } else {
        throw std::invalid_argument("plan: expected the name of a pooling op, got " + op);
    }
    const std::string kernel = name_of(op, plan.kernel);
    std::string text = (kernel.empty() ? op : kernel) + " vector=" + std::to_string(plan.vector);
    if (plan.side) text += " side=" + std::to_string(plan.side);
    if (plan.kernel == Kernel::kSplit) {
        text += " lanes=" + std::to_string(plan.lanes.x) + "x" + std::to_string(plan.lanes.y) + "x" +
                std::to_string(plan.lanes.z);
    }
    return text;
}

Problem problem_of(const PoolGeometry& geo) {
    Problem problem;
    problem.images = geo.channels_last ? geo.batch : geo.batch * geo.channels;
    problem.channels = channels_inside(geo);
    problem.count_include_pad = geo.count_include_pad;
    constexpr int64_t kBeyondAnyAxis = 1 << 30;  // a stride or dilation that is never taken may be any number
    for (int i = 0; i < geo.rank(); ++i) {
        Axis& axis = problem.axis[kAxes - geo.rank() + i];
        axis.size = static_cast<int>(geo.size[i]);
        axis.window = static_cast<int>(geo.window[i]);
        axis.stride = static_cast<int>(std::min(geo.stride[i], kBeyondAnyAxis));
        axis.before = static_cast<int>(geo.before[i]);
        axis.after = static_cast<int>(geo.after[i]);
        axis.dilation = geo.window[i] == 1 ? 1 : static_cast<int>(geo.dilation[i]);
        axis.output = static_cast<int>(geo.output[i]);
        axis.adaptive = geo.adaptive;
        axis.by_stride = Divisor(axis.stride);
        axis.by_size = Divisor(std::max(axis.size, 1));
        axis.by_output = Divisor(std::max(axis.output, 1));
    }
    int64_t step = problem.channels;
    for (int a = kAxes - 1; a >= 0; --a) {
        problem.step[a] = problem.axis[a].dilation * step;
        step *= problem.axis[a].size;
    }
    problem.by_window[0] = Divisor(problem.axis[1].window);
    problem.by_window[1] = Divisor(problem.axis[2].window);
    return problem;
}

}  // namespace convgpu::pool
