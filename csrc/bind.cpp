// This file defines the Python module, _cuda, _emulated or _ptx_kernels: errors, devices, and the launchers of every
// family.
#include <pybind11/numpy.h>

#include "binding.h"
#include "common/error.h"
#include "device/launches.h"
#include "device/properties.h"
#ifdef CONVGPU_PTX_KERNELS
#include "ptx_kernels/bind.h"
#endif

namespace py = pybind11;
using namespace py::literals;

namespace {

void translate(std::exception_ptr error) {
    try {
        if (error) std::rethrow_exception(error);
    } catch (const convgpu::TypeError& e) {
        PyErr_SetString(PyExc_TypeError, e.what());
    }
}

}  // namespace

PYBIND11_MODULE(CONVGPU_MODULE, m) {
    py::register_local_exception_translator(translate);
    py::class_<convgpu::Device>(m, "Device", py::module_local())
        .def(py::init([](int arch, int multiprocessors, size_t shared_bytes) {
                 return convgpu::Device{arch, multiprocessors, shared_bytes};
             }),
             "arch"_a = convgpu::Device{}.arch, "multiprocessors"_a = convgpu::Device{}.multiprocessors,
             "shared_bytes"_a = convgpu::Device{}.shared_bytes)
        .def_readonly("arch", &convgpu::Device::arch)
        .def_readonly("multiprocessors", &convgpu::Device::multiprocessors)
        .def_readonly("shared_bytes", &convgpu::Device::shared_bytes);
    m.def("current_device", &convgpu::current_device);
    m.def("device_key", [] { return convgpu::key_of(convgpu::current_device()); });
    m.def("emulate", &convgpu::emulate, "device"_a);
    m.def("launches", &convgpu::kernel_launches);
    // Returns the address of a NumPy array, for which its attribute ctypes.data would take microseconds.
    m.def("address", [](const py::array& array) { return reinterpret_cast<uintptr_t>(array.data()); }, "array"_a);
    convgpu::bind_conv(m);
    convgpu::bind_elementwise(m);
    convgpu::bind_gemm(m);
    convgpu::bind_layout(m);
    convgpu::bind_norm(m);
    convgpu::bind_optim(m);
    convgpu::bind_pool(m);
    convgpu::bind_random(m);
    convgpu::bind_reduce(m);
    convgpu::bind_softmax(m);
#ifdef CONVGPU_PTX_KERNELS
    convgpu::ptx_kernels::bind(m);
#endif
}
