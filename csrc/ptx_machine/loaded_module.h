// A module with its variables in memory, and the kernels of it that have been launched, decoded.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kernel.h"
#include "memory.h"

namespace convgpu::ptx {

class LoadedModule final : public Addresses {
public:
    // Raises Error with the line of what is no PTX.
    explicit LoadedModule(const std::string& text);

    uint64_t address_of(const std::string& name) const override;
    // Decodes the kernel at the first call.
    const Kernel& kernel(const std::string& name);
    // Lets a launch access the variables in global and constant memory.
    void add_variables(Memory& memory) const;

    Module syntax;

private:
    std::map<std::string, std::vector<uint8_t>> storage_;
    std::map<std::string, std::unique_ptr<Kernel>> kernels_;

    void initialise(const Variable& v);
};

}  // namespace convgpu::ptx
