#include "isa.h"

#include <atomic>
#include <cstdlib>
#include <stdexcept>

namespace convgpu::cpu {

// The build compiles the kernels once for each of these that it defines a macro for.
namespace v4 {
extern const Kernels kTable[4];
}
namespace v3 {
extern const Kernels kTable[4];
}
namespace neon {
extern const Kernels kTable[4];
}
namespace plain {
extern const Kernels kTable[4];
}

namespace {

struct InstructionSet {
    const char* name;
    const Kernels* kernels;
    bool (*there)();
};

[[maybe_unused]] bool always() { return true; }
#if defined(__x86_64__)
[[maybe_unused]] bool has_v3() {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2") &&
           __builtin_cpu_supports("f16c");
}
[[maybe_unused]] bool has_v4() {
    return has_v3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
}
#endif

const InstructionSet kSets[] = {
#if defined(CONVGPU_HAS_v4)
    {"v4", v4::kTable, has_v4},
#endif
#if defined(CONVGPU_HAS_v3)
    {"v3", v3::kTable, has_v3},
#endif
#if defined(CONVGPU_HAS_neon)
    {"neon", neon::kTable, always},
#endif
#if defined(CONVGPU_HAS_plain)
    {"plain", plain::kTable, always},
#endif
};

const InstructionSet& set_of(const std::string& name) {
    std::string known;
    for (const InstructionSet& set : kSets) {
        if (!set.there()) continue;
        if (name.empty() || name == set.name) return set;
        known += (known.empty() ? "" : ", ") + std::string(set.name);
    }
    throw std::invalid_argument("CONVGPU_CPU_ISA: expected an instruction set that this machine has (" + known +
                                "), got " + name);
}

const InstructionSet& chosen() {
    const char* const name = std::getenv("CONVGPU_CPU_ISA");
    return set_of(name ? name : "");
}

std::atomic<const InstructionSet*> in_use{nullptr};

const InstructionSet& used() {
    const InstructionSet* set = in_use;
    if (!set) in_use = set = &chosen();
    return *set;
}

}  // namespace

std::vector<std::string> instruction_sets() {
    std::vector<std::string> names;
    for (const InstructionSet& set : kSets) {
        if (set.there()) names.push_back(set.name);
    }
    return names;
}

std::string instruction_set() { return used().name; }

void use_instruction_set(const std::string& name) { in_use = name.empty() ? &chosen() : &set_of(name); }

const Kernels& kernels_for(DType dtype) { return used().kernels[static_cast<int>(dtype)]; }

}  // namespace convgpu::cpu
