// The Python module _cpu: arrays are NumPy's own, read through their buffers; results are made by the caller.
#include "../common/error.h"
#include "bind/arrays.h"
#include "isa.h"

namespace convgpu::cpu {
namespace {

void translate(std::exception_ptr error) {
    try {
        if (error) std::rethrow_exception(error);
    } catch (const TypeError& e) {
        PyErr_SetString(PyExc_TypeError, e.what());
    }
}

}  // namespace
}  // namespace convgpu::cpu

PYBIND11_MODULE(_cpu, m) {
    using namespace convgpu::cpu;
    py::register_local_exception_translator(translate);
    m.def("instruction_sets", instruction_sets);
    m.def("instruction_set", instruction_set);
    m.def("use_instruction_set", use_instruction_set, "name"_a);
    bind_conv(m);
    bind_elementwise(m);
    bind_gemm(m);
    bind_norm(m);
    bind_optim(m);
    bind_pool(m);
    bind_reduce(m);
    bind_softmax(m);
    bind_random(m);
}
