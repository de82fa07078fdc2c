#include "isa.h"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <atomic>
#include <cstdlib>
#include <stdexcept>

namespace convgpu::cpu {

// What kernels/pairs.h asks of the compiler.
#if defined(CONVGPU_HAS_v4) && defined(__linux__) && \
    ((defined(__clang__) && __clang_major__ >= 12) || (!defined(__clang__) && __GNUC__ >= 11))
#define CONVGPU_PAIRS 1
#endif

// The build compiles the kernels once for each of these that it defines a macro for.
namespace v4 {
extern const Kernels kTable[4];
#if defined(CONVGPU_PAIRS)
extern const Kernels kAmxTable[4], kPairsTable[4];  // with products of bfloat16 in pairs of terms (kernels/pairs.h)
#endif
}  // namespace v4
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
#if defined(CONVGPU_PAIRS)
bool has_v4_bf16() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    return has_v4() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 5 & 1);
}
// Linux lends the tiles to a process that asks for them, and to all its threads and children.
bool asked_for_tiles() {
    constexpr long kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    static const bool granted = syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
    return granted;
}
bool has_amx() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    const bool there = __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 22 & 1) && (d >> 24 & 1);
    return there && has_v4() && asked_for_tiles();
}
#endif

const InstructionSet kSets[] = {
#if defined(CONVGPU_PAIRS)
    {"amx", v4::kAmxTable, has_amx},  {"v4_bf16", v4::kPairsTable, has_v4_bf16},
#endif
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
