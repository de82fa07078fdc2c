#include "packed.h"

namespace convgpu::conv {
namespace {

template <class T>
void start_all(const Problem& problem, const PackedPlan& plan, const Operands& operands, Activation activation,
               Stream stream) {
    auto p = fprop_of<T>(problem, product_of(problem, nullptr), operands, activation);
    each_part(problem.geo, plan.images, [&](int64_t first, int images) {
        set_images(p, operands, first, images);
        start_packed(p, plan, tiles_of(plan.packing, problem.geo, images), stream);
    });
}

}  // namespace

void launch_packed(const Problem& problem, const PackedPlan& plan, const Operands& operands, Activation activation,
                   Stream stream) {
    if (problem.dtype == DType::kFloat16) {
        start_all<__half>(problem, plan, operands, activation, stream);
    } else {
        start_all<__nv_bfloat16>(problem, plan, operands, activation, stream);
    }
}

}  // namespace convgpu::conv
