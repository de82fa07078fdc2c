// The Python module _ptx: modules of PTX, their kernels, and launches on memory that Python names by address.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <chrono>
#include <future>

#include "machine.h"
#include "parser.h"
#include "table.h"
#include "tensor_map.h"

namespace py = pybind11;
using namespace py::literals;

namespace convgpu::ptx {
namespace {

// A module with its variables in memory.
class LoadedModule final : public Addresses {
public:
    explicit LoadedModule(const std::string& text) : syntax(parse(text)) {
        for (const auto& [name, v] : syntax.variables) {
            if (v.space == Space::kShared) continue;
            if (v.external)
                throw Error(format("PTX line %u: the variable %s is external, and the machine links no modules", v.line,
                                   name.c_str()));
            storage_[name].resize(v.size + v.align + 16);
        }
        for (const auto& [name, v] : syntax.variables) {
            if (v.space != Space::kShared) initialise(v);
        }
    }

    uint64_t address_of(const std::string& name) const override {
        const auto found = storage_.find(name);
        if (found == storage_.end()) throw Error("the variable " + name + " has no memory");
        const auto align = std::max<uint64_t>(16, syntax.variables.at(name).align);
        return (reinterpret_cast<uint64_t>(found->second.data()) + align - 1) / align * align;
    }

    const Kernel& kernel(const std::string& name) {
        auto& k = kernels_[name];
        if (!k) {
            const auto f = syntax.functions.find(name);
            if (f == syntax.functions.end() || !f->second.entry || !f->second.defined)
                throw Error("the module has no kernel " + name);
            k = decode(syntax, f->second, *this);
        }
        return *k;
    }

    Module syntax;

private:
    std::map<std::string, std::vector<uint8_t>> storage_;
    std::map<std::string, std::unique_ptr<Kernel>> kernels_;

    void initialise(const Variable& v) {
        auto* to = reinterpret_cast<uint8_t*>(address_of(v.name));
        std::memset(to, 0, v.size);
        for (size_t k = 0; k < v.values.size() && (k + 1) * v.element <= v.size; ++k) {
            const Operand& o = v.values[k];
            uint64_t bits = o.bits;
            if (o.kind == Operand::kName) {
                bits = address_of(o.name) + static_cast<uint64_t>(o.displacement);
            } else if (o.kind == Operand::kFloat && o.single != (v.element == 4)) {
                throw Error(format("PTX line %u: expected initial values of the size of .%s", v.line, v.type.c_str()));
            }
            std::memcpy(to + k * v.element, &bits, v.element);
        }
    }
};

py::tuple three(const uint32_t* x) { return py::make_tuple(x[0], x[1], x[2]); }

py::object place_of(const Place& p) {
    if (!p.known) return py::none();
    return py::dict("opcode"_a = p.opcode, "file"_a = p.file, "line"_a = p.line, "ptx_line"_a = p.ptx_line,
                    "block"_a = three(p.block), "thread"_a = three(p.thread));
}

py::list findings_of(const Report& report) {
    py::list list;
    for (const auto& [key, f] : report.findings) {
        list.append(py::dict("kind"_a = f.kind, "message"_a = f.message, "kernel"_a = f.kernel, "address"_a = f.address,
                             "place"_a = place_of(f.place), "other"_a = place_of(f.other), "times"_a = f.times));
    }
    return list;
}

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
    for (const auto& [variable, v] : module.syntax.variables) {
        if (v.space == Space::kShared) continue;
        const uint64_t at = module.address_of(variable);
        memory.add({at, at + v.size, variable, v.element, v.space == Space::kGlobal});
    }
    grid.memory = &memory;
    const Outcome outcome = run_interruptibly(grid);
    py::list executed;
    for (size_t k = 0; k < outcome.executed.size(); ++k) {
        const Origin& o = grid.kernel->origins[k];
        executed.append(py::make_tuple(o.opcode, o.line, o.source.line, outcome.executed[k]));
    }
    return py::dict("findings"_a = findings_of(outcome.report), "output"_a = py::bytes(outcome.report.output),
                    "instructions"_a = outcome.instructions, "workers"_a = outcome.workers, "executed"_a = executed);
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
