// A kernel as the machine runs it: an array of steps, one for each instruction of its PTX, with functions that it calls
// put in place. Registers are places in one block of memory per warp, 32 lanes side by side; a predicate is a mask of
// 32 bits.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "syntax.h"

namespace convgpu::ptx {

using Mask = uint32_t;
constexpr Mask kFull = 0xffffffffu;
constexpr uint32_t kNone = 0xffffffffu;  // no such operand

struct Warp;
struct Step;
using Handler = void (*)(Warp&, const Step&, Mask);  // what a step does to the lanes of a mask

// How the warp goes on after a step. kMayStop: it may have to wait. kTogether: so at a barrier, which lanes that have
// parted reach one after the other, and which the warp executes when all of them are there.
enum class Flow : uint8_t { kNext, kBranch, kIndexed, kExit, kMayStop, kTogether };

// What an instruction has besides operands, such as the mode of a shuffle; each kind of instruction has a struct of its
// own.
struct Detail {
    virtual ~Detail() = default;
};

struct Step {
    Handler run = nullptr;
    const uint32_t* op = nullptr;  // places of the operands; each handler says which
    const Detail* detail = nullptr;
    int64_t displacement = 0;  // of an address
    uint32_t guard = kNone;
    Mask guard_flip = 0;  // kFull for @!p
    uint32_t number = 0;  // its own index
    int32_t target = -1;
    int32_t reconverge = -1;  // where lanes that part here meet again; -1: at the end
    Flow flow = Flow::kNext;
    uint8_t count = 1;  // registers of a vector
    bool wide = false;  // the address is in a register of 64 bits
    Space space = Space::kGeneric;
};

template <class T>
const T& detail(const Step& s) {
    return *static_cast<const T*>(s.detail);
}

struct Targets : Detail {  // of brx.idx
    std::vector<int32_t> steps;
};

// Where a step comes from, for reports.
struct Origin {
    std::string opcode;
    uint32_t line = 0;  // of the PTX
    Location source;
};

struct SharedName {
    std::string name;
    uint32_t at = 0;
    uint64_t size = 0;
};

struct Kernel {
    std::string name;
    std::vector<Parameter> parameters;
    uint32_t parameter_bytes = 0;
    std::vector<Step> steps;
    std::vector<Origin> origins;
    std::vector<std::string> files;
    std::vector<uint8_t> registers;                          // of a warp when it begins: constants in their places
    std::vector<std::pair<std::string, uint32_t>> specials;  // %tid.x and its like, and their places
    uint32_t carry = kNone;                                  // CC.CF, a predicate
    std::vector<SharedName> shared;
    uint32_t static_shared = 0, dynamic_at = 0;  // bytes; where dynamic shared memory begins
    uint32_t local_bytes = 0;                    // of a lane
    uint32_t max_threads = 0;
    bool exact_threads = false;
    uint32_t cluster[3] = {0, 0, 0};
    uint32_t shared_granule = 2, global_granule = 2;  // log2 of the fewest bytes that it accesses at once
    bool blocks_meet = false;  // atomics or volatile accesses outside shared memory: the order of blocks matters
    bool async_proxy = false;  // bulk copies or wgmma read shared memory
    std::vector<std::unique_ptr<uint32_t[]>> places;
    std::vector<std::unique_ptr<Detail>> details;
};

// The places where the lanes' shared, local and parameter memory begins, and the windows of generic addresses: the top
// byte says which space, and 0 is global memory, whose addresses are the host's own.
constexpr uint64_t kWindow = uint64_t(1) << 56;
constexpr uint32_t kSharedBase = 1024;
constexpr uint32_t kLocalBase = 16;
constexpr uint32_t kRankShift = 24;  // a shared::cluster address has the rank of its block, plus 1, above these bits
constexpr uint32_t kRankMask = (1u << kRankShift) - 1;
constexpr uint64_t window_of(Space space) {
    return space == Space::kShared  ? kWindow
           : space == Space::kLocal ? 2 * kWindow
           : space == Space::kParam ? 3 * kWindow
                                    : 0;
}

// Where the variables of a module lie: .global and .const ones in memory of the host.
struct Addresses {
    virtual ~Addresses() = default;
    virtual uint64_t address_of(const std::string& variable) const = 0;
};

// Makes the steps of an entry. Raises Error with the line of an instruction that the machine does not know.
std::unique_ptr<Kernel> decode(const Module& module, const Function& entry, const Addresses& addresses);

void find_reconvergence(Kernel& kernel);

}  // namespace convgpu::ptx
