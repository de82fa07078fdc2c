// Normalisation against plain loops in double, each way, on arrays without a byte to spare.
#include <cmath>

#include "../../csrc/common/counters.h"
#include "../../csrc/norm/norm.h"
#include "owned.h"

using namespace convgpu;

namespace {

struct Case {
    const char* name;
    NormGeometry geo;
};

const Case kCases[] = {
    {"batch", {1, 45, 16, 1, 16}},   {"odd channels", {1, 37, 7, 1, 7}}, {"many rows", {1, 17000, 4, 1, 4}},
    {"planes", {1, 3, 5, 24, 5}},    {"odd planes", {1, 3, 5, 49, 5}},   {"long planes", {1, 2, 2, 9001, 2}},
    {"layer", {9, 1, 48, 1, 1}},     {"odd layer", {9, 1, 7, 1, 1}},     {"many lines", {5000, 1, 8, 1, 1}},
    {"groups", {3, 20, 12, 1, 4}},   {"wide groups", {2, 9, 64, 1, 2}},  {"planes of groups", {3, 1, 12, 16, 4}},
    {"instances", {3, 50, 8, 1, 8}}, {"one element", {1, 1, 5, 1, 5}},   {"nothing", {1, 0, 3, 1, 3}},
    {"no outers", {0, 1, 6, 1, 2}},
};

DType sums_of(DType dtype) { return dtype == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32; }

// A workspace and counters of exactly the size that a plan asks for, used for all calls of a problem.
struct Memory {
    Owned counters{{kCounters}, DType::kInt32};
    std::vector<Owned> pieces;

