#include "plan.h"

#include <iterator>
#include <stdexcept>

#include "../common/vectors.h"

namespace convgpu::elementwise {
namespace {

// The names stand in the order of Op.
constexpr const char* kOps[] = {"activate", "activate_dgrad", "add_n"};

}  // namespace

const char* name_of(Op op) { return kOps[static_cast<int>(op)]; }

Op op_of(const std::string& name) {
    for (size_t i = 0; i < std::size(kOps); ++i) {
        if (name == kOps[i]) return static_cast<Op>(i);
    }
    throw std::invalid_argument("plan: expected the name of an elementwise op, got " + name);
}

Plan plan(Op op, int64_t size, DType dtype, int alignment) { return {op, size, dtype, vector_of(dtype, alignment)}; }

int64_t Plan::launches() const { return size > 0 ? 1 : 0; }

std::string Plan::text() const { return std::string(name_of(op)) + "_vectors vector=" + std::to_string(vector); }

}  // namespace convgpu::elementwise
