// The Python module _ptx: modules of PTX, their kernels, and launches on memory that Python names by address.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <chrono>
#include <future>

#include "loaded_module.h"
#include "machine.h"
#include "python.h"
#include "table.h"
#include "tensor_map.h"

namespace py = pybind11;
using namespace py::literals;

namespace convgpu::ptx {
namespace {

void three_from(const py::sequence& from, uint32_t* to) {
    for (size_t d = 0; d < 3; ++d) to[d] = from[d].cast<uint32_t>();
}

Outcome run_interruptibly(Grid& grid) {
    std::atomic<bool> cancelled{false};
    grid.cancelled = &cancelled;
    std::future<Outcome> done;
    {
        py::gil_scoped_release release;
        done = std::async(std::launch::async, [&grid] { return launch(grid); });
        while (done.wait_for(std::chrono::milliseconds(100)) != std::future_status::ready) {
            py::gil_scoped_acquire acquire;
            if (PyErr_CheckSignals()) {
                cancelled = true;
                done.wait();
                throw py::error_already_set();
            }
        }
    }
    return done.get();
}

// arrays: (address, bytes, element, name, writable)
py::dict launch_from_python(LoadedModule& module, const std::string& name, const py::sequence& blocks,
                            const py::sequence& threads, const py::sequence& cluster, uint32_t shared,
                            const std::string& parameters, const py::list& arrays, bool races, uint64_t seed,
                            bool early_copies, uint64_t limit, unsigned workers) {
    Grid grid;
    grid.kernel = &module.kernel(name);
    three_from(blocks, grid.blocks);
    three_from(threads, grid.threads);
    three_from(cluster, grid.cluster);
    grid.shared_bytes = shared;
    grid.settings.races = races;
    grid.settings.seed = seed;
    grid.settings.early_copies = early_copies;
    grid.settings.limit = limit;
    grid.settings.workers = workers;
    if (parameters.size() != grid.kernel->parameter_bytes) {
        throw Error(format("%s: expected %u bytes of parameters, got %zu", name.c_str(), grid.kernel->parameter_bytes,
                           parameters.size()));
    }
    std::vector<uint8_t> aligned(parameters.begin(), parameters.end());
    grid.parameters = aligned.data();
    Memory memory;
    for (const auto& item : arrays) {
        const auto a = item.cast<std::tuple<uint64_t, uint64_t, uint32_t, std::string, bool>>();
        memory.add({std::get<0>(a), std::get<0>(a) + std::get<1>(a), std::get<3>(a), std::get<2>(a), std::get<4>(a)});
    }
    module.add_variables(memory);
    grid.memory = &memory;
    const Outcome outcome = run_interruptibly(grid);
    return told(outcome, *grid.kernel);
}

py::list parameters_of(const LoadedModule& module, const std::string& name) {
    const auto f = module.syntax.functions.find(name);
    if (f == module.syntax.functions.end() || !f->second.entry) throw Error("the module has no kernel " + name);
    py::list list;
    for (const Parameter& p : f->second.parameters)
        list.append(py::make_tuple(p.name, p.type, p.offset, p.size, p.array, p.align));
    return list;
}

py::bytes encode_from_python(const py::kwargs& given) {
    TensorMapOptions o;
    o.base = given["base"].cast<uint64_t>();
    o.element = given["element"].cast<uint32_t>();
    o.sizes = given["sizes"].cast<std::vector<uint64_t>>();
    o.strides = given["strides"].cast<std::vector<uint64_t>>();
    o.steps = given["steps"].cast<std::vector<uint32_t>>();
    o.swizzle_bytes = given["swizzle"].cast<uint32_t>();
    o.nan_fill = given["nan_fill"].cast<bool>();
    o.im2col = given.contains("channels");
    if (o.im2col) {
        o.lower = given["lower"].cast<std::vector<int>>();
        o.upper = given["upper"].cast<std::vector<int>>();
        o.channels = given["channels"].cast<uint32_t>();
        o.pixels = given["pixels"].cast<uint32_t>();
    } else {
        o.box = given["box"].cast<std::vector<uint32_t>>();
    }
    const TensorMap map = encode(o);
    std::string bytes(128, '\0');
    std::memcpy(bytes.data(), &map, sizeof map);
    return bytes;
}

}  // namespace

PYBIND11_MODULE(_ptx, m) {
    m.doc() = "The machine that runs PTX on the CPU; convgpu.ptx is its Python side.";
    py::class_<LoadedModule>(m, "Module")
        .def(py::init<const std::string&>(), "text"_a)
        .def_property_readonly("version", [](const LoadedModule& l) { return l.syntax.version; })
        .def_property_readonly("target", [](const LoadedModule& l) { return l.syntax.target; })
        .def_property_readonly("kernels", [](const LoadedModule& l) { return l.syntax.order; })
        .def("parameters", &parameters_of, "kernel"_a)
        .def(
            "decode",
            [](LoadedModule& l, const std::string& name) {
                const Kernel& k = l.kernel(name);
                return py::dict("steps"_a = k.steps.size(), "shared"_a = k.static_shared,
                                "cluster"_a = three(k.cluster), "max_threads"_a = k.max_threads,
                                "parameter_bytes"_a = k.parameter_bytes);
            },
            "kernel"_a)
        .def(
            "variable",
            [](const LoadedModule& l, const std::string& name) {
                const auto v = l.syntax.variables.find(name);
                if (v == l.syntax.variables.end() || v->second.space == Space::kShared)
                    throw Error("the module has no global or constant variable " + name);
                return py::make_tuple(l.address_of(name), v->second.size);
            },
            "name"_a)
        .def("launch", &launch_from_python, "kernel"_a, "blocks"_a, "threads"_a, "cluster"_a, "shared"_a,
             "parameters"_a, "arrays"_a, "races"_a, "seed"_a, "early_copies"_a, "limit"_a, "workers"_a);
    m.def("tensor_map", &encode_from_python, "The 128 bytes of a tensor map.");
    m.def(
        "instructions", [] { return Table::instance().names(); },
        "Section of the manual and name of every instruction that the machine has.");
}

}  // namespace convgpu::ptx
