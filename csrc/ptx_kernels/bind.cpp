// What the module _ptx_kernels has besides the launchers: the memory that they may touch, the machine's settings, what
// is wrong with a kernel, and how much of the kernels has run.
#include "bind.h"

#include <pybind11/stl.h>

#include "../ptx_machine/python.h"
#include "session.h"

namespace py = pybind11;
using namespace py::literals;

namespace convgpu::ptx_kernels {
namespace {

void set_machine(bool races, bool early_copies, uint64_t seed, uint64_t limit, unsigned workers) {
    Session::get().machine() = {races, early_copies, seed, limit, workers};
}

py::object take_report() {
    const std::optional<Told> last = take_last_outcome();
    if (!last) return py::none();
    py::dict told = ptx::told(last->outcome, *last->kernel);
    told["kernel"] = last->kernel->name;
    return told;
}

py::list rows_of(const ptx::Kernel& kernel, const std::vector<uint64_t>& executed) {
    py::list rows;
    for (size_t k = 0; k < kernel.steps.size(); ++k) {
        const ptx::Origin& o = kernel.origins[k];
        rows.append(py::make_tuple(o.opcode, o.line, o.source.line, executed.empty() ? 0 : executed[k]));
    }
    return rows;
}

py::list coverage() {
    py::list list;
    for (const auto& [key, c] : Session::get().coverage()) {
        list.append(py::make_tuple(key.first, key.second->name, c.launches, rows_of(*key.second, c.executed)));
    }
    return list;
}

py::dict all_kernels() {
    py::dict steps;
    for (const ptx::Kernel* k : Session::get().all_kernels()) steps[py::str(k->name)] = k->steps.size();
    return steps;
}

}  // namespace

void bind(py::module_& m) {
    if (Session::get().targets().empty()) throw std::runtime_error("_ptx_kernels: there is no PTX in its library");
    // The GPU at the start is an H200, or where there is no code for it an A100.
    const bool hopper = Session::get().targets().back() == "sm_90a";
    Session::get().set_device(hopper ? Device{} : Device{80, 108, 163 << 10});
    m.attr("NVCC") = CONVGPU_NVCC;
    m.def("targets", [] { return Session::get().targets(); }, "The architectures of the PTX in this build.");
    m.def(
        "allow",
        [](uint64_t address, uint64_t bytes, uint32_t element, const std::string& name, bool writable) {
            if (bytes) allow({address, address + bytes, name, element, writable});
        },
        "Let this thread's launches touch an array, until `forget`.", "address"_a, "bytes"_a, "element"_a, "name"_a,
        "writable"_a);
    m.def("forget", &forget_arrays, "Take back what `allow` has allowed.");
    m.def("machine", &set_machine, "How the machine runs kernels from now on.", "races"_a, "early_copies"_a, "seed"_a,
          "limit"_a, "workers"_a);
    m.def("take_report", &take_report, "What was wrong with this thread's last launch; None where nothing was.");
    m.def("coverage", &coverage, "For each kernel launched: target, name, launches, and every step with its count.");
    m.def("forget_coverage", [] { Session::get().forget_coverage(); });
    m.def("all_kernels", &all_kernels, "Every kernel for the GPU in use, with its number of steps.");
}

}  // namespace convgpu::ptx_kernels
