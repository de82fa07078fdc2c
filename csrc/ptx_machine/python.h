// What a launch tells Python: the dictionary from which convgpu.ptx.Report is made.
#pragma once
#include <pybind11/pybind11.h>

#include "machine.h"

namespace convgpu::ptx {

using namespace pybind11::literals;

inline pybind11::tuple three(const uint32_t* x) { return pybind11::make_tuple(x[0], x[1], x[2]); }

inline pybind11::object place_of(const Place& p) {
    if (!p.known) return pybind11::none();
    return pybind11::dict("opcode"_a = p.opcode, "file"_a = p.file, "line"_a = p.line, "ptx_line"_a = p.ptx_line,
                          "block"_a = three(p.block), "thread"_a = three(p.thread));
}

inline pybind11::list findings_of(const Report& report) {
    pybind11::list list;
    for (const auto& [key, f] : report.findings) {
        list.append(pybind11::dict("kind"_a = f.kind, "message"_a = f.message, "kernel"_a = f.kernel,
                                   "address"_a = f.address, "place"_a = place_of(f.place),
                                   "other"_a = place_of(f.other), "times"_a = f.times));
    }
    return list;
}

inline pybind11::dict told(const Outcome& outcome, const Kernel& kernel) {
    pybind11::list executed;
    for (size_t k = 0; k < outcome.executed.size(); ++k) {
        const Origin& o = kernel.origins[k];
        executed.append(pybind11::make_tuple(o.opcode, o.line, o.source.line, outcome.executed[k]));
    }
    return pybind11::dict("findings"_a = findings_of(outcome.report),
                          "output"_a = pybind11::bytes(outcome.report.output), "instructions"_a = outcome.instructions,
                          "workers"_a = outcome.workers, "executed"_a = executed);
}

}  // namespace convgpu::ptx
