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

// The value of an operand of shape (outer, middle, inner), some of which are 1, at an index of the result.
double at(const Owned& x, const Shape& shape, int64_t o, int64_t m, int64_t i) {
    const auto along = [&](int axis, int64_t index) { return shape[axis] == 1 ? 0 : index; };
    return x.get((along(0, o) * shape[1] + along(1, m)) * shape[2] + along(2, i));
}

void run_binary(const Shape& of_a, const Shape& of_b, DType dtype, int shift, bool number) {
    Owned a(of_a, dtype, shift), b(of_b, dtype, shift);
    Shape shape;
    for (int axis = 0; axis < 3; ++axis) shape.push_back(of_a[axis] == 1 && !number ? of_b[axis] : of_a[axis]);
    const Owned y(shape, dtype, shift);
    a.fill(3);
    b.fill(4);
    const int alignment = shift == 0 ? 16 : static_cast<int>(size_of(dtype));
    const auto plan = elementwise::plan_binary(of_a, number ? Shape{} : of_b, shape, dtype, alignment);
    elementwise::binary(a.array, number ? nullptr : &b.array, y.array, plan, elementwise::BinaryFunction::kSubtract,
                        0.25, nullptr);
    std::vector<double> expected;
    for (int64_t o = 0; o < shape[0]; ++o) {
        for (int64_t m = 0; m < shape[1]; ++m) {
            for (int64_t i = 0; i < shape[2]; ++i) {
                expected.push_back(at(a, of_a, o, m, i) - (number ? 0.25 : at(b, of_b, o, m, i)));
            }
        }
    }
    compare(y, expected, std::max(2 * rounding_of(dtype), 1e-12), plan.text());
}

}  // namespace

TEST(functions_of_two_operands_that_broadcast) {
    const std::pair<Shape, Shape> shapes[] = {
        {{1, 1, 1}, {1, 1, 1}},  {{1, 1, 4099}, {1, 1, 4099}}, {{3, 5, 16}, {3, 1, 16}}, {{3, 5, 7}, {3, 1, 7}},
        {{1, 9, 1}, {2, 1, 24}}, {{5, 9, 8}, {1, 1, 1}},       {{3, 1, 513}, {3, 4, 1}}, {{0, 4, 8}, {1, 4, 8}}};
    for (const DType dtype : {DType::kBFloat16, DType::kFloat16, DType::kFloat32, DType::kFloat64}) {
        for (const auto& [a, b] : shapes) {
            for (const int shift : {0, 1}) {
                in_turn([&, a = a, b = b] { run_binary(a, b, dtype, shift, false); });
                in_turn([&, a = a, b = b] { run_binary(a, b, dtype, shift, true); });
            }
        }
    }
}

TEST(elementwise_ops_around_the_parts_of_threads_and_blocks) {
    for (const DType dtype : {DType::kBFloat16, DType::kFloat16, DType::kFloat32, DType::kFloat64}) {
        for (const int64_t size : {1, 7, 8, 4096, 4099}) {
            in_turn([&] { run(size, dtype, 0); });
            in_turn([&] { run(size, dtype, 1); });
        }
    }
}