    Memory() { std::memset(counters.array.data, 0, static_cast<size_t>(kCounters) * 4); }
    Workspace workspace(const norm::Plan& plan) {
        pieces.emplace_back(Shape{static_cast<int64_t>(plan.workspace)}, DType::kUInt8);
        return {pieces.back().array.data, plan.workspace};
    }
    void check(const std::string& what) const {
        for (int64_t i = 0; i < kCounters; ++i) {
            if (counters.get(i) != 0) throw std::runtime_error(what + ": a counter is not 0 after the call");
        }
    }
};

// Visits all elements of a geometry: use(where, statistic, channel).
template <class Use>
NOT_WATCHED void each_element(const NormGeometry& geo, Use use) {
    int64_t at = 0;
    for (int64_t o = 0; o < geo.outer; ++o) {
        for (int64_t row = 0; row < geo.rows; ++row) {
            for (int64_t c = 0; c < geo.channels; ++c) {
                for (int64_t i = 0; i < geo.inner; ++i) use(at++, o * geo.groups + c / geo.per_group(), c);
            }
        }
    }
}

struct Expected {
    std::vector<double> mean, rstd, y, sum, gx, gscale, goffset, gresidual;
};

// relu of the affine step, with and without a residual, and the gradients of the latter.
Expected expected_of(const NormGeometry& geo, const Owned& x, const Owned& gy, const Owned& scale, const Owned& offset,
                     const Owned& residual, double epsilon) {
    const auto n = static_cast<double>(std::max<int64_t>(geo.count(), 1));
    const auto size = static_cast<size_t>(geo.size()), all = static_cast<size_t>(geo.statistics());
    const auto channels = static_cast<size_t>(geo.channels);
    Expected e{std::vector<double>(all),      std::vector<double>(all),  std::vector<double>(size),
               std::vector<double>(size),     std::vector<double>(size), std::vector<double>(channels),
               std::vector<double>(channels), std::vector<double>(size)};
    std::vector<double> var(all), m1(all), m2(all), xn(size);
    each_element(geo, [&](int64_t i, int64_t s, int64_t) { e.mean[s] += x.get(i) / n; });
    each_element(geo, [&](int64_t i, int64_t s, int64_t) { var[s] += std::pow(x.get(i) - e.mean[s], 2) / n; });
    for (size_t s = 0; s < all; ++s) e.rstd[s] = 1 / std::sqrt(var[s] + epsilon);
    each_element(geo, [&](int64_t i, int64_t s, int64_t c) {
        xn[i] = (x.get(i) - e.mean[s]) * e.rstd[s];
        const double before = xn[i] * scale.get(c) + offset.get(c);
        e.y[i] = std::max(before, 0.0);
        e.sum[i] = std::max(before + residual.get(i), 0.0);
        const double g = e.sum[i] > 0 ? gy.get(i) : 0;
        e.gresidual[i] = g;
        e.gscale[c] += g * xn[i];
        e.goffset[c] += g;
        m1[s] += g * scale.get(c) / n;
        m2[s] += g * scale.get(c) * xn[i] / n;
    });
    each_element(geo, [&](int64_t i, int64_t s, int64_t c) {
        e.gx[i] = e.rstd[s] * (e.gresidual[i] * scale.get(c) - m1[s] - xn[i] * m2[s]);
    });
    return e;
}

void close(const Owned& got, const std::vector<double>& expected, double tolerance, const std::string& what) {
    double largest = 0;
    for (const double e : expected) largest = std::max(largest, std::abs(e));
    for (size_t i = 0; i < expected.size(); ++i) {
        const double value = got.get(static_cast<int64_t>(i));
        if (std::abs(value - expected[i]) <= tolerance * (largest + 1)) continue;
        throw std::runtime_error(what + ": expected " + std::to_string(expected[i]) + " at " + std::to_string(i) +
                                 ", got " + std::to_string(value));
    }
}

void run(const Case& c, DType dtype, size_t limit) {
    const NormGeometry& geo = c.geo;
    const DType kept = sums_of(dtype);
    const std::string what = std::string(c.name) + " " + name_of(dtype) + " ";
    const Shape image{geo.size()}, channels{geo.channels}, pair{2, geo.outer, geo.groups}, one{geo.outer, geo.groups};
    Owned x(image, dtype), gy(image, dtype), residual(image, dtype), y(image, dtype), sum(image, dtype);
    Owned gx(image, dtype), gresidual(image, dtype), inferred(image, dtype);
    Owned scale(channels, kept), offset(channels, kept), gscale(channels, kept), goffset(channels, kept);
    Owned mean(pair, kept), rstd(one, kept), means(pair, kept), new_mean(channels, kept), new_var(channels, kept);
    x.fill(1);
    gy.fill(2);
    residual.fill(3);
    scale.fill(4);
    for (int64_t i = 0; i < geo.channels; ++i) offset.set(i, 0.37 + 0.11 * static_cast<double>(i % 5));
    const double epsilon = 0.01;
    const Device device = current_device();
    Memory memory;
    const auto plan = [&](norm::Op op, const norm::Wanted& wanted = {}) {
        return norm::plan(op, geo, dtype, wanted, 16, device, limit);
    };
    const bool batch = geo.outer == 1 && geo.groups == geo.channels;
    const norm::Plan stats = plan(norm::Op::kStats);
    for (int i = 0; i < 2; ++i) {  // the second time with counters as the first has left them
        norm::norm_stats(x.array, batch ? &scale.array : nullptr, batch ? &offset.array : nullptr, mean.array,
                         rstd.array, batch ? &new_mean.array : nullptr, batch ? &new_var.array : nullptr,
                         memory.counters.array, geo, stats, epsilon, 0.5, 1, memory.workspace(stats), nullptr);
    }
    norm::norm_apply(x.array, mean.array, rstd.array, &scale.array, &offset.array, y.array, geo, plan(norm::Op::kApply),
                     "relu", nullptr);
    norm::norm_apply_add(x.array, mean.array, rstd.array, &scale.array, &offset.array, residual.array, sum.array, geo,
                         plan(norm::Op::kApplyAdd), "relu", nullptr);
    const norm::Plan back = plan(norm::Op::kDgrad, {true, true, true, true});
    norm::norm_dgrad(gy.array, x.array, mean.array, rstd.array, &scale.array, &offset.array, &sum.array, &gx.array,
                     &gscale.array, &goffset.array, &gresidual.array, &means.array, memory.counters.array, geo, back,
                     "relu", memory.workspace(back), nullptr);
    norm::norm_infer(x.array, offset.array, offset.array, &scale.array, nullptr, nullptr, inferred.array, geo,
                     plan(norm::Op::kInfer), "relu6", epsilon, nullptr);
    const Owned folded({geo.channels, 2}, kept);
    norm::norm_fold(offset.array, offset.array, &scale.array, nullptr, &scale.array, folded.array, geo,
                    norm::plan(norm::Op::kFold, geo, kept, {}, 16, device, limit), epsilon, nullptr);
    memory.check(what);

    const Expected e = expected_of(geo, x, gy, scale, offset, residual, epsilon);
    const double rounding = std::max(4 * rounding_of(dtype), 2e-6), fine = kept == DType::kFloat64 ? 1e-12 : 2e-5;
    close(mean, e.mean, fine, what + "mean");
    close(rstd, e.rstd, fine, what + "rstd");
    close(y, e.y, rounding, what + "norm_apply");
    close(sum, e.sum, rounding, what + "norm_apply_add");
    close(gresidual, e.gresidual, 0, what + "gresidual");
    close(gscale, e.gscale, fine, what + "gscale");
    close(goffset, e.goffset, fine, what + "goffset");
    close(gx, e.gx, 4 * rounding, what + "gx");
    if (!batch) return;
    std::vector<double> learned(e.mean.size()), given(static_cast<size_t>(geo.size()));
    for (size_t i = 0; i < learned.size(); ++i) learned[i] = 0.5 * scale.get(static_cast<int64_t>(i)) + 0.5 * e.mean[i];
    close(new_mean, learned, fine, what + "new_mean");
    each_element(geo, [&](int64_t i, int64_t, int64_t channel) {
        const double v =
            (x.get(i) - offset.get(channel)) / std::sqrt(offset.get(channel) + epsilon) * scale.get(channel);
        given[i] = std::min(std::max(v, 0.0), 6.0);
    });
    close(inferred, given, rounding, what + "norm_infer");
    std::vector<double> pairs(static_cast<size_t>(2 * geo.channels));
    for (int64_t c = 0; c < geo.channels; ++c) {
        const double factor = scale.get(c) / std::sqrt(offset.get(c) + epsilon);
        pairs[2 * c] = factor;
        pairs[2 * c + 1] = (scale.get(c) - offset.get(c)) * factor;
    }
    close(folded, pairs, fine, what + "norm_fold");
}

}  // namespace

TEST(normalisation_over_a_table_of_geometries) {
    for (const Case& c : kCases) {
        for (const DType dtype : {DType::kFloat64, DType::kFloat32, DType::kFloat16, DType::kBFloat16}) {
            in_turn([&] { run(c, dtype, kWorkspaceLimit); });
        }
    }
}

TEST(normalisation_without_a_workspace_to_spare) {
    for (const Case& c : kCases) in_turn([&] { run(c, DType::kFloat32, 0); });
}
