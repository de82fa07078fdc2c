// Runs every kernel of softmax and cross-entropy on arrays of exactly the bytes that they need. The sanitizers watch
// this program.
#include "../../csrc/softmax/softmax.h"
#include "owned.h"

using namespace convgpu;

namespace {

void run(const Shape& shape, int axis, DType dtype, int shift) {
    const DType wide = dtype == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32;
    Owned x(shape, dtype, shift), g(shape, dtype, shift);
    x.fill(1);
    g.fill(2);
    const Owned y(shape, dtype, shift), gx(shape, dtype, shift);
    const int alignment = shift == 0 ? 16 : static_cast<int>(size_of(dtype));
    const auto plan = [&](softmax::Op op) { return softmax::plan(op, shape, axis, dtype, alignment); };
    for (const bool log_of : {false, true}) {
        softmax::softmax(x.array, y.array, plan(softmax::Op::kSoftmax), log_of, nullptr);
        softmax::softmax_dgrad(g.array, y.array, gx.array, plan(softmax::Op::kSoftmaxDgrad), log_of, nullptr);
        for (const double value : values_of(gx)) testing::expect(std::isfinite(value), "softmax_dgrad");
    }
    const softmax::Plan forward = plan(softmax::Op::kCrossEntropy);
    const Owned labels({forward.lines}, DType::kInt32), statistics({2, forward.lines}, wide), flag({1}, DType::kInt32);
    for (int64_t i = 0; i < forward.lines; ++i) {
        labels.array.as<int32_t>()[i] = static_cast<int32_t>(i % forward.classes);
    }
    const Owned workspace({static_cast<int64_t>(forward.workspace)}, DType::kUInt8);
    for (const auto reduction : {softmax::Reduction::kNone, softmax::Reduction::kMean}) {
        Owned losses({reduction == softmax::Reduction::kNone ? forward.lines : 1}, wide);
        softmax::cross_entropy(x.array, labels.array, losses.array, statistics.array, flag.array, forward, 0.1,
                               reduction, {workspace.array.data, forward.workspace}, nullptr);
        testing::expect(flag.get(0) == 0, "flag");
        for (const double value : values_of(losses)) testing::expect(value > 0 && value < 20, "cross_entropy");
        softmax::cross_entropy_dgrad(x.array, labels.array, statistics.array, losses.array, gx.array,
                                     plan(softmax::Op::kCrossEntropyDgrad), 0.1, reduction, nullptr);
        for (const double value : values_of(gx)) testing::expect(std::isfinite(value), "cross_entropy_dgrad");
    }
}

}  // namespace

TEST(softmax_along_the_last_axis_and_others) {
    const std::pair<Shape, int> problems[] = {{{9, 10}, 1}, {{3, 64}, 1}, {{2, 3001}, 1}, {{2, 5, 7}, 1}, {{6, 40}, 0}};
    for (const auto& [shape, axis] : problems) {
        in_turn([&, s = shape, a = axis] { run(s, a, DType::kBFloat16, 0); });
        in_turn([&, s = shape, a = axis] { run(s, a, DType::kFloat32, 0); });
        in_turn([&, s = shape, a = axis] { run(s, a, DType::kFloat32, 1); });
        in_turn([&, s = shape, a = axis] { run(s, a, DType::kFloat64, 0); });
    }
}
