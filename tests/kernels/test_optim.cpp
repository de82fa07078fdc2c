// Runs every step of an optimizer, the norm and the casts on arrays of exactly the bytes they need, at aligned
// addresses and at others, over sizes around a block's chunk. The sanitizers watch this program.
#include "../../csrc/optim/optim.h"
#include "owned.h"

using namespace convgpu;
using optim::List;

namespace {

// A list of arrays of these sizes.
struct OwnedList {
    std::vector<Owned> arrays;
    List list;

    OwnedList(const Shape& sizes, DType dtype, int shift, unsigned seed = 0) {
        list.dtype = dtype;
        for (const int64_t size : sizes) {
            arrays.emplace_back(Shape{size}, dtype, shift);
            if (seed) arrays.back().fill(seed++);
            list.data.push_back(arrays.back().array.data);
        }
    }
};

struct OwnedShared {
    Owned rate{{}, DType::kFloat64}, steps{{}, DType::kInt32}, norm{{}, DType::kFloat64}, scaling{{2}, DType::kFloat32};
    Owned new_steps{{}, DType::kInt64}, new_scaling{{2}, DType::kFloat32};

    OwnedShared() {
        rate.set(0, 0.5);
        *steps.array.as<int32_t>() = 2;
        norm.set(0, 4);
        scaling.set(0, 8);
        scaling.set(1, 1999);
    }
    optim::Shared all() const {
        return {rate.array, steps.array, norm.array, scaling.array, new_steps.array, new_scaling.array};
    }
    void check() const {
        testing::expect_equal(*new_steps.array.as<int64_t>(), int64_t{3}, "new_steps");
        testing::expect_equal(new_scaling.get(0), 16.0, "the new loss scale");
        testing::expect_equal(new_scaling.get(1), 0.0, "the new count");
    }
};

struct OwnedWorkspace {
    Owned bytes;
    explicit OwnedWorkspace(const optim::Plan& plan) : bytes({static_cast<int64_t>(plan.workspace)}, DType::kUInt8) {}
    Workspace get() const { return {bytes.array.data, static_cast<size_t>(bytes.array.size())}; }
};

DType state_of(DType dtype) { return dtype == DType::kFloat64 ? dtype : DType::kFloat32; }

void run_sgd(const Shape& sizes, DType dtype, DType grads, int shift, bool momentum) {
    const DType wide = state_of(dtype);
    const OwnedList p(sizes, dtype, shift, 1), g(sizes, grads, shift, 50), v(sizes, wide, shift, 99);
    const OwnedList new_p(sizes, dtype, shift), new_v(sizes, wide, shift), copies(sizes, DType::kFloat16, shift);
    const OwnedShared shared;
    const auto plan = optim::plan(optim::Op::kSgdStep, sizes, dtype, grads, Device{});
    const OwnedWorkspace workspace(plan);
    // the norm is 4, so that gradients are halved
    const optim::Sgd rule{momentum ? 0.5 : 0.0, 0.25, 2.0000005, momentum, false};
    optim::sgd_step(p.list, g.list, momentum ? &v.list : nullptr, new_p.list, momentum ? &new_v.list : nullptr,
                    &copies.list, shared.all(), rule, plan, workspace.get(), nullptr);
    shared.check();
    for (size_t i = 0; i < sizes.size(); ++i) {
        std::vector<double> expected, velocities;
        for (int64_t e = 0; e < sizes[i]; ++e) {
            const double old = p.arrays[i].get(e), slope = g.arrays[i].get(e) / 2 + 0.25 * old;
            const double velocity = 0.5 * v.arrays[i].get(e) + slope;
            velocities.push_back(velocity);
            expected.push_back(old - 0.5 * (momentum ? slope + 0.5 * velocity : slope));
        }
        compare(new_p.arrays[i], expected, 1e-5 + 2 * rounding_of(dtype), "sgd_step, p");
        compare(copies.arrays[i], expected, 1e-5 + 2 * rounding_of(DType::kFloat16) + 2 * rounding_of(dtype), "copies");
        if (momentum) compare(new_v.arrays[i], velocities, 1e-5, "sgd_step, v");
    }
}

void run_adam(const Shape& sizes, DType dtype, DType grads, int shift) {
    const DType wide = state_of(dtype);
    const OwnedList p(sizes, dtype, shift, 1), g(sizes, grads, shift, 50), m(sizes, wide, shift, 99);
    OwnedList s(sizes, wide, shift, 7);
    for (Owned& array : s.arrays) {
        for (int64_t e = 0; e < array.array.size(); ++e) array.set(e, std::abs(array.get(e)) + 1);
    }
    const OwnedList new_p(sizes, dtype, shift), new_m(sizes, wide, shift), new_s(sizes, wide, shift);
    const OwnedShared shared;
    const auto plan = optim::plan(optim::Op::kAdamStep, sizes, dtype, grads, Device{});
    const OwnedWorkspace workspace(plan);
    const optim::Adam rule{0.5, 0.75, 0.5, 0.5, INFINITY, true, false};
    optim::adam_step(p.list, g.list, m.list, s.list, new_p.list, new_m.list, new_s.list, nullptr, shared.all(), rule,
                     plan, workspace.get(), nullptr);
    shared.check();
    for (size_t i = 0; i < sizes.size(); ++i) {
        std::vector<double> expected, means, squares;
        for (int64_t e = 0; e < sizes[i]; ++e) {
            const double slope = g.arrays[i].get(e);
            const double mean = 0.5 * m.arrays[i].get(e) + 0.5 * slope;
            const double square = 0.75 * s.arrays[i].get(e) + 0.25 * slope * slope;
            means.push_back(mean);
            squares.push_back(square);
            const double root = std::sqrt(square / (1 - 0.75 * 0.75 * 0.75));
            expected.push_back(p.arrays[i].get(e) * 0.75 - 0.5 * (mean / 0.875) / (root + 0.5));
        }
        compare(new_p.arrays[i], expected, 1e-4 + 2 * rounding_of(dtype), "adam_step, p");
        compare(new_m.arrays[i], means, 1e-6, "adam_step, m");
        compare(new_s.arrays[i], squares, 1e-6, "adam_step, s");
    }
}

void run_norm_and_casts(const Shape& sizes, DType from, DType to, int shift) {
    const OwnedList xs(sizes, from, shift, 3), ys(sizes, to, shift);
    const Owned norm({}, DType::kFloat64);
    Owned divisor({1}, DType::kFloat32);
    divisor.set(0, 2);
    const auto norm_plan = optim::plan(optim::Op::kGlobalNorm, sizes, from, from, Device{});
    const OwnedWorkspace room(norm_plan);
    optim::global_norm(xs.list, norm.array, norm_plan, room.get(), nullptr);
    double squares = 0;
    const auto plan = optim::plan(optim::Op::kCastAll, sizes, from, to, Device{});
    const OwnedWorkspace workspace(plan);
    optim::cast_all(xs.list, ys.list, &divisor.array, plan, workspace.get(), nullptr);
    for (size_t i = 0; i < sizes.size(); ++i) {
        for (int64_t e = 0; e < sizes[i]; ++e) {
            const double x = xs.arrays[i].get(e);
            squares += x * x;
            testing::expect_equal(ys.arrays[i].get(e), x / 2, "cast_all");  // halves of small whole numbers are exact
        }
    }
    testing::expect_equal(norm.get(0), std::sqrt(squares), "global_norm");
}

}  // namespace

TEST(optimizers_over_lists_around_the_chunk) {
    const Shape lists[] = {{1}, {0, 3}, {0}, {2048, 1, 4100, 7}, {5, 5, 0, 129}};
    const DType halves[] = {DType::kFloat16, DType::kBFloat16};
    for (const Shape& sizes : lists) {
        for (const int shift : {0, 1}) {
            for (const DType dtype : {DType::kFloat16, DType::kBFloat16, DType::kFloat32, DType::kFloat64}) {
                in_turn([&] { run_sgd(sizes, dtype, dtype, shift, true); });
                in_turn([&] { run_adam(sizes, dtype, dtype, shift); });
                for (const DType to : {DType::kFloat16, DType::kBFloat16, DType::kFloat32, DType::kFloat64})
                    in_turn([&] { run_norm_and_casts(sizes, dtype, to, shift); });
            }
            for (const DType half : halves) {
                in_turn([&] { run_sgd(sizes, DType::kFloat32, half, shift, false); });
                in_turn([&] { run_adam(sizes, DType::kFloat32, half, shift); });
            }
        }
    }
}
