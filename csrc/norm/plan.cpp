#include "plan.h"

#include <algorithm>
#include <iterator>
#include <stdexcept>

#include "../common/counters.h"
#include "../common/vector.h"
#include "norm_dgrad_lines.cuh"
#include "norm_dgrad_planes.cuh"
#include "norm_dgrad_rows.cuh"
#include "norm_stats_rows.cuh"
#include "norm_stats_runs.cuh"

namespace convgpu::norm {
namespace {

constexpr int64_t kMostParts = 1024;
constexpr int kWarp = 32;

// The names stand in the order of Op.
constexpr const char* kOps[] = {"norm_stats", "norm_apply", "norm_apply_add", "norm_infer", "norm_dgrad", "norm_fold"};

int power_of_two_up_to(int64_t n, int most) {
    int power = 1;
    while (power * 2 <= std::min<int64_t>(n, most)) power *= 2;
    return power;
}

size_t bytes_of_sum(DType dtype) { return dtype == DType::kFloat64 ? sizeof(double) : sizeof(float); }

// Parts of a sum, of which there are `blocks`: enough to fill the machine `times` over, of at least `least` terms for
// each of a block's `threads` that share a sum, within the workspace and the counters.
int parts_of(int64_t blocks, int64_t terms, int64_t threads, int64_t least, int times, int64_t bytes, int64_t counters,
             const Device& device, size_t limit) {
    if (counters > kCounters) return 1;
    const int64_t wanted = int64_t(times) * device.multiprocessors / std::max<int64_t>(blocks, 1);
    const int64_t affordable = static_cast<int64_t>(limit) / std::max<int64_t>(bytes, 1);
    return static_cast<int>(
        std::max<int64_t>(std::min({wanted, terms / (threads * least), kMostParts, affordable}), 1));
}

int64_t columns_of(const Plan& plan) {
    return (plan.geo.channels + int64_t(plan.lanes) * plan.vector - 1) / (int64_t(plan.lanes) * plan.vector);
}

void plan_stats(Plan& plan, int full, bool aligned, const Device& device, size_t limit) {
    constexpr int64_t kLeastTerms = 32;
    const NormGeometry& geo = plan.geo;
    const auto moments = static_cast<int64_t>(4 * bytes_of_sum(plan.dtype));
    const int64_t run = geo.per_group() * geo.inner, per_part = moments * geo.outer * geo.channels;
    const bool single = geo.per_group() == 1;
    plan.kernel = Kernel::kRuns;
    const bool short_runs = run * static_cast<int64_t>(size_of(plan.dtype)) < 4 * kVectorBytes;
    if (geo.inner == 1 && (single || (geo.rows > 1 && short_runs && per_part <= static_cast<int64_t>(limit)))) {
        plan.kernel = Kernel::kRows;
        plan.vector = aligned && geo.channels % full == 0 ? full : 1;
        plan.lanes = power_of_two_up_to(geo.channels / plan.vector, kWarp);
        const int64_t blocks = geo.outer * columns_of(plan), teams = kStatsThreads / plan.lanes;
        plan.parts = parts_of(blocks, geo.rows, teams, kLeastTerms, 1, per_part, single ? blocks : 1, device, limit);
        plan.gathers = plan.parts > 1 || !single;
        if (plan.gathers) plan.workspace = static_cast<size_t>(plan.parts * per_part);
        return;
    }
    plan.vector = aligned && run % full == 0 ? full : 1;
    const int64_t vectors = geo.rows * (run / plan.vector), teams = kRunThreads;
    plan.lanes = power_of_two_up_to(vectors, kRunThreads);
    if (plan.lanes == kRunThreads) {
        plan.parts = parts_of(geo.statistics(), vectors, teams, kLeastTerms, 2, moments * geo.statistics(),
                              geo.statistics(), device, limit);
    }
    plan.gathers = plan.parts > 1;
    if (plan.gathers) plan.workspace = static_cast<size_t>(plan.parts * moments * geo.statistics());
}

void plan_elements(Plan& plan, int full, bool aligned) {
    const NormGeometry& geo = plan.geo;
    plan.kernel = geo.inner == 1 ? Kernel::kRows : Kernel::kPlanes;
    plan.vector = aligned && (geo.inner == 1 ? geo.channels : geo.inner) % full == 0 ? full : 1;
    if (plan.kernel == Kernel::kRows) plan.lanes = power_of_two_up_to(geo.channels / plan.vector, kWarp);
}

void plan_dgrad(Plan& plan, int full, bool aligned, const Device& device, size_t limit) {
    constexpr int64_t kLeastTerms = 32;
    const NormGeometry& geo = plan.geo;
    plan_elements(plan, full, aligned);
    const auto sum = static_cast<int64_t>(2 * bytes_of_sum(plan.dtype));
    // The kernels of lines also write the sums of nothing, where there are no statistics to read.
    if (geo.outer == 0 || (geo.inner == 1 && geo.rows == 1 && geo.per_group() > 1)) {
        plan.kernel = Kernel::kLines;
        plan.vector = aligned && geo.per_group() % full == 0 ? full : 1;
        if (!plan.sums()) return;
        const int64_t lanes = power_of_two_up_to(geo.channels / plan.vector, kWarp);
        const int64_t blocks = (geo.channels + lanes * plan.vector - 1) / (lanes * plan.vector);
        plan.parts =
            parts_of(blocks, geo.outer, kSumThreads / lanes, kLeastTerms, 1, sum * geo.channels, blocks, device, limit);
        plan.gathers = true;
        plan.workspace = static_cast<size_t>(plan.parts * sum * geo.channels);
        return;
    }
    if (!plan.sums()) return;
    const bool each = geo.outer == 1 && geo.per_group() == 1;  // a block or a column of blocks finishes its channels
    const int64_t per_part = sum * geo.outer * geo.channels;
    if (plan.kernel == Kernel::kRows) {
        const int64_t blocks = geo.outer * columns_of(plan);
        plan.parts = parts_of(blocks, geo.rows, kSumThreads / plan.lanes, kLeastTerms, 1, per_part, each ? blocks : 1,
                              device, limit);
    } else {
        const int64_t vectors = geo.rows * (geo.inner / plan.vector);
        plan.lanes = power_of_two_up_to(vectors, kPlaneThreads);
        if (plan.lanes == kPlaneThreads) {
            plan.parts = parts_of(geo.outer * geo.channels, vectors, kPlaneThreads, kLeastTerms, 2, per_part,
                                  each ? geo.channels : 1, device, limit);
        }
    }
    plan.gathers = plan.parts > 1 || !each;
    if (plan.gathers) plan.workspace = static_cast<size_t>((plan.parts + (each ? 0 : 1)) * per_part);
}

}  // namespace

const char* name_of(Op op) { return kOps[static_cast<int>(op)]; }

Op op_of(const std::string& name) {
    for (size_t i = 0; i < std::size(kOps); ++i) {
        if (name == kOps[i]) return static_cast<Op>(i);
    }
    throw std::invalid_argument("plan: expected the name of a norm op, got " + name);
}

Plan plan(Op op, const NormGeometry& geo, DType dtype, const Wanted& wanted, int alignment, const Device& device,
          size_t limit) {
    geo.check();
    Plan plan{op, geo, dtype, wanted};
    const auto full = static_cast<int>(kVectorBytes / size_of(dtype));
    const bool aligned = alignment >= kVectorBytes;
    if (geo.channels == 0) {  // groups may have statistics nevertheless, those of no values
        if (op == Op::kStats) plan.kernel = Kernel::kRuns;
        return plan;
    }
    if (op == Op::kFold) return plan;
    if (op == Op::kStats) {
        plan_stats(plan, full, aligned, device, limit);
    } else if (op == Op::kDgrad) {
        plan_dgrad(plan, full, aligned, device, limit);
    } else {
        plan_elements(plan, full, aligned);
    }
    return plan;
}

bool Plan::sums() const {
    const bool parameters = wanted[1] || wanted[2];
    return kernel == Kernel::kLines ? parameters : parameters || wanted[0];
}

bool Plan::elements() const {
    if (geo.size() == 0) return false;
    return wanted[0] || (wanted[3] && (kernel == Kernel::kLines || !sums()));
}

int64_t Plan::launches() const {
    if (op == Op::kStats) return geo.statistics() == 0 ? 0 : 1;
    if (op == Op::kFold) return geo.channels == 0 ? 0 : 1;
    if (op != Op::kDgrad) return geo.size() == 0 ? 0 : 1;
    return (sums() && geo.channels > 0 ? 1 : 0) + (elements() ? 1 : 0);
}

std::string Plan::text() const {
    if (op == Op::kFold) return name_of(op);
    const bool applies = op == Op::kApply || op == Op::kApplyAdd || op == Op::kInfer;
    std::string text = applies ? "norm_apply" : name_of(op);
    if (op == Op::kDgrad && kernel != Kernel::kLines && !sums()) text += "_apply";
    const char* const kernels[] = {"_rows", "_runs", "_planes", "_lines"};
    text += kernels[static_cast<int>(kernel)];
    text += " vector=" + std::to_string(vector);
    if (applies) return text;
    return text + " parts=" + std::to_string(parts) + " workspace=" + std::to_string(workspace);
}

}  // namespace convgpu::norm
