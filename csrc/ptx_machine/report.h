// What the machine found wrong, in words that name kernel, line, block, thread and address.
#pragma once
#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

namespace convgpu::ptx {

// One thread at one instruction.
struct Place {
    std::string opcode, file;
    uint32_t ptx_line = 0, line = 0;  // line 0: the module has no line information
    uint32_t block[3] = {0, 0, 0}, thread[3] = {0, 0, 0};
    bool known = false;
};

struct Finding {
    std::string kind;     // "race", "uninitialised", "bounds", ...
    std::string message;  // what happened, without the place
    std::string kernel, address;
    Place place, other;  // other: the access that it conflicts with
    uint64_t times = 1;
};

struct Report {
    std::map<std::tuple<std::string, uint32_t, uint32_t>, Finding> findings;  // by kind and the lines of both places
    std::string output;                                                       // what printf wrote

    bool silent() const { return findings.empty(); }
};

// The kernel cannot go on.
struct Fault : std::runtime_error {
    explicit Fault(Finding found) : std::runtime_error(found.message), finding(std::move(found)) {}
    Finding finding;
};

}  // namespace convgpu::ptx
