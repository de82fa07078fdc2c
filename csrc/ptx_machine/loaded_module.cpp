#include "loaded_module.h"

#include <algorithm>
#include <cstring>

#include "error.h"
#include "parser.h"

namespace convgpu::ptx {

LoadedModule::LoadedModule(const std::string& text) : syntax(parse(text)) {
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

uint64_t LoadedModule::address_of(const std::string& name) const {
    const auto found = storage_.find(name);
    if (found == storage_.end()) throw Error("the variable " + name + " has no memory");
    const auto align = std::max<uint64_t>(16, syntax.variables.at(name).align);
    return (reinterpret_cast<uint64_t>(found->second.data()) + align - 1) / align * align;
}

const Kernel& LoadedModule::kernel(const std::string& name) {
    auto& k = kernels_[name];
    if (!k) {
        const auto f = syntax.functions.find(name);
        if (f == syntax.functions.end() || !f->second.entry || !f->second.defined)
            throw Error("the module has no kernel " + name);
        k = decode(syntax, f->second, *this);
    }
    return *k;
}

void LoadedModule::add_variables(Memory& memory) const {
    for (const auto& [name, v] : syntax.variables) {
        if (v.space == Space::kShared) continue;
        const uint64_t at = address_of(name);
        memory.add({at, at + v.size, name, v.element, v.space == Space::kGlobal});
    }
}

void LoadedModule::initialise(const Variable& v) {
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

}  // namespace convgpu::ptx
