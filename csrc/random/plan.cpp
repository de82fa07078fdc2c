#include "plan.h"

#include <iterator>
#include <stdexcept>

#include "../common/vectors.h"

namespace convgpu::random {
namespace {

// The names stand in the order of Op.
constexpr const char* kOps[] = {"dropout", "uniform", "normal", "integers"};

}  // namespace

const char* name_of(Op op) { return kOps[static_cast<int>(op)]; }

Op op_of(const std::string& name) {
    for (size_t i = 0; i < std::size(kOps); ++i) {
        if (name == kOps[i]) return static_cast<Op>(i);
    }
    throw std::invalid_argument("plan: expected the name of an op of random numbers, got " + name);
}

Plan plan(Op op, int64_t size, DType dtype, int alignment) { return {op, size, dtype, vector_of(dtype, alignment)}; }

int64_t Plan::launches() const { return 1; }

uint64_t Plan::blocks() const {
    const int64_t each = op == Op::kIntegers || (op != Op::kDropout && dtype == DType::kFloat64) ? 2 : 4;
    return static_cast<uint64_t>((size + each - 1) / each);
}

std::string Plan::text() const {
    const std::string kernel = op == Op::kDropout ? "_vectors" : "_draw_vectors";
    return name_of(op) + kernel + " vector=" + std::to_string(vector);
}

}  // namespace convgpu::random
