// Runs every elementwise kernel on arrays of exactly the bytes that they need, around the sizes of a thread's and a
// block's part. The sanitizers watch this program.
#include "../../csrc/elementwise/elementwise.h"
#include "owned.h"

using namespace convgpu;

namespace {

const char* const kFunctions[] = {"relu",     "leaky_relu", "relu6", "sigmoid",   "tanh",         "elu",
                                  "softplus", "silu",       "gelu",  "gelu_tanh", "hard_sigmoid", "hard_tanh"};

double sigmoid_of(double x) { return 1 / (1 + std::exp(-x)); }

double expected_of(const std::string& name, double x) {
    if (name == "relu") return std::max(x, 0.0);
    if (name == "leaky_relu") return x > 0 ? x : 0.25 * x;
    if (name == "relu6") return std::min(std::max(x, 0.0), 6.0);
    if (name == "sigmoid") return sigmoid_of(x);
    if (name == "tanh") return std::tanh(x);
    if (name == "elu") return x > 0 ? 2 * x : 0.5 * std::expm1(x);
    if (name == "softplus") return std::log1p(std::exp(x));
    if (name == "silu") return x * sigmoid_of(x);
    if (name == "gelu") return x * 0.5 * std::erfc(-x / std::sqrt(2.0));
    if (name == "gelu_tanh") return x * sigmoid_of(1.5957691216057308 * (x + 0.044715 * x * x * x));
    if (name == "hard_sigmoid") return std::min(std::max(x / 6 + 0.5, 0.0), 1.0);
    return std::min(std::max(x, -1.0), 1.0);
}

void run(int64_t size, DType dtype, int shift) {
    Owned x({size}, dtype, shift), g({size}, dtype, shift);
    const Owned y({size}, dtype, shift), gx({size}, dtype, shift);
    x.fill(1);
    g.fill(2);
    const int alignment = shift == 0 ? 16 : static_cast<int>(size_of(dtype));
    const auto plan = [&](elementwise::Op op) { return elementwise::plan(op, size, dtype, alignment); };
    for (const char* name : kFunctions) {
        const elementwise::Activated<double> by{elementwise::function_of(name), 0.25, 2.0};
        elementwise::activate(x.array, y.array, plan(elementwise::Op::kActivate), by, nullptr);
        std::vector<double> expected;
        for (const double value : values_of(x)) expected.push_back(expected_of(name, value));
        compare(y, expected, std::max(2 * rounding_of(dtype), 1e-12), name);
        elementwise::activate_dgrad(g.array, x.array, gx.array, plan(elementwise::Op::kActivateDgrad), by, nullptr);
        for (const double value : values_of(gx)) testing::expect(std::isfinite(value), name);
    }
    std::vector<Array> terms{x.array, g.array, x.array};
    elementwise::add_n(terms, y.array, plan(elementwise::Op::kAddN), nullptr);
    std::vector<double> expected;
    for (int64_t i = 0; i < size; ++i) expected.push_back(2 * x.get(i) + g.get(i));
    compare(y, expected, 0, "add_n");
}

}  // namespace

TEST(elementwise_ops_around_the_parts_of_threads_and_blocks) {
    for (const DType dtype : {DType::kBFloat16, DType::kFloat16, DType::kFloat32, DType::kFloat64}) {
        for (const int64_t size : {1, 7, 8, 4096, 4099}) {
            in_turn([&] { run(size, dtype, 0); });
            in_turn([&] { run(size, dtype, 1); });
        }
    }
}
