#include "reduce.h"

#include <stdexcept>
#include <tuple>

#include "../common/check.h"
#include "arguments.h"
#include "isa.h"

namespace convgpu::cpu {

Reduction reduction_of(const std::string& name) {
    if (name == "sum") return Reduction::kSum;
    if (name == "mean") return Reduction::kMean;
    if (name == "max") return Reduction::kMax;
    if (name == "min") return Reduction::kMin;
    throw std::invalid_argument("reduce: expected sum, mean, max or min, got " + name);
}

void reduce(const Array& x, const Array& y, Reduction function, int threads) {
    check_float("reduce", "x", x);
    if (x.shape.size() != 4 || x.size() == 0) {
        throw std::invalid_argument("reduce: expected x of four axes with elements, got shape " + text_of(x.shape));
    }
    for (const auto& [name, array, shape] :
         {std::tuple<const char*, const Array&, Shape>{"x", x, x.shape}, {"y", y, {x.shape[1], x.shape[3]}}}) {
        check_view("reduce", name, array, shape, x.dtype);
        check_array("reduce", name, array, shape, x.dtype);
    }
    ReduceCall call{x.shape[0], x.shape[1], x.shape[2], x.shape[3], x.data, y.data, function, threads};
    if (call.middle == 1) {  // the axes that stay are neighbours: results lie side by side
        call.inner *= call.kept;
        call.kept = 1;
    }
    if (call.kept == 1) {
        call.middle *= call.outer;
        call.outer = 1;
    }
    kernels_for(x.dtype).reduce(call);
}

}  // namespace convgpu::cpu
