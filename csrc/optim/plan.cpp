#include "plan.h"

#include <algorithm>
#include <iterator>
#include <stdexcept>

#include "../common/error.h"
#include "../common/workspace.h"
#include "table.h"

namespace convgpu::optim {
namespace {

// The names stand in the order of Op.
constexpr const char* kOps[] = {"sgd_step", "adam_step", "global_norm", "cast_all"};

// A block owns at most so many elements, and at least so many unless its array ends. Between these limits every
// multiprocessor gets kBlocks blocks.
constexpr int64_t kMostElements = 64 << 10, kFewestElements = 2 << 10, kBlocks = 8;

int64_t chunk_of(int64_t elements, const Device& device) {
    int64_t chunk = kMostElements;
    while (chunk > kFewestElements && elements < chunk * kBlocks * device.multiprocessors) chunk /= 2;
    return chunk;
}

void check_dtypes(Op op, DType dtype, DType other) {
    const bool floating = dtype <= DType::kFloat64 && other <= DType::kFloat64;
    const bool step = op == Op::kSgdStep || op == Op::kAdamStep;
    if (floating && (!step || other == dtype || (dtype == DType::kFloat32 && other < DType::kFloat32))) return;
    throw TypeError(std::string(name_of(op)) + ": expected floating dtypes" +
                    (step ? ", gradients being of the parameters' dtype or of a half type beside float32" : "") +
                    ", got " + convgpu::name_of(dtype) + " and " + convgpu::name_of(other));
}

}  // namespace

const char* name_of(Op op) { return kOps[static_cast<int>(op)]; }

Op op_of(const std::string& name) {
    for (size_t i = 0; i < std::size(kOps); ++i) {
        if (name == kOps[i]) return static_cast<Op>(i);
    }
    throw std::invalid_argument("plan: expected the name of an op of optimizers, got " + name);
}

Plan plan(Op op, const Shape& sizes, DType dtype, DType other, const Device& device) {
    check_dtypes(op, dtype, other);
    if (sizes.empty())
        throw std::invalid_argument(name_of(op) + std::string(": expected at least one array, got none"));
    Plan plan{op, sizes, dtype, other};
    int64_t elements = 0;
    for (const int64_t size : sizes) elements += size;
    plan.chunk = chunk_of(elements, device);
    for (const int64_t size : sizes) plan.blocks += (size + plan.chunk - 1) / plan.chunk;
    plan.blocks = std::max<int64_t>(plan.blocks, 1);
    plan.workspace = Carver::rounded_up(table_bytes(plan));
    if (op == Op::kGlobalNorm) plan.workspace += static_cast<size_t>(plan.blocks) * sizeof(double);
    return plan;
}

int64_t Plan::launches() const { return op == Op::kGlobalNorm ? 2 : 1; }

std::string Plan::text() const {
    return name_of(op) + std::string(" chunk=") + std::to_string(chunk) + " blocks=" + std::to_string(blocks) +
           " workspace=" + std::to_string(workspace);
}

}  // namespace convgpu::optim
