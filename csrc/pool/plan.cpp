#include "plan.h"

#include <algorithm>
#include <iterator>
#include <stdexcept>

#include "../common/vector.h"
#include "threads.h"
#include "windows.h"

namespace convgpu::pool {
namespace {

// One thread takes too long for a window of more than kManyTaps taps. It does not for a window of fewer than kSomeTaps:
// there are then so many threads that their loads keep the machine busy.
constexpr int64_t kManyTaps = 256, kSomeTaps = 32;
// A GPU of 132 multiprocessors that is a quarter full has slightly more than kFewThreads threads at work.
constexpr int64_t kFewThreads = 1 << 16;
constexpr int64_t kDisjointTaps = 16;  // one thread of max_pool_dgrad_disjoint writes at most so many pixels

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

bool is_dilated(const PoolGeometry& geo) {
    return std::any_of(geo.dilation.begin(), geo.dilation.end(), [](int64_t d) { return d != 1; });
}

// Returns the side of a window of 2 x 2 or 3 x 3 neighbouring pixels, or 0 for any other window.
int square_side(const PoolGeometry& geo) {
    const int64_t side = geo.window.back();
    if (geo.adaptive || geo.rank() < 2 || side < 2 || side > 3) return 0;
    const bool square = geo.window[geo.rank() - 2] == side && (geo.rank() == 2 || geo.window[0] == 1);
    return square && !is_dilated(geo) ? static_cast<int>(side) : 0;
}

bool wants_split(const PoolGeometry& geo, int vector) {
    const int64_t taps = geo.taps();
    if (taps > kManyTaps) return true;
    if (taps < kSomeTaps) return false;
    const Array y{nullptr, geo.y_shape(), {}, DType::kUInt8};
    const bool few = y.size() / vector < kFewThreads;
    const bool far_apart = channels_inside(geo) == 1 && geo.stride.back() >= 8;  // so are loads of neighbouring threads
    return few || far_apart;
}

// Chooses the threads of a block that shares windows. Along the channels there are as many threads as a warp has, or as
// there are vectors. Along the taps there are so many that each has at least 4 taps. The rest of the block takes other
// outputs.
Lanes lanes_of(const PoolGeometry& geo, int vector) {
    constexpr int64_t kWarp = 32;
    const int x = power_of_two_up_to(std::min(kWarp, channels_inside(geo) / vector));
    const int y = power_of_two_up_to(std::clamp<int64_t>(geo.taps() / 4, 1, kThreads / x));
    return {x, y, kThreads / (x * y)};
}

// Tells whether the windows of a maximum lie next to each other, and are small enough for one thread to write.
bool is_disjoint(const PoolGeometry& geo) {
    return !geo.adaptive && !is_dilated(geo) && geo.stride == geo.window && geo.taps() <= kDisjointTaps;
}

// The names stand in the order of Op.
constexpr const char* kOps[] = {"max_pool",       "max_pool_dgrad", "max_pool_gather", "max_pool_indices", "avg_pool",
                                "avg_pool_dgrad", "lp_pool",        "lp_pool_dgrad",   "lp_pool_gather"};

}  // namespace

const char* name_of(Op op) { return kOps[static_cast<int>(op)]; }

Op op_of(const std::string& name) {
    for (size_t i = 0; i < std::size(kOps); ++i) {
        if (name == kOps[i]) return static_cast<Op>(i);
    }
    throw std::invalid_argument("plan: expected the name of a pooling op, got " + name);
}

Plan plan(Op op, const PoolGeometry& geo, DType dtype, int alignment) {
    geo.check();
    const bool is_norm = op == Op::kLpPool || op == Op::kLpPoolDgrad || op == Op::kLpPoolGather;
    if (is_norm && (geo.adaptive || is_dilated(geo))) {
        throw std::invalid_argument(std::string(name_of(op)) +
                                    ": expected windows of one size without dilation, got others");
    }
    Plan plan{op, geo, dtype};
    plan.vector = vector_of(geo, dtype, alignment >= kVectorBytes);
    if (op == Op::kMaxPoolDgrad && is_disjoint(geo)) plan.kernel = Kernel::kDisjoint;
    if (op == Op::kLpPool || op == Op::kLpPoolGather) plan.kernel = Kernel::kWindow;
    if (op != Op::kMaxPool && op != Op::kAvgPool) return plan;
    if (wants_split(geo, plan.vector)) {
        plan.kernel = Kernel::kSplit;
        plan.lanes = lanes_of(geo, plan.vector);
    } else {
        plan.kernel = Kernel::kWindow;
        plan.side = square_side(geo);
    }
    return plan;
}

int64_t Plan::launches() const {
    const bool of_x = op == Op::kMaxPoolDgrad || op == Op::kAvgPoolDgrad || op == Op::kLpPoolDgrad;
    return Array{nullptr, of_x ? geo.x_shape() : geo.y_shape(), {}, dtype}.size() == 0 ? 0 : 1;
}

std::string Plan::text() const {
    std::string text = name_of(op);
    if (kernel == Kernel::kWindow) text += "_window";
    if (kernel == Kernel::kSplit) text += "_split";
    if (kernel == Kernel::kDisjoint) text += "_disjoint";
    const bool is_dgrad = op == Op::kMaxPoolDgrad || op == Op::kAvgPoolDgrad || op == Op::kLpPoolDgrad;
    if (kernel == Kernel::kGather && is_dgrad) text += "_gather";
    text += " vector=" + std::to_string(vector);
    if (side) text += " side=" + std::to_string(side);
    if (kernel == Kernel::kSplit) {
        text += " lanes=" + std::to_string(lanes.x) + "x" + std::to_string(lanes.y) + "x" + std::to_string(lanes.z);
    }
    return text;
}

Problem problem_of(const PoolGeometry& geo) {
    Problem problem;
    problem.images = geo.channels_last ? geo.batch : geo.batch * geo.channels;
    problem.channels = channels_inside(geo);
    problem.count_include_pad = geo.count_include_pad;
    constexpr int64_t kBeyondAnyAxis = 1 << 30;  // a stride or dilation that is never taken may have any value
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
